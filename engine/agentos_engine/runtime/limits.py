"""Counts what a run spends against the limits of everything it runs in.

A `Meter` belongs to one level (run, agent, called workflow, step) and charges its parents too, so the tightest limit
around a call holds. Amounts survive in each level's `spent` channel; a meter lives for one node of its graph. Amounts
are checked before a model call and not reserved: a call may overshoot its cap once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentos_engine.runtime import errors

STEPS, TOOL_CALLS, TOKENS, COST, ACTIVE = range(5)
ZERO: tuple[int, ...] = (0, 0, 0, 0, 0)
"""Steps, tool calls, tokens, micro-USD, and milliseconds at work (waiting for people is not counted)."""
_NAMES = ("steps", "toolCalls", "tokens", "costUsd", "timeout")
DEFAULT_STEPS = 1_000
DEFAULT_DEPTH = 8


def caps(limits: Mapping[str, Any]) -> tuple[float, ...]:
    """Caps in the order of the amounts; infinite where nothing is said."""
    cost = limits.get("costUsd")
    return (
        limits.get("steps") or math.inf,
        limits.get("toolCalls") or math.inf,
        limits.get("tokens") or math.inf,
        math.inf if cost is None else round(cost * 1_000_000),
        limits.get("timeoutMs") or math.inf,
    )


class Meter:
    """What one level has spent: `spent` in all, `delta` since this meter was made.

    `outer` are caps from outside of the graph, the tenant's: the tighter of two holds.
    """

    __slots__ = ("_children", "_outer", "caps", "delta", "parent", "path", "spent")

    def __init__(
        self,
        level_caps: Sequence[float],
        spent: Sequence[int] = ZERO,
        parent: Meter | None = None,
        path: str = "",
        outer: Sequence[float] | None = None,
    ) -> None:
        self.caps = level_caps if outer is None else tuple(map(min, level_caps, outer))
        self._outer = outer
        self.spent = list(spent)
        self.delta = [0, 0, 0, 0, 0]
        self.parent = parent
        self.path = path
        self._children: dict[str, list[int]] = {}
        if parent is not None:
            parent.adopt(path, spent)

    def __iter__(self) -> Iterator[Meter]:
        """This meter and those around it."""
        meter: Meter | None = self
        while meter is not None:
            yield meter
            meter = meter.parent

    def adopt(self, path: str, spent: Sequence[int]) -> None:
        """Count what the level at `path` inside this one has spent in all, as far as it is not counted yet."""
        known = self._children.setdefault(path, list(ZERO))
        for index in range(ACTIVE):
            if (more := spent[index] - known[index]) > 0:
                known[index] += more
                self._add(index, more)

    def _add(self, index: int, amount: int) -> None:
        meter: Meter | None = self
        while meter is not None:
            meter.spent[index] += amount
            meter.delta[index] += amount
            parent = meter.parent
            if parent is not None:
                parent._children[meter.path][index] += amount
            meter = parent

    def charge(self, index: int, amount: int) -> None:
        """Count `amount`. Of steps and tool calls, raises ``LimitExceeded`` when a cap is passed."""
        self._add(index, amount)
        if index in (STEPS, TOOL_CALLS):
            for meter in self:
                if meter.spent[index] > meter.caps[index]:
                    raise meter._exceeded("LimitExceeded", index)

    def check(self) -> None:
        """Raise ``BudgetExceeded`` when tokens or money of any level around are used up."""
        for meter in self:
            for index in (TOKENS, COST):
                if meter.spent[index] >= meter.caps[index]:
                    raise meter._exceeded("BudgetExceeded", index)

    def worked(self, seconds: float) -> None:
        """Count time at work; of this level alone, which holds the time of those it called."""
        self.spent[ACTIVE] += (milliseconds := round(seconds * 1000))
        self.delta[ACTIVE] += milliseconds

    @property
    def remaining_seconds(self) -> float | None:
        """Time at work this level has left; None without a limit."""
        cap = self.caps[ACTIVE]
        return None if cap == math.inf else max(0.0, (cap - self.spent[ACTIVE]) / 1000)

    def out_of_time(self) -> errors.RunError:
        return self._exceeded("LimitExceeded", ACTIVE)

    def _exceeded(self, class_: str, index: int) -> errors.RunError:
        cap: float | str = self.caps[index] if index != COST else self.caps[index] / 1_000_000
        if index == ACTIVE:
            cap = f"{cap:g} ms"
        name = _NAMES[index]
        whose = ", set for the tenant" if self._outer is not None and self._outer[index] == self.caps[index] else ""
        return errors.RunError(
            class_,
            f"limits.{name} of {self.path or 'the run'} ({cap}{whose}) is used up",
            details={"limit": name},
            limit=self,
        )


UNLIMITED: tuple[float, ...] = (math.inf,) * len(ZERO)
