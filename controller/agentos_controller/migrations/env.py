"""Alembic's entry: run on the connection, and inside the transaction, that `database.migrate` hands over."""

from __future__ import annotations

from alembic import context

from agentos_controller import migrations, tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    version_table=migrations.VERSION_TABLE,
)
context.run_migrations()
