"""Secrets and the audit trail. A request updates only a secret's retirement and its hosts."""

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
    key,
    metadata,
    optional,
    required,
)

secret = sa.Table(
    "secret",
    metadata,
    key("tenant_id", Id),
    key("name", Name),
    key("version", sa.Integer()),
    required("ciphertext", Blob),
    required("wrapped_key", Blob),
    required("kek_id", Name),
    required("created_by", Text),
    required("created_at", Time),
    optional("retired_at", Time),
    sa.Index("ix_secret_kek_id", "kek_id"),
)

secret_binding = sa.Table(
    "secret_binding",
    metadata,
    key("tenant_id", Id),
    key("name", Name),
    required("hosts", Doc),  # sorted, as the egress guard writes them
    required("bound_at", Time),
    required("bound_by", Text),
)

audit = sa.Table(
    "audit",
    metadata,
    key("tenant_id", Id),
    key("seq", Count),
    required("at", Time),
    required("actor", Text),
    required("action", Name),
    required("object", Text),
    optional("revision", Rev),
    required("outcome", Name),
    required("detail", Doc),
    required("prev_hash", Digest),
    required("hash", Digest),
)

audit_head = sa.Table(
    "audit_head",
    metadata,
    key("tenant_id", Id),
    required("seq", Count),
    required("hash", Digest),
)
