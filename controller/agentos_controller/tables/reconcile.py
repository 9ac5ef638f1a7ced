"""What git says and what serves: snapshots, generations, resources, artifacts, and the commands that move them."""

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

tree_entry = sa.Table(
    "tree_entry",
    metadata,
    key("source_id", Id),
    key("path", Text),
    required("blob_id", Rev),
    optional("state", Name),
)

parsed_blob = sa.Table(
    "parsed_blob",
    metadata,
    key("blob_id", Rev),
    key("schema_version", Digest),
    required("body", Blob),
    optional("until", Time),  # a file that ended what read it: until when it is left alone
    partial("ix_parsed_blob_until", "until", where="until IS NOT NULL"),
)

generation = sa.Table(
    "generation",
    metadata,
    key("tenant_id", Id),
    key("seq", Count),
    required("revision", Rev),
    optional("source_id", Id),
    *choice("state", "applied", "superseded", "rolledback", "failed"),
    required("cause", Doc),
    required("actor", Text),
    required("changes", sa.Integer()),
    required("applied_at", Time),
    # Exactly one generation of a tenant is live.
    partial("uq_generation_live", "tenant_id", where="state = 'applied'", unique=True),
)

generation_item = sa.Table(
    "generation_item",
    metadata,
    key("tenant_id", Id),
    key("kind", Name),
    key("name", Name),
    key("from_seq", Count),
    optional("to_seq", Count),  # NULL: live
    required("digest", Digest),
    optional("artifact_digest", Digest),
    optional("path", Text),
    optional("line", sa.Integer()),
    optional("uses", Doc),  # what it was compiled against: {"Kind/name": digest}
    required("revision", Rev),
    sa.Index("ix_generation_item_tenant_id_to_seq", "tenant_id", "to_seq"),
    # One digest of a resource is live: close the old row, then open the new one.
    partial("uq_generation_item_live", "tenant_id", "kind", "name", where="to_seq IS NULL", unique=True),
)

resource = sa.Table(
    "resource",
    metadata,
    key("tenant_id", Id),
    key("kind", Name),
    key("name", Name),
    optional("source_id", Id),
    required("path", Text),
    required("line", sa.Integer()),
    required("document", sa.Integer(), default=0),
    optional("blob_id", Rev),
    optional("labels", Doc),
    optional("annotations", Doc),
    optional("desired_digest", Digest),
    optional("desired_revision", Rev),
    optional("applied_digest", Digest),
    optional("artifact_digest", Digest),
    optional("applied_revision", Rev),
    optional("applied_seq", Count),
    optional("interface", Doc),
    optional("files", Doc),
    optional("uses", Doc),  # what the serving version was compiled against: {"Kind/name": digest}
    optional("definitions", Doc),  # [[source id, path]…], only where several files define it
    *choice("ready", "True", "False", "Unknown", default="Unknown"),
    optional("reason", Name),
    optional("message", Text),
    optional("conditions", Doc),
    optional("suspended_by", Text),
    optional("suspended_reason", Text),
    optional("suspended_until", Time),
    optional("quarantine_until", Time),
    optional("quarantine_blob", Rev),  # the content that crashed its build; other content is tried at once
    optional("drain_until", Time),  # removed, but still serving what is in flight
    required("updated_at", Time),
    # Not (tenant, kind, ready): before its first ANALYZE, PostgreSQL would take that for the primary key.
    sa.Index("ix_resource_tenant_id_ready_kind_name", "tenant_id", "ready", "kind", "name"),
    sa.Index("ix_resource_tenant_id_artifact_digest", "tenant_id", "artifact_digest"),
    sa.Index("ix_resource_tenant_id_updated_at", "tenant_id", "updated_at"),
    sa.Index("ix_resource_tenant_id_source_id_path", "tenant_id", "source_id", "path"),
    # What ends by itself: few, and looked for often.
    partial("ix_resource_suspended_until", "suspended_until", where="suspended_until IS NOT NULL"),
    partial("ix_resource_drain_until", "drain_until", where="drain_until IS NOT NULL"),
    partial("ix_resource_quarantine_until", "quarantine_until", where="quarantine_until IS NOT NULL"),
)

