"""`agentos release`: end the hold of a rollback."""

from __future__ import annotations

import typer

from agentos_controller.cli import commands, options
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client, tenant_path


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(verb.name, help=verb.summary, rich_help_panel=verb.group, epilog="Example: agentos release -t default")
    def release(tenant: options.Tenant = options.DEFAULT_TENANT, server: options.Server = None) -> None:
        with Client(server) as client:
            done = commands.follow(client, client.post(tenant_path(tenant, "release"), {}))
        generation = (done.get("result") or {}).get("generation")
        typer.echo(f"tenant/{tenant} follows its sources again" + (f"; generation {generation}" if generation else ""))
