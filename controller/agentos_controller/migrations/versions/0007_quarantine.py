"""Quarantine ends by itself: looked for by when, of resources and of files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentos_controller.tables.columns import Time

revision = "0007"
down_revision = "0006"

ENDING = (("resource", "quarantine_until"), ("parsed_blob", "until"))


def upgrade() -> None:
    op.add_column("parsed_blob", sa.Column("until", Time, nullable=True))
    for table, name in ENDING:
        found = sa.text(f"{name} IS NOT NULL")
        op.create_index(f"ix_{table}_{name}", table, [name], sqlite_where=found, postgresql_where=found)


def downgrade() -> None:
    for table, name in ENDING:
        op.drop_index(f"ix_{table}_{name}", table)
    op.drop_column("parsed_blob", "until")
