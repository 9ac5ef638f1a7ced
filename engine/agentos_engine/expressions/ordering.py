"""The text the evaluator is given: maps gone over in a fixed order, functions under the names it has for them.

The evaluator's own order of a map differs from process to process, and a replay must not. What `map` and `filter` go
over is therefore put in order wherever it may be a map. Most often it is a plain path: then the data tells, and only
where it holds a map the ordered text is used, because passing a list through a function costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.expressions import functions, grammar, narrow

TAKEN: Mapping[str, str] = {"first": "firstOf", "last": "lastOf", "reverse": "reverseList"}
"""Functions of ours whose name a method of an extension has taken in the evaluator."""
ORDERED = "ordered"
_LISTS = frozenset({"list<string>", "list<int>", "list<list>", "list<same>", "same", "flat", "entries", "values"})
_LOOPS = frozenset({"all", "exists", "exists_one", "map", "filter", "optMap", "optFlatMap", "bind"})

Edit = tuple[int, int, str]


class Prepared:
    """A source as the evaluator is given it: `text`, or `ordered` where one of `ranges` leads to a map."""

    __slots__ = ("ordered", "ranges", "text")

    def __init__(self, source: str, tree: grammar.Node) -> None:
        nodes = _calls(tree)
        local = {call.args[0].name for call in nodes if call.name in _LOOPS and call.args
                 and isinstance(call.args[0], grammar.Name)}  # fmt: skip
        edits: list[Edit] = []
        maybe: list[Edit] = []
        self.ranges: list[narrow.Path] = []
        for call in nodes:
            if call.of is None and call.name in TAKEN:
                edits.append((call.name_at, call.name_at + len(call.name), TAKEN[call.name]))
            elif call.of is not None and call.name in ("map", "filter") and not _is_list(call.of):
                wrap = [(call.of.start, call.of.start, f"{ORDERED}("), (call.of.end, call.of.end, ")")]
                path = narrow.path_of(call.of)
                if path is None or path[0] in local:
                    edits += wrap
                else:
                    maybe += wrap
                    self.ranges.append(path)
        self.text = _edited(source, edits)
        self.ordered = _edited(source, edits + maybe)

    def needs_order(self, data: Mapping[str, Any]) -> bool:
        """Whether one of the paths gone over leads to a map in `data`."""
        return any(isinstance(_at(path, data), dict) for path in self.ranges)


def _at(path: narrow.Path, value: Any) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _edited(source: str, edits: list[Edit]) -> str:
    for start, end, text in sorted(edits, reverse=True):
        source = source[:start] + text + source[end:]
    return source


def _calls(tree: grammar.Node) -> list[grammar.Call]:
    found: list[grammar.Call] = []
    pending = [tree]
    while pending:
        node = pending.pop()
        pending += grammar.children(node)
        if isinstance(node, grammar.Call):
            found.append(node)
    return found


def _is_list(node: grammar.Node) -> bool:
    if isinstance(node, grammar.Sequence):
        return True
    if not isinstance(node, grammar.Call):
        return False
    known = (functions.FUNCTIONS if node.of is None else functions.METHODS).get(node.name)
    return (node.of is not None and node.name in ("map", "filter")) or (known is not None and known[0].result in _LISTS)
