"""Threads, runs, approvals and the ticks of schedules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentos_controller.tables.columns import (
    NAMING,
    Count,
    Digest,
    Doc,
    Id,
    Money,
    Name,
    Rev,
    Text,
    Time,
    choice,
    key,
    optional,
    partition_by,
    required,
)

revision = "0003"
down_revision = "0002"

metadata = sa.MetaData(naming_convention=NAMING)

FINAL = ("succeeded", "failed", "cancelled", "rejected", "dead")
LIVE = ("pending", "running", "waiting", "paused", "cancelling")

sa.Table(
    "thread",
    metadata,
    key("tenant_id", Id),
    key("id", Id),
    optional("digest", Digest),
    optional("revision", Rev),
    optional("target_kind", Name),
    optional("target_name", Name),
    *choice("upgrade", "pin", "migrate", "drain", default="pin"),
    *choice("state", "idle", "busy", "interrupted", "error", default="idle"),
    optional("active_run_id", Id),
    optional("queue_head", Id),
    optional("metadata", Doc),
    required("created_at", Time),
    optional("ttl_at", Time),
    required("updated_at", Time),
)

run = sa.Table(
    "run",
    metadata,
    key("id", Id),
    required("tenant_id", Id),
    required("thread_id", Id),
    required("target_kind", Name),
    required("target_name", Name),
    optional("target_digest", Digest),
    required("generation", Count),
    required("revision", Rev),
    required("digest", Digest),
    *choice("state", *LIVE, *FINAL, default="pending"),
    optional("reason", Name),
    optional("outcome", Name),
    required("interactive", sa.Boolean(), default=False),
    required("segment", sa.Integer(), default=0),
    required("fence", Count, default=0),
    required("priority", sa.Integer(), default=0),
    optional("queue", Name),
    optional("idempotency_key", Text),
    required("cause", Doc),
    required("actor", Text),
    optional("parent_run_id", Id),
    optional("root_run_id", Id),
    optional("retry_of", Id),
    optional("input", Doc),
    optional("output", Doc),
    optional("error", Doc),
    required("tokens_in", Count, default=0),
    required("tokens_out", Count, default=0),
    required("cost", Money, default=0),
    required("steps", sa.Integer(), default=0),
    required("attempts", sa.Integer(), default=0),
    required("created_at", Time),
    optional("started_at", Time),
    optional("ended_at", Time),
    required("updated_at", Time),
    optional("deadline_at", Time),
    optional("cancel_requested_at", Time),
    sa.Index("ix_run_tenant_id_id", "tenant_id", "id"),
    sa.Index("ix_run_tenant_id_state_id", "tenant_id", "state", "id"),
    sa.Index("ix_run_tenant_id_target_kind_target_name_id", "tenant_id", "target_kind", "target_name", "id"),
    sa.Index("ix_run_tenant_id_thread_id_id", "tenant_id", "thread_id", "id"),
    # The sweeper's: it looks only at runs that still live.
    sa.Index(
        "ix_run_live",
        "state",
        "updated_at",
        sqlite_where=sa.text("state IN ('pending', 'running', 'waiting', 'paused', 'cancelling')"),
        postgresql_where=sa.text("state IN ('pending', 'running', 'waiting', 'paused', 'cancelling')"),
    ),
)
partition_by(run, "id")

sa.Table(
    "run_key",
    metadata,
    key("tenant_id", Id),
    key("key", Text),  # one tick one run, one request one run
    required("run_id", Id),
    optional("expires_at", Time),
    sa.Index("ix_run_key_expires_at", "expires_at"),
)

run_step = sa.Table(
    "run_step",
    metadata,
    key("run_id", Id),
    key("path", Text),
    key("attempt", sa.Integer()),
    required("tenant_id", Id),
    required("number", sa.Integer()),  # the order in which steps began
    required("type", Name),
    *choice("state", "running", "succeeded", "failed", "skipped", "waiting", "unknown"),
    required("fence", Count),
    optional("input", Doc),
    optional("output", Doc),
    optional("error", Doc),
    required("tokens_in", Count, default=0),
    required("tokens_out", Count, default=0),
    required("cost", Money, default=0),
    optional("started_at", Time),
    optional("ended_at", Time),
)
partition_by(run_step, "run_id")

run_event = sa.Table(
    "run_event",
    metadata,
    key("run_id", Id),
    key("seq", Count),
    required("tenant_id", Id),
    required("type", Name),
    optional("step_path", Text),
    optional("data", Doc),
    required("at", Time),
)
partition_by(run_event, "run_id")

sa.Table(
    "approval",
    metadata,
    key("id", Id),
    required("tenant_id", Id),
    required("run_id", Id),
    required("segment", sa.Integer()),
    required("interrupt_id", Name),
    required("step_path", Text),
    required("requested_of", Doc),
    optional("show", Doc),
    optional("edit", Doc),
    required("quorum", sa.Integer(), default=1),
    required("votes", Doc, default=list),
    *choice("state", "open", "approved", "rejected", "answered", "expired", "cancelled", default="open"),
    optional("answer", Doc),
    optional("comment", Text),
    optional("decided_by", Text),
    optional("decided_at", Time),
    required("created_at", Time),
    optional("expires_at", Time),
    sa.UniqueConstraint("run_id", "interrupt_id"),
    sa.Index("ix_approval_tenant_id_id", "tenant_id", "id"),
    sa.Index("ix_approval_tenant_id_state_expires_at", "tenant_id", "state", "expires_at"),
    sa.Index("ix_approval_state_expires_at", "state", "expires_at"),
)

sa.Table(
    "schedule_state",
    metadata,
    key("tenant_id", Id),
    key("name", Name),
    required("artifact_digest", Digest),
    optional("last_tick", Time),
    optional("next_tick", Time),
    required("suspended", sa.Boolean(), default=False),
    required("misses", sa.Integer(), default=0),
)

sa.Table(
    "fire",
    metadata,
    key("tenant_id", Id),
    key("schedule", Name),
    key("tick", Time),  # one row per tick: the second replica's insert fails
    *choice("decision", "started", "skipped_overlap", "skipped_late", "skipped_quota", "suspended", "replaced"),
    optional("run_id", Id),
    required("lateness", Time),
    required("at", Time),
)


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=False)


def downgrade() -> None:
    metadata.drop_all(op.get_bind(), checkfirst=False)
