"""A Policy to its artifact: rules as checked CEL."""

from __future__ import annotations

from typing import Any

from agentos_engine import artifacts, kind, model
from agentos_engine.kinds.policy.spec import PolicySpec
from agentos_engine.lowering import extras, scopes
from agentos_engine.lowering.report import Report


def compile(manifest: model.Manifest, spec: PolicySpec, context: kind.Context) -> kind.Compiled:  # noqa: A001
    """The policy's artifact; nothing depends on a policy, so its interface is empty."""
    report = Report(manifest, context.texts)
    rules = []
    for id_, rule in spec.rules.items():
        at: model.Location = ("spec", "rules", id_)
        rules.append(
            {
                "id": id_,
                "deny": report.condition(rule.deny, scopes.POLICY, (*at, "deny")),
                "message": report.text(rule.message, scopes.POLICY, (*at, "message")),
                "mode": rule.mode,
            }
        )
    body: dict[str, Any] = {
        "name": manifest.ref.name,
        "description": report.plain(spec.description, ("spec", "description")),
        "applies": {"kinds": sorted(spec.applies.kinds), "selector": dict(sorted(spec.applies.selector.items()))},
        "on": spec.on,
        "rules": rules,
    }
    body.update(extras.of(manifest.spec))
    artifact = artifacts.Artifact("policy", str(manifest.ref), body)
    return kind.Compiled(None if report.failed else artifact, {}, report.finish())
