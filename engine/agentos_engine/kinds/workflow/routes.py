"""Routes of a step made explicit: falling through, string forms and defaults leave no question to the runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentos_engine import model
from agentos_engine.kinds.workflow.spec import Step
from agentos_engine.lowering.report import Report

END = "end"
RAISING = ("rejected", "expired")
"""Outcomes of `approve` that raise an error unless they are routed."""


def following(ids: Sequence[str]) -> dict[str, str]:
    """Where each step goes by itself: the one below, after the last one the end."""
    return dict(zip(ids, [*ids[1:], END], strict=True))


def next_of(
    report: Report, step: Step, outcomes: Sequence[str], below: str, at: model.Location
) -> dict[str, str]:
    """Target by outcome. `outcomes` are the action's, all normal ones before those that raise."""
    written = step.next
    if isinstance(written, str):
        return {outcome: written for outcome in outcomes if step.type != "approve" or outcome not in RAISING}
    routed: Mapping[str, str] = written or {}
    for outcome in routed:
        if outcome not in outcomes:
            report.add(
                "UnknownOutcome",
                (*at, "next", outcome),
                f"this step has no outcome {outcome!r}",
                f"It has {', '.join(outcomes)}.",
                key=True,
            )
    targets = {}
    for outcome in outcomes:
        if outcome in routed:
            targets[outcome] = routed[outcome]
        elif step.type != "approve" or outcome not in RAISING:
            targets[outcome] = below
    return targets


def on_error(step: Step) -> dict[str, str]:
    """Target by error class; ``Error`` stands for any."""
    if step.on_error is None:
        return {}
    return {"Error": step.on_error} if isinstance(step.on_error, str) else dict(step.on_error)