resource_label = sa.Table(
    "resource_label",
    metadata,
    key("tenant_id", Id),
    key("key", Name),
    key("value", Name),
    key("kind", Name),
    key("name", Name),
    sa.Index("ix_resource_label_tenant_id_kind_name", "tenant_id", "kind", "name"),
)

dependency = sa.Table(
    "dependency",
    metadata,
    key("tenant_id", Id),
    key("to_kind", Name),
    key("to_name", Text),  # an included file is a dependency too: kind File, name its path
    key("from_kind", Name),
    key("from_name", Name),
    sa.Index("ix_dependency_tenant_id_from_kind_from_name", "tenant_id", "from_kind", "from_name"),
)

artifact = sa.Table(
    "artifact",
    metadata,
    key("tenant_id", Id),
    key("digest", Digest),
    *choice("type", "graph", "schedule", "trigger", "connector", "policy", "access"),
    required("name", Name),
    required("body", Blob),  # zstd of canonical JSON
    required("size", sa.Integer()),
    required("compiler", Name),
    required("first_at", Time),
)

diagnostic = sa.Table(
    "diagnostic",
    metadata,
    key("tenant_id", Id),
    key("source_id", Id),
    key("path", Text),
    key("number", sa.Integer()),
    required("code", Name),
    *choice("severity", "error", "warning"),
    required("line", sa.Integer()),
    required("col", sa.Integer()),
    required("message", Text),
    optional("hint", Text),
    optional("kind", Name),
    optional("name", Name),
    required("revision", Rev),
    sa.Index("ix_diagnostic_tenant_id_kind_name", "tenant_id", "kind", "name"),
)

change = sa.Table(
    "change",
    metadata,
    key("tenant_id", Id),
    key("seq", Count),
    required("kind", Name),
    required("name", Name),
    *choice("type", "added", "changed", "removed", "status"),
    *choice("ready", "True", "False", "Unknown", nullable=True),
    optional("reason", Name),
    optional("digest", Digest),
    optional("revision", Rev),
    required("at", Time),
)

event = sa.Table(
    "event",
    metadata,
    key("id", Id),
    required("tenant_id", Id),
    required("kind", Name),
    required("name", Name),
    *choice("type", "Normal", "Warning"),
    required("reason", Name),
    required("message", Text),
    required("message_hash", Digest),
    required("hour", Count),  # hours since the epoch
    optional("revision", Rev),
    optional("path", Text),
    optional("line", sa.Integer()),
    required("count", sa.Integer(), default=1),
    required("first_at", Time),
    required("last_at", Time),
    # A repetition within the hour counts up instead of filling the table.
    sa.UniqueConstraint("tenant_id", "kind", "name", "reason", "message_hash", "hour", name="uq_event_repetition"),
    sa.Index("ix_event_tenant_id_kind_name_id", "tenant_id", "kind", "name", "id"),
    sa.Index("ix_event_tenant_id_id", "tenant_id", "id"),
)

command = sa.Table(
    "command",
    metadata,
    key("id", Id),
    optional("tenant_id", Id),
    *choice("type", "reconcile", "rollback", "release", "suspend", "resume", "approve-prune", "accept"),
    required("args", Doc),
    *choice("state", "pending", "running", "done", "failed", default="pending"),
    required("actor", Text),
    optional("result", Doc),
    optional("error", Text),
    required("created_at", Time),
    optional("started_at", Time),
    optional("done_at", Time),
    sa.Index("ix_command_state_id", "state", "id"),
)

plan = sa.Table(
    "plan",
    metadata,
    key("id", Id),
    required("tenant_id", Id),
    optional("base_seq", Count),
    optional("head", Rev),
    optional("digest", Digest),
    optional("request", Blob),  # files of a working copy: zstd of JSON {path: text}; NULL: the revision in `head`
    optional("summary", Doc),
    optional("changes", Blob),  # zstd of JSON
    optional("diagnostics", Blob),  # zstd of JSON
    optional("error", Text),
    *choice("state", "pending", "open", "failed", "applied", "stale", default="pending"),
    required("requested_by", Text),
    required("created_at", Time),
    optional("expires_at", Time),
    sa.Index("ix_plan_tenant_id_id", "tenant_id", "id"),
)
