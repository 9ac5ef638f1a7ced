"""`agentos runs`: list runs, show one, cancel it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from agentos_controller.cli import options, output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client, tenant_path
from agentos_controller.cli.get import kind_and_names
from agentos_controller.cli.output import Column, Format

NAME = Column("ID", lambda row: row["id"])
COLUMNS = (
    NAME,
    Column("TARGET", lambda row: f"{row['kind'].lower()}/{row['name']}"),
    Column("STATE", lambda row: row["state"]),
    Column("OUTCOME", lambda row: row.get("outcome")),
    Column("GENERATION", lambda row: row.get("generation"), wide=True),
    Column("STEPS", lambda row: row.get("steps")),
    Column("TOKENS", lambda row: (row.get("tokensIn") or 0) + (row.get("tokensOut") or 0)),
    Column("COST", lambda row: f"${row.get('costUsd') or 0:.4f}"),
    Column("AGE", lambda row: output.age(row.get("createdAt"))),
    Column("CAUSE", lambda row: (row.get("cause") or {}).get("type"), wide=True),
)


def register(app: typer.Typer, verb: Verb) -> None:
    runs = typer.Typer(help=verb.summary, invoke_without_command=True)
    app.add_typer(runs, name=verb.name, rich_help_panel=verb.group)

    @runs.callback(epilog="Examples: agentos runs --state waiting; agentos runs show ID; agentos runs cancel ID")
    def listing(
        context: typer.Context,
        target: Annotated[str | None, typer.Option("--of", help="Only runs of this target, `workflow/name`.")] = None,
        state: Annotated[str | None, typer.Option(help="Only runs in this state.")] = None,
        limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1)] = 20,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        if context.invoked_subcommand:
            return
        kind, names = kind_and_names(target, []) if target else (None, [])
        with Client(server) as client:
            rows = client.pages(
                tenant_path(tenant, "runs"), limit, kind=kind, name=names[0] if names else None, state=state
            )
            output.show(rows, COLUMNS, format_, NAME)

    @runs.command("show", help="Show one run with its steps.")
    def show(
        run: Annotated[str, typer.Argument(help="Id of the run, with or without `run/`.")],
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        path = tenant_path(tenant, "runs", run.removeprefix("run/"))
        with Client(server) as client:
            whole = client.get(path)
            whole["stepList"] = list(client.pages(f"{path}/steps"))
        if format_ in (Format.json, Format.yaml):
            output.document(whole, format_)
        else:
            _print(whole)

    @runs.command("cancel", help="Cancel a run; finished ones stay as they are.")
    def cancel(
        run: Annotated[str, typer.Argument(help="Id of the run, with or without `run/`.")],
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
    ) -> None:
        identifier = run.removeprefix("run/")
        with Client(server) as client:
            answer = client.post(tenant_path(tenant, "runs", identifier, "cancel"), {})
        typer.echo(f"run/{identifier} {answer['state']}")


def _print(whole: Mapping[str, Any]) -> None:
    for title, key in (
        ("Run", "id"),
        ("State", "state"),
        ("Outcome", "outcome"),
        ("Generation", "generation"),
        ("Digest", "digest"),
        ("Created", "createdAt"),
        ("Ended", "endedAt"),
        ("Input", "input"),
        ("Output", "output"),
        ("Error", "error"),
    ):
        if whole.get(key) is not None:
            typer.echo(f"{title + ':':<12} {output.text(whole[key])}")
    tokens = f"{whole.get('tokensIn') or 0} tokens in, {whole.get('tokensOut') or 0} out"
    typer.echo(f"{'Cost:':<12} ${whole.get('costUsd') or 0:.4f}, {tokens}")
    typer.echo("")
    output.table(
        ["STEP", "TYPE", "STATE", "TOKENS", "COST", "ERROR"],
        [
            [
                step["path"],
                step["type"],
                step["state"],
                str((step.get("tokensIn") or 0) + (step.get("tokensOut") or 0)),
                f"${step.get('costUsd') or 0:.4f}",
                output.text((step.get("error") or {}).get("message")),
            ]
            for step in whole["stepList"]
        ],
    )
