"""Which steps have run when a step starts: on some way to it, and on every way.

A token walks the block, so this is plain data flow over the resolved routes. Sets of steps are bits of an integer: a
workflow may have a thousand steps, and each is visited a few times at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Way:
    """One way from step to step; `ran` tells whether the first one has its output on it."""

    target: str
    ran: bool


@dataclass(frozen=True, slots=True)
class Before:
    """For one step: those that may have run before it, and of them those that surely have an output."""

    maybe: frozenset[str]
    surely: frozenset[str]


END = "end"


def of_step(body: Mapping[str, Any]) -> list[Way]:
    """The ways out of a compiled step."""
    done = "when" not in body
    errors: Mapping[str, str] = body.get("onError") or {}
    ways = [Way(target, done) for target in body["next"].values()]
    ways += [Way(case["next"], done) for case in body.get("cases") or ()]
    for target in errors.values():
        if target == "continue":
            ways += [Way(after, False) for after in body["next"].values()]
        elif target != "fail":
            ways.append(Way(target, False))
    return ways


def before(entry: str, steps: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Before], Before]:
    """What has run before each step, and before the end of the block."""
    ids = [step["id"] for step in steps]
    bit = {id_: 1 << index for index, id_ in enumerate(ids)}
    everything = (1 << len(ids)) - 1
    ways = {step["id"]: of_step(step) for step in steps}
    maybe = dict.fromkeys([*ids, END], 0)
    surely = dict.fromkeys([*ids, END], everything)
    surely[entry] = 0
    reached: set[str] = {entry}
    pending = [entry]
    while pending:
        id_ = pending.pop()
        for way in ways[id_]:
            if way.target not in surely:
                continue
            may = maybe[way.target] | maybe[id_] | bit[id_]
            sure = surely[way.target] & ((surely[id_] | bit[id_]) if way.ran else (surely[id_] & ~bit[id_]))
            if way.target in reached and may == maybe[way.target] and sure == surely[way.target]:
                continue
            maybe[way.target], surely[way.target] = may, sure
            reached.add(way.target)
            if way.target != END:
                pending.append(way.target)

    def named(id_: str) -> Before:
        may = frozenset(other for other in ids if maybe[id_] & bit[other])
        sure = surely[id_] & maybe[id_]
        return Before(may, frozenset(other for other in may if sure & bit[other]))

    return {id_: named(id_) for id_ in ids}, named(END)
