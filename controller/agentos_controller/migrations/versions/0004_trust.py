"""Secrets and the audit trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentos_controller.tables.columns import (
    NAMING,
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
    optional,
    required,
)

revision = "0004"
down_revision = "0003"

metadata = sa.MetaData(naming_convention=NAMING)

sa.Table(
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

sa.Table(
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

sa.Table(
    "audit_head",
    metadata,
    key("tenant_id", Id),
    required("seq", Count),
    required("hash", Digest),
)


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=False)


def downgrade() -> None:
    metadata.drop_all(op.get_bind(), checkfirst=False)
