"""The kind Policy: checks the kinds it applies to; its expressions are checked by compiling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agentos_engine import blockrules, kind, model, suggest, userschema
from agentos_engine.kinds.policy import compile as compiler
from agentos_engine.kinds.policy.spec import PolicySpec

_AT: model.Location = ("spec",)


def _files(spec: PolicySpec) -> Iterator[tuple[str, model.Location]]:
    yield from blockrules.text_files(spec.description, (*_AT, "description"))
    for id_, rule in spec.rules.items():
        yield from blockrules.text_files(rule.message, (*_AT, "rules", id_, "message"))


def _rules(spec: PolicySpec) -> Iterator[userschema.Found]:
    for index, name in enumerate(spec.applies.kinds):
        if name not in kind.kinds():
            hint = suggest.did_you_mean(name, kind.kinds(), f"One of {suggest.one_of(kind.kinds())}.")
            yield "InvalidValue", (*_AT, "applies", "kinds", index), f"there is no kind {name!r}", hint
    yield from blockrules.twice(spec.applies.kinds, (*_AT, "applies", "kinds"))


class PolicyKind:
    """See `agentos_engine.kind.Kind`."""

    name = "Policy"
    scope: kind.Scope = "tenant"
    spec = PolicySpec

    def references(self, spec: PolicySpec) -> Iterable[model.Reference]:
        return ()

    def files(self, spec: PolicySpec) -> Iterable[tuple[str, model.Location]]:
        return _files(spec)

    def validate(self, manifest: model.Manifest, spec: PolicySpec) -> Iterable[model.Diagnostic]:
        return blockrules.diagnostics(manifest, _rules(spec))

    def compile(self, manifest: model.Manifest, spec: PolicySpec, context: kind.Context) -> kind.Compiled:
        return compiler.compile(manifest, spec, context)


KIND: kind.Kind[PolicySpec] = PolicyKind()
