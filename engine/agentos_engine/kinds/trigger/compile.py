"""A Trigger to its artifact: which event, what it runs, and the digests of both."""

from __future__ import annotations

from typing import Any

from agentos_engine import artifacts, kind, model
from agentos_engine.expressions import types
from agentos_engine.kinds.trigger.spec import On, TriggerSpec
from agentos_engine.lowering import calls, extras, scopes
from agentos_engine.lowering.report import Report


def compile(manifest: model.Manifest, spec: TriggerSpec, context: kind.Context) -> kind.Compiled:  # noqa: A001
    """The trigger's artifact; nothing depends on a trigger, so its interface is empty."""
    report = Report(manifest, context.texts)
    run, uses = calls.run_target(report, context, spec.run, scopes.EVENT, ("spec", "run"))
    body: dict[str, Any] = {"name": manifest.ref.name, "on": _on(report, context, spec.on, uses), "run": run}
    if spec.when is not None:
        body["when"] = report.condition(spec.when, scopes.EVENT, ("spec", "when"))
    if spec.dedupe is not None:
        body["dedupe"] = _key(report, spec.dedupe, ("spec", "dedupe"))
    if spec.concurrency is not None:
        limit = spec.concurrency
        body["concurrency"] = {"max": limit.max, "overlap": limit.overlap}
        if limit.key is not None:
            body["concurrency"]["key"] = _key(report, limit.key, ("spec", "concurrency", "key"))
    body["uses"] = dict(sorted(uses.items()))
    body.update(extras.of(manifest.spec))
    artifact = artifacts.Artifact("trigger", str(manifest.ref), body)
    return kind.Compiled(None if report.failed else artifact, {}, report.finish())


def _key(report: Report, template: str, at: model.Location) -> Any:
    """A template that tells events apart: a value that becomes one text."""
    rewritten, kind_ = report.value(template, scopes.EVENT, at)
    if kind_.kind in ("list", "map", "object"):
        report.add("TypeMismatch", at, f"a key is text, but this is {types.describe(kind_)}")
    return rewritten


def _on(report: Report, context: kind.Context, spec: On, uses: dict[str, str]) -> dict[str, Any]:
    if spec.connector is not None:
        connector = calls.linked(
            report, context, model.ResourceRef("Connector", spec.connector), ("spec", "on", "connector")
        )
        uses.update(calls.uses([connector] if connector is not None else []))
        return {"connector": spec.connector, "event": spec.event}
    if spec.webhook is not None:
        signature = spec.webhook.signature
        return {"webhook": {"signature": {"scheme": signature.scheme, "secret": signature.secret}}}
    if spec.resource is not None:
        resource = spec.resource
        return {"resource": {"kind": resource.kind, "name": resource.name, "outcome": resource.outcome}}
    return {"emit": spec.emit}
