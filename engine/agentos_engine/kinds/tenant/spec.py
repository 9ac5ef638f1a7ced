"""Spec of a Tenant: where its manifests come from, and what it may use."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from agentos_engine import fields, kind

SubPath = Annotated[str, Field(max_length=1024, examples=[".", "tenants/acme"])]
GitUrl = Annotated[str, Field(pattern=fields.GIT_PATTERN, max_length=2048)]
GitRef = Annotated[str, Field(pattern=fields.REF_PATTERN)]


Trusted = Annotated[str, Field(min_length=1, max_length=65_536)] | fields.SecretRef
Pattern = Annotated[str, Field(min_length=1, max_length=1024)]


class SourceLimits(fields.Node):
    """What a fetch may cost; beyond it nothing is taken, and what was fetched before serves on."""

    timeout: fields.Duration | None = None
    """Time of one fetch; default: two minutes."""
    size: fields.Size | None = None
    """Bytes that one fetch may bring, packed; default: 2GiB."""
    objects: Annotated[int, Field(ge=1)] | None = None
    """Objects that one fetch may bring; default: 5,000,000."""
    files: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Files below `path`; default: 200,000."""
    file_size: fields.Size | None = None
    """Bytes of one manifest or included file, at most 1MiB; default: 1MiB."""


class SourceWebhook(fields.Node):
    """Signed deliveries wake the controller at once."""

    secret: fields.SecretName
    """Name of the secret that the forge signs with."""


class Sigstore(fields.Node):
    """A keyless identity, as its certificate names it."""

    identity: Annotated[str, Field(min_length=1, max_length=1024, examples=["release@example.com"])]
    """Mail address or URI of the certificate's subject."""
    issuer: fields.HttpUrl
    """Who vouched for it: the OpenID Connect issuer."""


class Signer(fields.Node):
    """A key, or an identity, whose signature counts. Exactly one."""

    ssh: Annotated[str, Field(min_length=1, max_length=16_384)] | None = None
    """An SSH public key, as one line of `id_ed25519.pub`."""
    openpgp: Annotated[str, Field(min_length=1, max_length=262_144)] | None = None
    """An armored OpenPGP certificate (public key)."""
    sigstore: Sigstore | None = None
    """An identity proven by a sigstore certificate."""


class SigstoreTrust(fields.Node):
    """Whose certificates and log entries count; nothing is fetched."""

    roots: Annotated[str, Field(min_length=1, max_length=262_144)]
    """PEM certificates of the authority that issues signing certificates."""
    log_key: Annotated[str, Field(min_length=1, max_length=16_384)]
    """PEM public key of the transparency log."""


class Verify(fields.Node):
    """Whose signature the content needs."""

    signers: Annotated[dict[fields.Id, Signer], Field(min_length=1, max_length=256)]
    """Who may sign, by a name of your choice."""
    paths: tuple[Pattern, ...] = ()
    """Patterns, as in `.gitignore`, relative to `path`: only commits that touch these need one; default: all."""
    sigstore: SigstoreTrust | None = None
    """Needed where a signer is a sigstore identity."""


class Source(fields.Node):
    """A repository, or a folder of one."""

    name: fields.Name | None = None
    """To tell several apart; default: `main`, and required of all but one."""
    git: GitUrl | None = None
    """Address of the repository, without credentials; default: the platform's own."""
    ref: GitRef | None = None
    """Branch, tag or commit, or `refs/heads/…`, `refs/tags/…` in full; default: the repository's HEAD."""
    semver: Annotated[str, Field(min_length=1, max_length=256, examples=[">=1.2.0 <2.0.0", "^1.4", "1.x"])] | None = (
        None
    )
    """A range of versions: the newest tag inside is followed. In place of `ref`."""
    path: SubPath = "."
    """Folder that holds the manifests."""
    include: tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...] | None = None
    """Folders and files that hold manifests, relative to `path`."""
    exclude: tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...] = ()
    """Patterns, as in `.gitignore`, of files that are not manifests."""
    auth: fields.SecretRef | None = None
    """Token (https) or private deploy key (ssh) for the repository."""
    known_hosts: Trusted | None = None
    """The host keys of an ssh server, as lines of `known_hosts`; required for ssh."""
    ca: Trusted | None = None
    """PEM certificates of the authority of an https server, in place of the system's."""
    interval: fields.Duration | None = None
    """How often to look for new commits."""
    limits: SourceLimits | None = None
    """What a fetch may cost."""
    webhook: SourceWebhook | None = None
    """Signed deliveries wake the controller at once."""
    verify: Verify | None = None
    """Whose signature a commit needs before it serves."""
    history: Literal["any", "forward", "mainline"] = "any"
    """How the revision may move. `forward`: only to descendants, so a force-push stalls until somebody accepts it;
    `mainline`: only to commits that have the one before on their line of first parents. Default: any."""
    merged_into: GitRef | None = None
    """A branch that must have the commit on its line of first parents: what nobody merged there never serves."""


class Prune(fields.Node):
    """A guard against mass deletion: beyond one of these nothing is removed until `agentos approve-prune`."""

    max_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the tenant's resources that one round may remove; default: 0.5."""
    max_count: Annotated[int, Field(ge=0)] | None = None
    """Resources that one round may remove; default: no limit by count."""
    min_count: Annotated[int, Field(ge=0)] | None = None
    """Removing fewer than this many is never asked about, unless it empties the tenant; default: 3."""


class Quota(fields.Node):
    """What it may use in all."""

    concurrent_runs: Annotated[int, Field(ge=1)] | None = None
    """Runs in the queue and at work at once; those that wait for people do not count."""
    cost_usd_per_day: fields.Usd | None = None
    """Cost in USD of a day."""
    cost_usd_per_month: fields.Usd | None = None
    """Cost in USD of a month."""
    tokens_per_day: Annotated[int, Field(ge=1)] | None = None
    """Tokens of a day."""
    tokens_per_month: Annotated[int, Field(ge=1)] | None = None
    """Tokens of a month."""


class TenantLimits(fields.Node):
    """What one run may use at most; the tighter of these and its own limits hold."""

    steps: Annotated[int, Field(ge=1)] | None = None
    """Executed steps."""
    tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens, in and out."""
    cost_usd: fields.Usd | None = None
    """Cost in USD."""
    timeout: fields.Duration | None = None
    """Wall-clock time."""
    depth: Annotated[int, Field(ge=1, le=64)] | None = None
    """How deep sub-workflows and delegates may nest."""


class TenantSpec(kind.Spec, fields.Node):
    """One tenant of the platform."""

    description: fields.Text | None = None
    """Who it is."""
    sources: Annotated[tuple[Source, ...], Field(min_length=1, max_length=64)]
    """Where its manifests come from, in order: what stands earlier is named first where two claim one resource."""
    prune: Prune | None = None
    """How much one commit may remove before a person is asked."""
    quota: Quota | None = None
    """What it may use over time."""
    limits: TenantLimits | None = None
    """What one run may use at most."""
    vars: dict[fields.Id, Any] = Field(default_factory=dict)
    """Values that its manifests read as `vars.<id>`; never a secret. A run sees those of when its segment began."""
