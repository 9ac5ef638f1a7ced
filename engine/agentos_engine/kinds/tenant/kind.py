"""The kind Tenant: checks that its sources can be told apart and hold no credentials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agentos_engine import blockrules, kind, model, userschema
from agentos_engine.kinds.tenant import compile as compiler
from agentos_engine.kinds.tenant.spec import Source, TenantSpec

_AT: model.Location = ("spec",)


def _names_a_user(git: str | None) -> bool:
    """Whether an https address has a user without a password; one with is found as a secret anyway."""
    scheme, _, rest = (git or "").partition("://")
    authority = rest.partition("/")[0]
    return scheme != "ssh" and "@" in authority and ":" not in authority.rpartition("@")[0]


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
        yield from _source_rules(source, at)
        if source.path.startswith("/") or ".." in source.path.split("/"):
            yield "InvalidValue", (*at, "path"), "the path leads out of the repository", "A folder inside, such as `.`."
        for pattern_at, pattern in enumerate(source.include or ()):
            if pattern.startswith("/") or ".." in pattern.split("/"):
                where = (*at, "include", pattern_at)
                yield "InvalidValue", where, "the path leads out of the source", "A folder or file inside it."


def _source_rules(source: Source, at: model.Location) -> Iterator[userschema.Found]:
    """What one source says that does not go together."""
    if source.ref is not None and source.semver is not None:
        yield "InvalidValue", (*at, "semver"), "`ref` and `semver` exclude each other", "Keep one of the two."
    ssh = (source.git or "").startswith("ssh://")
    if ssh and source.known_hosts is None:
        hint = "Name the server's keys: the lines `ssh-keyscan` prints, compared with what its operator publishes."
        yield "MissingKey", (*at, "git"), "an ssh source needs `knownHosts`", hint
    if source.known_hosts is not None and not ssh:
        yield "InvalidValue", (*at, "knownHosts"), "only an ssh address has host keys", "Remove it."
    if source.ca is not None and not (source.git or "").startswith("https://"):
        yield "InvalidValue", (*at, "ca"), "only an https address of this source has certificates", "Remove it."
    if source.verify is None:
        return
    for name, signer in source.verify.signers.items():
        where = (*at, "verify", "signers", name)
        given = [key for key in ("ssh", "openpgp", "sigstore") if getattr(signer, key) is not None]
        if len(given) != 1:
            yield "InvalidValue", where, "a signer is exactly one of `ssh`, `openpgp`, `sigstore`", "Keep one of them."
        elif given == ["sigstore"] and source.verify.sigstore is None:
            hint = "Add `verify.sigstore` with `roots` and `logKey`."
            yield "MissingKey", where, "nothing says whose sigstore certificates count", hint


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
