"""Routes of a step made explicit: falling through, string forms and defaults leave no question to the runtime."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from agentos_engine import model
from agentos_engine.kinds.workflow.spec import Step
from agentos_engine.lowering.report import Report

END = "end"


def following(ids: Sequence[str]) -> dict[str, str]:
    """Where each step goes by itself: the one below, after the last one the end."""
    return dict(zip(ids, [*ids[1:], END], strict=True))


def next_of(
    report: Report,
    written: str | Mapping[str, str] | None,
    outcomes: Sequence[str],
    raising: Collection[str],
    below: str,
    at: model.Location,
) -> dict[str, str]:
    """Target by outcome. `outcomes` are the action's; those in `raising` raise an error unless they are routed."""
    if isinstance(written, str):
        return {outcome: written for outcome in outcomes if outcome not in raising}
    routed = written or {}
    for outcome in routed:
        if outcome not in outcomes:
            message, hint = f"this step has no outcome {outcome!r}", f"It has {', '.join(outcomes)}."
            report.add("UnknownOutcome", (*at, "next", outcome), message, hint, key=True)
    return {outcome: routed.get(outcome, below) for outcome in outcomes if outcome in routed or outcome not in raising}


def on_error(step: Step) -> dict[str, str]:
    """Target by error class; ``Error`` stands for any."""
    if step.on_error is None:
        return {}
    return {"Error": step.on_error} if isinstance(step.on_error, str) else dict(step.on_error)
