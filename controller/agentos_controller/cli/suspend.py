"""`agentos suspend`: let a tenant, a source or a resource stay as it is."""

from __future__ import annotations

from typing import Annotated

import typer

from agentos_controller.cli import commands, options, output, pausing
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary,
        rich_help_panel=verb.group,
        epilog="Examples: agentos suspend tenant -t acme --reason 'audit' --for 2h; "
        "agentos suspend source/main --reason 'freeze'; agentos suspend agent/triage --reason 'on trial'",
    )
    def suspend(
        what: pausing.What,
        name: pausing.Name = None,
        *,
        reason: Annotated[str, typer.Option(help="Why; shown to everybody who asks.")],
        for_: pausing.For = None,
        until: pausing.Until = None,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
    ) -> None:
        with Client(server) as client:
            found = pausing.meant(client, what, name, tenant)
            body = {"reason": reason, **pausing.term(for_, until)}
            commands.follow(client, client.post(f"{found.path}/suspend", body))
        typer.echo(f"{found.called} is suspended{pausing.ends(for_, until)}")
        output.note("What serves goes on. End it with `agentos resume`.")
