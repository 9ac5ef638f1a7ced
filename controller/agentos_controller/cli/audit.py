"""`agentos audit`: the audit trail."""

from __future__ import annotations

from typing import Annotated

import typer

from agentos_controller.cli import options, output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client
from agentos_controller.cli.failures import Failure
from agentos_controller.cli.output import Column, Format

OBJECT = Column("OBJECT", lambda row: row["object"])
ENTRIES = (
    Column("AT", lambda row: row["at"]),
    Column("TENANT", lambda row: row.get("tenant") or "(platform)"),
    Column("ACTOR", lambda row: row["actor"]),
    Column("ACTION", lambda row: row["action"]),
    OBJECT,
    Column("OUTCOME", lambda row: row["outcome"]),
    Column("REVISION", lambda row: (row.get("revision") or "")[:12], wide=True),
)
TENANT = Column("TENANT", lambda row: row.get("tenant") or "(platform)")
CHAINS = (
    TENANT,
    Column("ENTRIES", lambda row: row["entries"]),
    Column("INTACT", lambda row: row["intact"]),
    Column("BROKEN AT", lambda row: row.get("brokenAt")),
    Column("REASON", lambda row: row.get("reason")),
)


def register(app: typer.Typer, verb: Verb) -> None:
    audit = typer.Typer(help=verb.summary, no_args_is_help=True)
    app.add_typer(audit, name=verb.name, rich_help_panel=verb.group)

    @audit.command("list", help="List who did what, newest first.")
    def list_(
        limit: Annotated[int, typer.Option(help="At most this many.", min=1)] = 100,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        with Client(server) as client:
            output.show(client.pages("/v1/audit", limit), ENTRIES, format_, OBJECT)

    @audit.command("verify", help="Walk every chain of the trail; fails if one does not hold.")
    def verify(
        tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="Only this tenant's.")] = None,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        with Client(server) as client:
            chains = list(client.pages("/v1/audit/verify", tenant=tenant))
        output.show(chains, CHAINS, format_, TENANT)
        if broken := [chain for chain in chains if not chain["intact"]]:
            named = ", ".join(chain.get("tenant") or "the platform" for chain in broken)
            raise Failure(f"the audit trail of {named} was altered", "Compare it with the copy you keep elsewhere.")
