"""`agentos reconcile`: look at the sources now."""

from __future__ import annotations

from typing import Annotated

import typer

from agentos_controller.cli import commands, options
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(verb.name, help=verb.summary, rich_help_panel=verb.group, epilog="Example: agentos reconcile --wait")
    def reconcile(
        tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="Only this tenant's sources.")] = None,
        source: Annotated[str | None, typer.Option(help="Only the source of this name.")] = None,
        wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")] = True,
        timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 60.0,
        server: options.Server = None,
    ) -> None:
        with Client(server) as client:
            command = client.post("/v1/reconcile", {"tenant": tenant, "source": source})
            if wait:
                commands.follow(client, command, timeout)
        typer.echo("reconciled" if wait else f"command/{command['id']}")
