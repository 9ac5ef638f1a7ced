"""A Schedule to its artifact: when, what, and the digest of what it runs."""

from __future__ import annotations

from typing import Any

from agentos_engine import artifacts, kind, literals, model
from agentos_engine.kinds.schedule.spec import ScheduleSpec
from agentos_engine.lowering import calls, extras
from agentos_engine.lowering.report import Report


def compile(manifest: model.Manifest, spec: ScheduleSpec, context: kind.Context) -> kind.Compiled:  # noqa: A001
    """The schedule's artifact; nothing depends on a schedule, so its interface is empty."""
    report = Report(manifest, context.texts)
    run, uses = calls.run_target(report, context, spec.run, {}, ("spec", "run"))
    body: dict[str, Any] = {"name": manifest.ref.name}
    if spec.cron is not None:
        body["cron"] = spec.cron
    if spec.every is not None:
        body["everyMs"] = literals.duration_ms(spec.every)
    if spec.at is not None:
        body["at"] = spec.at
    body |= {
        "timezone": spec.timezone,
        "run": run,
        "overlap": spec.overlap,
        "catchUpMs": literals.duration_ms(spec.catch_up) if spec.catch_up is not None else 0,
        "jitterMs": literals.duration_ms(spec.jitter) if spec.jitter is not None else 0,
        "suspend": spec.suspend,
        "uses": uses,
    }
    if spec.until is not None:
        body["until"] = spec.until
    body.update(extras.of(manifest.spec))
    artifact = artifacts.Artifact("schedule", str(manifest.ref), body)
    return kind.Compiled(None if report.failed else artifact, {}, report.finish())
