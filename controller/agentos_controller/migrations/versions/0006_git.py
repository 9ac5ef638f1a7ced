"""Holding still, guarded deletion, quarantine, and how far a source was seen beyond what serves."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from agentos_controller.tables.columns import NAMING, Doc, Id, Rev, Text, Time, choice, key, optional, required

revision = "0006"
down_revision = "0005"

COLUMNS: dict[str, dict[str, Any]] = {
    "tenant": {
        "suspended_by": Text,
        "suspended_reason": Text,
        "suspended_until": Time,
        "prune": Doc,
        "prune_approved": Doc,
    },
    "source": {"suspended_until": Time, "observed": Rev, "accepted": Rev, "accepted_by": Text},
    "resource": {"suspended_until": Time, "quarantine_blob": Rev, "drain_until": Time},
}
ENDING = ("suspended_until", "drain_until")
"""Columns of a resource by which is looked for what ends by itself."""

BEFORE = ("reconcile", "rollback", "release")
COMMANDS = (*BEFORE, "suspend", "resume", "approve-prune", "accept")


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for name, type_ in columns.items():
            op.add_column(table, sa.Column(name, type_, nullable=True))
    for name in ENDING:
        found = sa.text(f"{name} IS NOT NULL")
        op.create_index(f"ix_resource_{name}", "resource", [name], sqlite_where=found, postgresql_where=found)
    _commands(COMMANDS)


def downgrade() -> None:
    op.execute(sa.text("DELETE FROM command WHERE type NOT IN ('reconcile', 'rollback', 'release')"))
    _commands(BEFORE)
    for name in ENDING:
        op.drop_index(f"ix_resource_{name}", "resource")
    for table, columns in COLUMNS.items():
        for name in columns:
            op.drop_column(table, name)


def _commands(types: tuple[str, ...]) -> None:
    """Let a command be one of `types`. SQLite cannot change a CHECK: there the table is made anew."""
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint(op.f("ck_command_type"), "command", type_="check")
        listed = ", ".join(f"'{type_}'" for type_ in types)
        op.create_check_constraint(op.f("ck_command_type"), "command", f"type IN ({listed})")
        return
    op.drop_index("ix_command_state_id", "command")
    op.rename_table("command", "command_before")
    table = sa.Table(
        "command",
        sa.MetaData(naming_convention=NAMING),
        key("id", Id),
        optional("tenant_id", Id),
        *choice("type", *types),
        required("args", Doc),
        *choice("state", "pending", "running", "done", "failed"),
        required("actor", Text),
        optional("result", Doc),
        optional("error", Text),
        required("created_at", Time),
        optional("started_at", Time),
        optional("done_at", Time),
        sa.Index("ix_command_state_id", "state", "id"),
    )
    table.create(op.get_bind())
    names = ", ".join(column.name for column in table.columns)
    op.execute(sa.text(f"INSERT INTO command ({names}) SELECT {names} FROM command_before"))  # noqa: S608
    op.drop_table("command_before")
