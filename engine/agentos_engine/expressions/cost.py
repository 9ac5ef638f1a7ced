"""What an expression may cost, judged from its shape and the sizes of what it reaches, before it is run.

The evaluator bounds iterations (10,000 in all) but neither memory nor the work of one iteration. The estimate counts
how often each value is used: a use inside of a loop counts once per element, `cel.bind` as often as its variable
stands. It is an upper bound for text and lists built up, in characters (an element counts as eight).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentos_engine.expressions import convert, grammar, library

MAX_COST = 256 * 1024 * 1024
MAX_QUADRATIC = 10_000
_LOOPS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_Terms = dict[int, int]
"""How many uses at each depth of loops."""


@dataclass(slots=True)
class Cost:
    """The shape of one expression: `uses` per depth of loops, what its literals weigh, and whether values multiply."""

    uses: _Terms = field(default_factory=dict)
    literal: int = 8
    loops: bool = False
    replaces: bool = False
    sharing: bool = False

    def admit(self, data: Mapping[str, Any]) -> None:
        """Raise `ExpressionError` if the expression could cost too much on `data`."""
        size = _Size()
        for value in data.values():
            size.add(value)
        if size.longest[0] > library.MAX_TEXT:
            raise convert.ExpressionError(f"a text is longer than {library.MAX_TEXT} characters")
        if self.loops and size.widest > library.MAX_ITEMS:
            raise convert.ExpressionError(
                f"a list has {size.widest} elements, at most {library.MAX_ITEMS} can be gone over"
            )
        weight = size.weight + self.literal
        width = max(1, size.widest)
        total = sum(count * weight * width ** max(0, depth - 1) for depth, count in self.uses.items())
        if self.replaces:
            total += (size.longest[0] + self.literal) * (size.longest[1] + self.literal)
        if total > MAX_COST:
            raise convert.ExpressionError("the expression would become too large on this data")


class _Size:
    """What some data weighs, its widest list or map, and its two longest texts."""

    __slots__ = ("longest", "weight", "widest")

    def __init__(self) -> None:
        self.weight, self.widest, self.longest = 0, 0, (0, 0)

    def add(self, value: Any) -> None:
        if isinstance(value, str):
            length = len(value)
            self.weight += length
            if length > self.longest[1]:
                self.longest = (max(self.longest[0], length), min(self.longest[0], length))
        elif isinstance(value, (list, dict)):
            self.weight += 8 * len(value)
            self.widest = max(self.widest, len(value))
            for item in value.values() if isinstance(value, dict) else value:
                self.add(item)


def of(tree: grammar.Node) -> Cost:
    """The cost of the expression `tree`."""
    cost = Cost()
    cost.uses = _walk(tree, 0, {}, cost)
    return cost


def _walk(node: grammar.Node, depth: int, bound: Mapping[str, tuple[int, _Terms]], cost: Cost) -> _Terms:
    if isinstance(node, grammar.Name):
        held = bound.get(node.name)
        if held is None:
            return {depth: 1}
        begun, terms = held
        return {at + depth - begun: count for at, count in terms.items()}
    if isinstance(node, grammar.Constant):
        if isinstance(node.value, (str, bytes)):
            cost.literal += len(node.value)
        return {}
    if isinstance(node, grammar.Call):
        if node.name in _LOOPS and node.of is not None:
            return _loop(node, depth, bound, cost)
        if node.name == "bind" and isinstance(node.of, grammar.Name) and node.of.name == "cel" and len(node.args) == 3:
            cost.sharing = True
            return _bind(node, depth, bound, cost)
        cost.replaces |= node.name in ("replace", "regexReplace")
    elif isinstance(node, grammar.Sequence):
        cost.sharing |= cost.loops
    return _sum(_walk(child, depth, bound, cost) for child in grammar.children(node))


def _bind(node: grammar.Call, depth: int, bound: Mapping[str, tuple[int, _Terms]], cost: Cost) -> _Terms:
    variable = node.args[0]
    value = _walk(node.args[1], depth, bound, cost)
    if isinstance(variable, grammar.Name):
        bound = {**bound, variable.name: (depth, value or {depth: 1})}
    return _sum((value, _walk(node.args[2], depth, bound, cost)))


def _loop(node: grammar.Call, depth: int, bound: Mapping[str, tuple[int, _Terms]], cost: Cost) -> _Terms:
    assert node.of is not None
    cost.loops = True
    cost.sharing |= node.name == "map" or depth > 0
    over = _walk(node.of, depth, bound, cost)
    variable = node.args[0] if node.args else None
    if isinstance(variable, grammar.Name):
        # All elements together weigh what the list weighs: one use of the variable is one use of the list.
        bound = {**bound, variable.name: (depth + 1, over or {depth: 1})}
    body = _sum(_walk(arg, depth + 1, bound, cost) for arg in node.args[1:])
    literal = {depth + 1: 1}
    return _sum((over, body, literal))


def _sum(parts: Any) -> _Terms:
    total: _Terms = {}
    for terms in parts:
        for depth, count in terms.items():
            total[depth] = total.get(depth, 0) + count
    return total
