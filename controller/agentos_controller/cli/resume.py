"""`agentos resume`: end a suspension."""

from __future__ import annotations

import typer

from agentos_controller.cli import commands, options, pausing
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary,
        rich_help_panel=verb.group,
        epilog="Examples: agentos resume tenant -t acme; agentos resume source/main; agentos resume agent/triage",
    )
    def resume(
        what: pausing.What,
        name: pausing.Name = None,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
    ) -> None:
        with Client(server) as client:
            found = pausing.meant(client, what, name, tenant)
            done = commands.follow(client, client.post(f"{found.path}/resume", {}))
        generation = (done.get("result") or {}).get("generation")
        typer.echo(f"{found.called} goes on" + (f"; generation {generation}" if generation else ""))
