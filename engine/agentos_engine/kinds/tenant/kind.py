"""The kind Tenant: checks that its sources can be told apart and hold no credentials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agentos_engine import blockrules, kind, model, userschema
from agentos_engine.kinds.tenant import compile as compiler
from agentos_engine.kinds.tenant.spec import TenantSpec

_AT: model.Location = ("spec",)


def _names_a_user(git: str | None) -> bool:
    """Whether an address has a user without a password; one with is found as a secret anyway."""
    authority = (git or "").partition("://")[2].partition("/")[0]
    return "@" in authority and ":" not in authority.rpartition("@")[0]


def _rules(spec: TenantSpec) -> Iterator[userschema.Found]:
    names: dict[str, int] = {}
    for index, source in enumerate(spec.sources):
        at = (*_AT, "sources", index)
        name = source.name or "main"
        if name in names:
            where = (*at, "name") if source.name else at
            hint = "Give each source a `name` of its own."
            yield "InvalidValue", where, f"source {names[name]} is called `{name}` too", hint
        names.setdefault(name, index)
        if _names_a_user(source.git):
            hint = "Leave user and password out; name the token under `auth: {secret: …}`."
            yield "SecretLiteral", (*at, "git"), "the address holds credentials", hint
        if source.path.startswith("/") or ".." in source.path.split("/"):
            yield "InvalidValue", (*at, "path"), "the path leads out of the repository", "A folder inside, such as `.`."
        for pattern_at, pattern in enumerate(source.include or ()):
            if pattern.startswith("/") or ".." in pattern.split("/"):
                where = (*at, "include", pattern_at)
                yield "InvalidValue", where, "the path leads out of the source", "A folder or file inside it."


class TenantKind:
    """See `agentos_engine.kind.Kind`."""

    name = "Tenant"
    scope: kind.Scope = "platform"
    spec = TenantSpec

    def references(self, spec: TenantSpec) -> Iterable[model.Reference]:
        return ()

    def files(self, spec: TenantSpec) -> Iterable[tuple[str, model.Location]]:
        return blockrules.text_files(spec.description, (*_AT, "description"))

    def validate(self, manifest: model.Manifest, spec: TenantSpec) -> Iterable[model.Diagnostic]:
        return blockrules.diagnostics(manifest, _rules(spec))

    def compile(self, manifest: model.Manifest, spec: TenantSpec, context: kind.Context) -> kind.Compiled:
        return compiler.compile(manifest, spec, context)


KIND: kind.Kind[TenantSpec] = TenantKind()
