"""`agentos rollback`: serve an earlier generation at once, and hold it."""

from __future__ import annotations

from typing import Annotated

import typer

from agentos_controller.cli import commands, options, output, pausing
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client, tenant_path


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary,
        rich_help_panel=verb.group,
        epilog="Example: agentos rollback 7 --reason 'worse answers' --for 2h. Undo with: agentos release",
    )
    def rollback(
        generation: Annotated[int, typer.Argument(help="The generation to serve again; see `agentos history`.", min=1)],
        reason: Annotated[str, typer.Option(help="Why; shown to everybody who asks.")] = "",
        for_: pausing.For = None,
        until: pausing.Until = None,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
    ) -> None:
        with Client(server) as client:
            body = {"generation": generation, "reason": reason, **pausing.term(for_, until)}
            done = commands.follow(client, client.post(tenant_path(tenant, "rollback"), body))
        result = done.get("result") or {}
        typer.echo(f"tenant/{tenant} serves generation {generation} again, as generation {result.get('generation')}")
        ends = pausing.ends(for_, until) or " until `agentos release`"
        output.note(f"New commits are looked at but not applied{ends}.")
