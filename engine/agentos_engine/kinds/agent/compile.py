"""An Agent to its graph."""

from __future__ import annotations

from agentos_engine import artifacts, kind, model
from agentos_engine.kinds.agent.spec import AgentSpec
from agentos_engine.lowering import agents, extras
from agentos_engine.lowering.report import Report


def compile(manifest: model.Manifest, spec: AgentSpec, context: kind.Context) -> kind.Compiled:  # noqa: A001
    """The graph of an agent, and its interface ``{input, output, outcomes, effect, description}``."""
    report = Report(manifest, context.texts)
    body, interface = agents.lower(report, context, spec, manifest.ref.name, ("spec",))
    body.update(extras.of(manifest.spec))
    artifact = artifacts.Artifact("graph", str(manifest.ref), body)
    return kind.Compiled(None if report.failed else artifact, interface, report.finish())
