"""The kind Role: checks the kinds its grants name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agentos_engine import blockrules, kind, model, suggest, userschema
from agentos_engine.kinds.role import compile as compiler
from agentos_engine.kinds.role.spec import RoleSpec

_AT: model.Location = ("spec",)


def _rules(spec: RoleSpec) -> Iterator[userschema.Found]:
    for id_, grant in spec.rules.items():
        at = (*_AT, "rules", id_, "kinds")
        for index, name in enumerate(grant.kinds):
            if name not in kind.kinds():
                hint = suggest.did_you_mean(name, kind.kinds(), f"One of {suggest.one_of(kind.kinds())}.")
                yield "InvalidValue", (*at, index), f"there is no kind {name!r}", hint
        yield from blockrules.twice(grant.kinds, at)
    yield from blockrules.twice(spec.members, (*_AT, "members"))


class RoleKind:
    """See `agentos_engine.kind.Kind`."""

    name = "Role"
    scope: kind.Scope = "platform"
    spec = RoleSpec

    def references(self, spec: RoleSpec) -> Iterable[model.Reference]:
        return ()

    def files(self, spec: RoleSpec) -> Iterable[tuple[str, model.Location]]:
        return blockrules.text_files(spec.description, (*_AT, "description"))

    def validate(self, manifest: model.Manifest, spec: RoleSpec) -> Iterable[model.Diagnostic]:
        return blockrules.diagnostics(manifest, _rules(spec))

    def compile(self, manifest: model.Manifest, spec: RoleSpec, context: kind.Context) -> kind.Compiled:
        return compiler.compile(manifest, spec, context)


KIND: kind.Kind[RoleSpec] = RoleKind()
