"""`agentos approve`: list what waits for a person, and decide it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from agentos_controller.cli import options, output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client, tenant_path
from agentos_controller.cli.failures import Failure
from agentos_controller.cli.output import Column, Format

NAME = Column("ID", lambda row: row["id"])
COLUMNS = (
    NAME,
    Column("RUN", lambda row: row["run"]),
    Column("STEP", lambda row: row["step"]),
    Column("ASKED OF", lambda row: ", ".join(row.get("requestedOf") or [])),
    Column("EXPIRES", lambda row: row.get("expiresAt")),
    Column("AGE", lambda row: output.age(row.get("createdAt"))),
    Column("SHOWS", lambda row: row.get("show")),
)


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary + " Without an id it lists the open ones.",
        rich_help_panel=verb.group,
        epilog="Examples: agentos approve; agentos approve ID; agentos approve ID --reject --comment 'too much'",
    )
    def approve(
        approval: Annotated[
            str | None, typer.Argument(help="Id of the approval, or of the run that has one open.")
        ] = None,
        reject: Annotated[bool, typer.Option("--reject", help="Reject instead.")] = False,
        comment: Annotated[str | None, typer.Option(help="Why; kept in the audit trail.")] = None,
        value: Annotated[str | None, typer.Option(help="An edited value as JSON, where the step allows it.")] = None,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        path = tenant_path(tenant, "approvals")
        with Client(server) as client:
            if approval is None:
                output.show(client.pages(path, state="open"), COLUMNS, format_, NAME)
                return
            body: dict[str, object] = {"decision": "rejected" if reject else "approved", "comment": comment}
            if value is not None:
                try:
                    body["value"] = json.loads(value)
                except json.JSONDecodeError as error:
                    raise Failure(f"--value is not JSON: {error}") from None
            identifier = _find(client, path, approval)
            client.post(f"{path}/{identifier}/decision", body)
        typer.echo(f"approval/{identifier} {body['decision']}")


def _find(client: Client, path: str, given: str) -> str:
    """The id of the approval itself, or of the only open one of the run given."""
    wanted = given.removeprefix("run/").removeprefix("approval/")
    of_run = [row["id"] for row in client.pages(path, state="open") if row["run"] == wanted]
    if len(of_run) > 1:
        raise Failure(f"run {wanted} waits for {len(of_run)} decisions", "Give one of: " + ", ".join(of_run))
    return of_run[0] if of_run else wanted
