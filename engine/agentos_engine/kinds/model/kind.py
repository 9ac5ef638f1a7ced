"""The kind Model: checks that a provider has what it needs."""

from __future__ import annotations

from collections.abc import Iterable

from agentos_engine import blockrules, kind, model
from agentos_engine.kinds.model import compile as compiler
from agentos_engine.kinds.model.spec import ModelSpec

_AT: model.Location = ("spec",)


class ModelKind:
    """See `agentos_engine.kind.Kind`."""

    name = "Model"
    scope: kind.Scope = "tenant"
    spec = ModelSpec

    def references(self, spec: ModelSpec) -> Iterable[model.Reference]:
        return blockrules.model_references(spec, _AT)

    def files(self, spec: ModelSpec) -> Iterable[tuple[str, model.Location]]:
        return blockrules.model_files(spec, _AT)

    def validate(self, manifest: model.Manifest, spec: ModelSpec) -> Iterable[model.Diagnostic]:
        return blockrules.diagnostics(manifest, blockrules.model_rules(spec, _AT))

    def compile(self, manifest: model.Manifest, spec: ModelSpec, context: kind.Context) -> kind.Compiled:
        return compiler.compile(manifest, spec, context)


KIND: kind.Kind[ModelSpec] = ModelKind()
