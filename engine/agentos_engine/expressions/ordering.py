"""The text the evaluator is given: its own names for functions, maps gone over in order, long lists in parts.

Four things of the evaluator are mended here. Functions of ours take their arguments as one list (see `binding`).
Methods of its extensions have taken the names of three functions. Its
order of a map differs from process to process, and a replay must not: what `map` and `filter` go over is put in order
wherever it may be a map. Its `map` and `filter` are quadratic: long lists are gone over in parts of 100 elements. Most
often a plain path is gone over; then the data tells which text is due, because passing a list through a function costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.expressions import edits, functions, grammar, library, narrow

TAKEN: Mapping[str, str] = {"first": "firstOf", "last": "lastOf", "reverse": "reverseList"}
"""Functions of ours whose name a method of an extension has taken in the evaluator."""
ORDERED, PARTS, JOINED = "ordered", "inParts", "joined"
LONG = 400
_LISTS = frozenset({"list<string>", "list<int>", "list<list>", "list<same>", "same", "flat", "entries", "values"})
_BINDING = frozenset({"all", "exists", "exists_one", "map", "filter", "optMap", "optFlatMap", "bind"})


class Prepared:
    """A source as the evaluator is given it.

    `text` is for most data, `ordered` for where one of `ranges` leads to a map, `parts` for long lists; `loops` says
    whether there is a `map` or `filter` at all.
    """

    __slots__ = ("loops", "ordered", "parts", "ranges", "text")

    def __init__(self, source: str, tree: grammar.Node) -> None:
        calls = _calls(tree)
        local = {one.args[0].name for one in calls if one.name in _BINDING and one.args
                 and isinstance(one.args[0], grammar.Name)}  # fmt: skip
        plain, ordered, parts = edits.Edits(), edits.Edits(), edits.Edits()
        self.ranges: list[narrow.Path] = []
        self.loops = False
        for call in calls:
            if call.of is None:
                if call.name in library.IMPLEMENTATIONS and call.args:
                    for text in (plain, ordered, parts):
                        _as_ours(text, call)
            elif call.name in ("map", "filter"):
                self.loops = True
                _in_parts(parts, call, call.of)
                if _is_list(call.of):
                    continue
                ordered.around(call.of.start, call.of.end, f"{ORDERED}([", "])")
                path = narrow.path_of(call.of)
                if path is None or path[0] in local:
                    plain.around(call.of.start, call.of.end, f"{ORDERED}([", "])")
                else:
                    self.ranges.append(path)
        self.text, self.ordered, self.parts = plain.apply(source), ordered.apply(source), parts.apply(source)

    def choose(self, data: Mapping[str, Any], widest: int) -> tuple[str, str]:
        """The text for `data`, whose longest list has `widest` elements, and the one to fall back to."""
        if not self.loops:
            return self.text, self.text
        due = self.ordered if any(isinstance(_at(path, data), dict) for path in self.ranges) else self.text
        return (self.parts, due) if widest > LONG else (due, due)


def _as_ours(text: edits.Edits, call: grammar.Call) -> None:
    """``first(x)`` as ``firstOf([x])``."""
    text.around(call.args[0].start, call.args[-1].end, "[", "]")
    if call.name in TAKEN:
        text.instead(call.name_at, call.name_at + len(call.name), TAKEN[call.name])


def _in_parts(text: edits.Edits, call: grammar.Call, over: grammar.Node) -> None:
    """``over.map(x, y)`` as ``joined([inParts([over]).map(part_, part_.map(x, y))])``."""
    text.around(over.start, over.end, f"{PARTS}([", "]).map(part_, part_")
    text.around(call.start, call.close, "", ")")
    text.around(call.start, call.end, f"{JOINED}([", "])")


def _at(path: narrow.Path, value: Any) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _calls(tree: grammar.Node) -> list[grammar.Call]:
    """The calls in `tree`, inner ones first."""
    found: list[grammar.Call] = []
    pending = [tree]
    while pending:
        node = pending.pop()
        pending += grammar.children(node)
        if isinstance(node, grammar.Call):
            found.append(node)
    found.reverse()
    return found


def _is_list(node: grammar.Node) -> bool:
    if isinstance(node, grammar.Sequence):
        return True
    if not isinstance(node, grammar.Call):
        return False
    known = (functions.FUNCTIONS if node.of is None else functions.METHODS).get(node.name)
    return (node.of is not None and node.name in ("map", "filter")) or (known is not None and known[0].result in _LISTS)
