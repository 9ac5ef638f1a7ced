"""`agentos accept`: let a revision in that its source refuses."""

from __future__ import annotations

from typing import Annotated

import typer

from agentos_controller.cli import commands, completing, options, pausing
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary,
        rich_help_panel=verb.group,
        epilog="Example: agentos accept main -t acme --reason 'history cleaned up, see the change request'",
    )
    def accept(
        source: Annotated[
            str,
            typer.Argument(
                help="Name of the source, as `agentos get sources` has it.", autocompletion=completing.sources
            ),
        ],
        revision: Annotated[
            str | None, typer.Argument(help="The commit, in full; left out: what its ref named at the last look.")
        ] = None,
        *,
        reason: Annotated[str, typer.Option(help="Why; kept in the audit trail.")],
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
    ) -> None:
        with Client(server) as client:
            path = pausing.source_path(client, source.removeprefix("source/"), tenant)
            body = {"revision": revision, "reason": reason}
            done = commands.follow(client, client.post(f"{path}/accept", body))
        typer.echo(
            f"source/{source.removeprefix('source/')} of tenant/{tenant} takes {done['result']['accepted'][:12]}"
        )
