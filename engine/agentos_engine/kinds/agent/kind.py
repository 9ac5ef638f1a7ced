"""The kind Agent: names its model and tools, and checks its schemas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agentos_engine import blockrules, kind, model, userschema
from agentos_engine.kinds.agent import compile as compiler
from agentos_engine.kinds.agent.spec import AgentSpec

_AT: model.Location = ("spec",)


def _rules(spec: AgentSpec) -> Iterator[userschema.Found]:
    yield from userschema.check_defs(spec.defs, (*_AT, "$defs"))
    yield from blockrules.agent_rules(spec, _AT, spec.defs)


class AgentKind:
    """See `agentos_engine.kind.Kind`."""

    name = "Agent"
    scope: kind.Scope = "tenant"
    spec = AgentSpec

    def references(self, spec: AgentSpec) -> Iterable[model.Reference]:
        return blockrules.agent_references(spec, _AT)

    def files(self, spec: AgentSpec) -> Iterable[tuple[str, model.Location]]:
        return blockrules.agent_files(spec, _AT)

    def validate(self, manifest: model.Manifest, spec: AgentSpec) -> Iterable[model.Diagnostic]:
        return blockrules.diagnostics(manifest, _rules(spec))

    def compile(self, manifest: model.Manifest, spec: AgentSpec, context: kind.Context) -> kind.Compiled:
        return compiler.compile(manifest, spec, context)


KIND: kind.Kind[AgentSpec] = AgentKind()
