"""What an expression may cost, judged from its shape and the sizes of what it reaches, before it is run.

The evaluator bounds iterations (10,000 in all) but neither memory nor the work of one iteration. The estimate is a sum
of terms: every use of a path counts its size once, inside of a loop once per element, behind `cel.bind` as often as the
variable stands; a replacement multiplies. Sizes are in characters, an element of a list or a map counts as eight more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agentos_engine.expressions import convert, grammar, library, narrow

MAX_COST = 64 * 1024 * 1024
_LOOPS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_SPLITS = frozenset({"split", "lines", "parseJson"})

Term = tuple[int, tuple[narrow.Path, ...]]
"""How many loops a use stands in, and the paths whose sizes multiply."""
Terms = dict[Term, int]
_Bound = Mapping[str, tuple[int, Terms]]


class Cost:
    """The cost of one expression, known but for the sizes of its data."""

    __slots__ = ("_width", "loops", "sharing", "splits", "terms")

    def __init__(self, tree: grammar.Node) -> None:
        self.loops = self.sharing = self.splits = False
        self._width = 1
        self.terms = self._walk(tree, 0, {})

    def admit(self, data: Mapping[str, Any]) -> int:
        """Raise `ExpressionError` if the expression could cost too much on `data`; gives the length of its lists."""
        whole = _Size()
        for value in data.values():
            whole.add(value)
        if whole.longest > library.MAX_TEXT:
            raise convert.ExpressionError(f"a text is longer than {library.MAX_TEXT} characters")
        if self.loops and whole.widest > library.MAX_ITEMS:
            limit = library.MAX_ITEMS
            raise convert.ExpressionError(f"a list has {whole.widest} elements, at most {limit} can be gone over")
        width = max(self._width, whole.widest, whole.longest if self.splits else 0)
        sizes: dict[narrow.Path, int] = {}
        total = 0
        for (depth, paths), count in self.terms.items():
            weight = count * int(width**depth)
            for path in paths:
                if path not in sizes:
                    sizes[path] = _Size().add(_at(path, data)).weight
                weight *= sizes[path] + 1
            total += weight
        if total > MAX_COST:
            raise convert.ExpressionError("the expression would become too large on this data")
        return width

    def _walk(self, node: grammar.Node, depth: int, bound: _Bound) -> Terms:
        if isinstance(node, (grammar.Name, grammar.Select)):
            path = narrow.path_of(node)
            if path is not None:
                held = bound.get(path[0])
                if held is None:
                    return {(depth, (path,)): 1}
                return {(at + depth - held[0], paths): count for (at, paths), count in held[1].items()}
        if isinstance(node, grammar.Constant):
            return {(depth, ()): len(node.value)} if isinstance(node.value, (str, bytes)) else {}
        if isinstance(node, grammar.Call):
            return self._call(node, depth, bound)
        if isinstance(node, grammar.Sequence):
            return _sum([{(depth, ()): 8 * len(node.items)}, *self._all(grammar.children(node), depth, bound)])
        return _sum(self._all(grammar.children(node), depth, bound))

    def _all(self, nodes: Iterable[grammar.Node], depth: int, bound: _Bound) -> list[Terms]:
        return [self._walk(node, depth, bound) for node in nodes]

    def _call(self, node: grammar.Call, depth: int, bound: _Bound) -> Terms:
        first = node.args[0] if node.args else None
        if node.of is not None and isinstance(first, grammar.Name):
            if node.name in _LOOPS:
                return self._loop(node, first.name, depth, bound)
            if node.name == "bind":
                self.sharing = True
                value = self._walk(node.args[1], depth, bound)
                inner = {**bound, first.name: (depth, value)}
                return _sum([value, *self._all(node.args[2:], depth, inner)])
        parts = self._all(grammar.children(node), depth, bound)
        if node.name in ("replace", "regexReplace") and len(node.args) >= 2:
            grown = parts[-1] if node.name == "regexReplace" else parts[2]
            return _sum([*parts, _product(parts[0], grown)])
        self.splits |= node.name in _SPLITS
        if node.name == "range":
            known = isinstance(first, grammar.Constant) and isinstance(first.value, int)
            count = first.value if known and isinstance(first, grammar.Constant) else library.MAX_ITEMS
            self._width = max(self._width, min(count, library.MAX_ITEMS))
            parts.append({(depth, ()): 8 * max(0, count)})
        return _sum(parts)

    def _loop(self, node: grammar.Call, variable: str, depth: int, bound: _Bound) -> Terms:
        assert node.of is not None
        self.loops = True
        self.sharing |= node.name == "map"
        over = self._walk(node.of, depth, bound)
        # All elements together weigh what the list weighs: one use of the variable is one use of the list.
        inner = {**bound, variable: (depth + 1, over)}
        return _sum([over, {(depth + 1, ()): 8}, *self._all(node.args[1:], depth + 1, inner)])


class _Size:
    """What some data weighs, its widest list or map, and its longest text."""

    __slots__ = ("longest", "weight", "widest")

    def __init__(self) -> None:
        self.weight = self.widest = self.longest = 0

    def add(self, value: Any) -> _Size:
        kind = type(value)
        if kind is str:
            self.weight += len(value)
            if len(value) > self.longest:
                self.longest = len(value)
        elif kind is list or kind is dict:
            self.weight += 8 * len(value)
            if len(value) > self.widest:
                self.widest = len(value)
            for item in value.values() if kind is dict else value:
                self.add(item)
        return self


def _at(path: narrow.Path, value: Any) -> Any:
    for name in path:
        if not isinstance(value, dict):
            break
        value = value.get(name)
    return value


def _sum(parts: Iterable[Terms]) -> Terms:
    total: Terms = {}
    for terms in parts:
        for term, count in terms.items():
            total[term] = total.get(term, 0) + count
    return total


def _product(left: Terms, right: Terms) -> Terms:
    return _sum(
        {(max(depth, other), paths + more): count * times}
        for (depth, paths), count in left.items()
        for (other, more), times in right.items()
    )
