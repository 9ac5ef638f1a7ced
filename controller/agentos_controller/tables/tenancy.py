"""Tenants, their sources, and who may do what: `tenant`, `source`, `api_key`, `idempotency`, `setting`."""

from __future__ import annotations

import sqlalchemy as sa

from agentos_controller.tables.columns import (
    Blob,
    Count,
    Digest,
    Doc,
    Id,
    Name,
    Rev,
    Text,
    Time,
    choice,
    key,
    metadata,
    optional,
    partial,
    required,
)

tenant = sa.Table(
    "tenant",
    metadata,
    key("id", Id),
    required("name", Name),
    required("platform", sa.Boolean(), default=False),
    optional("spec", Doc),
    optional("quota", Doc),
    *choice("state", "active", "suspended", "deleting", default="active"),
    optional("active_seq", Count),
    optional("hold", Doc),  # {seq, revision, reason, by, until}
    optional("suspended_by", Text),
    optional("suspended_reason", Text),
    optional("suspended_until", Time),
    optional("prune", Doc),  # what the guard asks about: {digest, count, total, refs, since}
    optional("prune_approved", Doc),  # {digest, by, at}: holds for exactly that
    optional("conditions", Doc),
    *choice("ready", "True", "False", "Unknown", default="Unknown"),
    required("created_at", Time),
    optional("deleted_at", Time),
    # A name is free again once its tenant is gone; the id never is.
    partial("uq_tenant_name", "name", where="deleted_at IS NULL", unique=True),
)

source = sa.Table(
    "source",
    metadata,
    key("id", Id),
    required("tenant_id", Id),
    required("name", Name),
    required("url", Text),
    required("ref", Text),
    required("path", Text),
    required("position", sa.Integer(), default=0),
    optional("secret_ref", Name),
    optional("interval_us", Time),
    optional("suspended_by", Text),
    optional("suspended_reason", Text),
    optional("suspended_until", Time),
    optional("observed", Rev),  # what the ref named at the last look; `head` is what is reconciled
    optional("accepted", Rev),  # a revision that a person let in although it is no descendant
    optional("accepted_by", Text),
    optional("head", Rev),
    optional("tree", Rev),
    optional("fetched_at", Time),
    optional("next_at", Time),
    required("failures", sa.Integer(), default=0),
    optional("error", Text),
    optional("conditions", Doc),
    *choice("ready", "True", "False", "Unknown", default="Unknown"),
    sa.UniqueConstraint("tenant_id", "name"),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
)

api_key = sa.Table(
    "api_key",
    metadata,
    key("id", Id),
    required("prefix", Name),
    required("hash", Digest),
    optional("tenant_id", Id),  # NULL: a key of the platform
    required("name", Name),
    required("permissions", Doc),
    required("roles", Doc),
    required("created_by", Text),
    required("created_at", Time),
    optional("expires_at", Time),
    optional("revoked_at", Time),
    optional("last_used_at", Time),
    sa.UniqueConstraint("prefix"),
    sa.Index("ix_api_key_tenant_id_id", "tenant_id", "id"),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    key("principal", Text),
    key("key", Text),
    required("request_hash", Digest),
    optional("status", sa.Integer()),  # NULL: the first request is still under way
    optional("body", Blob),
    required("created_at", Time),
    sa.Index("ix_idempotency_created_at", "created_at"),
)

setting = sa.Table(
    "setting",
    metadata,
    key("key", Name),
    optional("value", Doc),
)
