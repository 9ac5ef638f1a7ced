"""`agentos history`: the generations of a tenant."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from agentos_controller.cli import options, output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client, tenant_path
from agentos_controller.cli.output import Column, Format

COLUMNS = (
    Column("GENERATION", lambda row: row["generation"]),
    Column("STATE", lambda row: row["state"]),
    Column("REVISION", lambda row: (row.get("revision") or "")[:12]),
    Column("CHANGES", lambda row: row.get("changes")),
    Column("CAUSE", lambda row: _cause(row.get("cause") or {})),
    Column("APPLIED", lambda row: output.age(row.get("appliedAt"))),
    Column("ACTOR", lambda row: row.get("actor"), wide=True),
)


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary,
        rich_help_panel=verb.group,
        epilog="Then: agentos rollback GENERATION --reason '…'",
    )
    def history(
        limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1)] = 20,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        with Client(server) as client:
            rows = client.pages(tenant_path(tenant, "generations"), limit)
            output.show(rows, COLUMNS, format_, COLUMNS[0])


def _cause(cause: dict[str, Any]) -> str:
    reason = f": {cause['reason']}" if cause.get("reason") else ""
    return f"{cause.get('type', '')}{reason}"
