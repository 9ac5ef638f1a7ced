"""`agentos plan`: what a working copy or a commit would change, before anybody merges it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from agentos_controller.cli import options, output, tree
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client
from agentos_controller.cli.failures import Failure
from agentos_controller.cli.output import Format

SIGNS = {"created": ("+", "green"), "changed": ("~", "yellow"), "deleted": ("-", "red")}


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary + " Without --live or --revision it compares with a commit and needs no server.",
        rich_help_panel=verb.group,
        epilog="Examples: agentos plan; agentos plan --base main; agentos plan --live -t default --detailed-exitcode",
    )
    def plan(
        path: Annotated[Path, typer.Argument(help="The repository.")] = Path("."),
        base: Annotated[str, typer.Option(help="The commit to compare the working copy with.")] = "HEAD",
        live: Annotated[bool, typer.Option("--live", help="Compare with what serves, asking the server.")] = False,
        revision: Annotated[
            str | None, typer.Option(help="Plan this commit instead of the working copy, asking the server.")
        ] = None,
        detailed: Annotated[
            bool, typer.Option("--detailed-exitcode", help="Exit 0 without changes, 1 on errors, 2 with changes.")
        ] = False,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        root = tree.root_of(path)
        made = _asked(root, tenant, server, revision) if live or revision is not None else _compared(root, base)
        if format_ in (Format.json, Format.yaml):
            output.document(made, format_)
        elif format_ is Format.name:
            for change in made["changes"]:
                typer.echo(f"{change['kind'].lower()}/{change['name']}")
        else:
            _print(made)
        if made["summary"]["errors"]:
            raise typer.Exit(1)
        if detailed and made["changes"]:
            raise typer.Exit(2)


def _compared(root: Path, base: str) -> dict[str, Any]:
    """The plan of the working copy against a commit of its own repository."""
    from agentos_engine import preview, validate

    old_files, old_read = tree.committed(root, base)
    plain, other = tree.files(root)
    read = tree.Reader(root)
    report = validate.validate(plain, read, forbidden=other)
    changes = preview.changes(preview.build(old_files, old_read), preview.build(plain, read))
    shown = [change.as_json() for change in changes]
    errors = sum(one.is_error for one in report.diagnostics)
    actions = [change["action"] for change in shown]
    summary: dict[str, Any] = {action: actions.count(action) for action in SIGNS}
    summary |= {"errors": errors, "warnings": len(report.diagnostics) - errors, "stalled": []}
    return {"summary": summary, "changes": shown, "diagnostics": [one.as_json() for one in report.diagnostics]}


def _asked(root: Path, tenant: str, server: str | None, revision: str | None) -> dict[str, Any]:
    """The plan the controller makes, against what it serves."""
    body: dict[str, Any] = {"tenant": tenant}
    if revision is not None:
        body["revision"] = tree.commit_of(root, revision)
    else:
        body["files"] = tree.texts(root)
    with Client(server) as client:
        made: dict[str, Any] = client.post("/v1/plans", body, wait=60)
    if made["state"] == "failed":
        raise Failure(made.get("error") or "the plan failed")
    if made["state"] == "pending":
        raise Failure("the controller did not get to the plan within 60 s", "See `agentos get tenants`.")
    return made


def _print(made: Mapping[str, Any]) -> None:
    for one in made["diagnostics"]:
        typer.echo(f"{one['path']}:{one['line']}:{one['column']}: {one['severity']} {one['code']}: {one['message']}")
        if one.get("hint"):
            typer.echo(f"    {one['hint']}")
    for change in made["changes"]:
        sign, colour = SIGNS[change["action"]]
        owner = f" ({change['tenant']})" if change.get("tenant") else ""
        title = f"{sign} {change['kind'].lower()}/{change['name']}{owner}"
        typer.echo(f"{output.paint(title, fg=colour, bold=True)}   {change['path']}:{change['line']}")
        for field in change["fields"]:
            _field(field)
    summary = made["summary"]
    counts = ", ".join(f"{summary[action]} {action}" for action in SIGNS)
    typer.echo(f"Plan: {counts}." if made["changes"] else "No changes.")
    stalled: Sequence[Mapping[str, Any]] = summary.get("stalled") or ()
    for one in stalled:
        typer.echo(f"Stalled: {one['kind'].lower()}/{one['name']}: {one['message']}")


def _field(field: Mapping[str, Any]) -> None:
    from agentos_engine import diff

    if field["path"].startswith("uses."):
        kind, _, name = field["path"].removeprefix("uses.").partition("/")
        typer.echo(f"    {'~' if field['kind'] == 'changed' else '±'} through {kind.lower()}/{name}")
        return
    segments = tuple((op, text) for op, text in field.get("segments", ()))
    line = str(diff.FieldChange(field["path"], field["before"], field["after"], field["kind"], segments))
    for number, part in enumerate(line.splitlines()):
        typer.echo(f"    {part}" if number == 0 else f"      {part}")
