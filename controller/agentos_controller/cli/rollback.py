"""`agentos rollback`: serve an earlier generation at once, and hold it."""

from __future__ import annotations

from typing import Annotated

import typer

from agentos_controller.cli import commands, options, output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client, tenant_path


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(verb.name, help=verb.summary, rich_help_panel=verb.group, epilog="Undo with: agentos release")
    def rollback(
        generation: Annotated[int, typer.Argument(help="The generation to serve again; see `agentos history`.", min=1)],
        reason: Annotated[str, typer.Option(help="Why; shown to everybody who asks.")] = "",
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
    ) -> None:
        with Client(server) as client:
            body = {"generation": generation, "reason": reason}
            done = commands.follow(client, client.post(tenant_path(tenant, "rollback"), body))
        result = done.get("result") or {}
        typer.echo(f"tenant/{tenant} serves generation {generation} again, as generation {result.get('generation')}")
        output.note("New commits are looked at but not applied until `agentos release`.")
