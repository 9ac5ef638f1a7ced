"""Conditions of a resource, and the only place that derives Ready, Reconciling and Stalled.

The pipeline conditions stand in the order in which a resource passes them; each is positive (True is good). A caller
reports how far a resource came and why it stopped; `summarize` derives the rest. Rules: `docs/architecture.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["True", "False", "Unknown"]
PIPELINE = ("Loaded", "Valid", "Resolved", "Compiled", "Admitted", "Applied", "Healthy")
DERIVED = ("Ready", "Reconciling", "Stalled")


@dataclass(frozen=True, slots=True)
class Condition:
    """One observation. `last_transition` is epoch microseconds and moves only when `status` does."""

    type: str
    status: Status
    reason: str
    message: str
    observed_revision: str
    last_transition: int

    def pack(self) -> list[Any]:
        """The stored form: a list, in field order."""
        return [self.type, self.status, self.reason, self.message, self.observed_revision, self.last_transition]

    @classmethod
    def unpack(cls, packed: Sequence[Any]) -> Condition:
        return cls(*packed)


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a resource did not come further: the pipeline condition it failed, and whether waiting can help.

    `stalled` is False where the loop itself will go on (a retry, a dependency still reconciling).
    """

    condition: str
    reason: str
    message: str
    stalled: bool = True
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """That what serves is kept on purpose, and why. `status` is what Ready is; None: what it was before."""

    reason: str
    message: str
    status: Status | None = None


def summarize(
    *,
    previous: Iterable[Condition],
    desired_revision: str,
    applied_revision: str | None,
    stop: Stop | None,
    now: int,
    note: Note | None = None,
) -> tuple[Condition, ...]:
    """All conditions of a resource after a look at `desired_revision`.

    `applied_revision` is the revision now serving, None if none ever did. `stop` is None when the whole pipeline was
    passed. With a `note` the pipeline still says how far the head came, but Ready does not follow it. `now` is epoch
    microseconds. The result has the pipeline in order, then Ready, Reconciling, Stalled.
    """
    before = {condition.type: condition for condition in previous}
    out: list[Condition] = []

    def add(type_: str, status: Status, reason: str, message: str) -> None:
        old = before.get(type_)
        since = old.last_transition if old is not None and old.status == status else now
        out.append(Condition(type_, status, reason, message, desired_revision, since))

    reached = PIPELINE.index(stop.condition) if stop else len(PIPELINE)
    for index, type_ in enumerate(PIPELINE):
        if index < reached:
            add(type_, "True", type_, "")
        elif stop and index == reached:
            add(type_, "Unknown" if stop.unknown else "False", stop.reason, stop.message)
        else:
            add(type_, "Unknown", "NotReached", f"{stop.condition if stop else ''} comes first")
    if note is not None:
        last = before.get("Ready")
        status = note.status or (last.status if last is not None else "Unknown")
        add("Ready", status, note.reason, note.message)
        add("Reconciling", "False", note.reason, note.message)
        add("Stalled", "True" if status == "False" else "False", note.reason, note.message)
        return tuple(out)
    if stop is None:
        add("Ready", "True", "Ready", "")
        add("Reconciling", "False", "Ready", "")
        add("Stalled", "False", "Ready", "")
        return tuple(out)
    serving = f"; revision {applied_revision[:12]} keeps serving" if applied_revision else "; nothing serves yet"
    add("Ready", "Unknown" if stop.unknown else "False", stop.reason, stop.message + serving)
    add("Reconciling", "False" if stop.stalled else "True", stop.reason, stop.message)
    add("Stalled", "True" if stop.stalled else "False", stop.reason, stop.message)
    return tuple(out)


def changed(before: Iterable[Condition], after: Iterable[Condition]) -> bool:
    """Whether a stored row must be written: anything but an equal set of conditions."""
    return tuple(before) != tuple(after)
