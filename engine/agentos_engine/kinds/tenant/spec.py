"""Spec of a Tenant: where its manifests come from, and what it may use."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from agentos_engine import fields, kind

SubPath = Annotated[str, Field(max_length=1024, examples=[".", "tenants/acme"])]
GitUrl = Annotated[str, Field(pattern=fields.GIT_PATTERN, max_length=2048)]
GitRef = Annotated[str, Field(pattern=fields.REF_PATTERN)]


class Source(fields.Node):
    """A repository, or a folder of one."""

    name: fields.Name | None = None
    """To tell several apart; default: `main`, and required of all but one."""
    git: GitUrl | None = None
    """Address of the repository, without credentials; default: the platform's own."""
    ref: GitRef | None = None
    """Branch, tag or commit; default: the repository's HEAD."""
    path: SubPath = "."
    """Folder that holds the manifests."""
    include: tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...] | None = None
    """Folders and files that hold manifests, relative to `path`."""
    exclude: tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...] = ()
    """Patterns, as in `.gitignore`, of files that are not manifests."""
    auth: fields.SecretRef | None = None
    """Token for the repository."""
    interval: fields.Duration | None = None
    """How often to look for new commits."""


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
    """Where its manifests come from."""
    quota: Quota | None = None
    """What it may use over time."""
    limits: TenantLimits | None = None
    """What one run may use at most."""
    vars: dict[fields.Id, Any] = Field(default_factory=dict)
    """Values that its manifests read as `vars.<id>`; never a secret. A run sees those of when its segment began."""
