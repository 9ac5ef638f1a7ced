"""Every table of ours, as SQLAlchemy Core: `tables.run`, `tables.resource` … and the `metadata` that holds them.

They are created and changed by migrations only. DBOS's tables and the savers' share the database and are never
touched from here. The shape and the constraints that carry correctness are explained in `docs/architecture.md`.
"""

from __future__ import annotations

from agentos_controller.tables.columns import dump, load, metadata
from agentos_controller.tables.reconcile import (
    artifact,
    change,
    command,
    dependency,
    diagnostic,
    event,
    generation,
    generation_item,
    parsed_blob,
    plan,
    resource,
    resource_label,
    tree_entry,
)
from agentos_controller.tables.runs import (
    FINAL,
    LIVE,
    approval,
    fire,
    run,
    run_event,
    run_key,
    run_step,
    schedule_state,
    thread,
)
from agentos_controller.tables.tenancy import api_key, idempotency, setting, source, tenant
from agentos_controller.tables.trust import audit, audit_head, secret, secret_binding

__all__ = [
    "FINAL",
    "LIVE",
    "api_key",
    "approval",
    "artifact",
    "audit",
    "audit_head",
    "change",
    "command",
    "dependency",
    "diagnostic",
    "dump",
    "event",
    "fire",
    "generation",
    "generation_item",
    "idempotency",
    "load",
    "metadata",
    "parsed_blob",
    "plan",
    "resource",
    "resource_label",
    "run",
    "run_event",
    "run_key",
    "run_step",
    "schedule_state",
    "secret",
    "secret_binding",
    "setting",
    "source",
    "tenant",
    "thread",
    "tree_entry",
]
