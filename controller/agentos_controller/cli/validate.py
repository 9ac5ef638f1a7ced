"""`agentos validate`: everything wrong with the manifests of a working copy, without a server."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agentos_controller.cli import output, tree
from agentos_controller.cli.app import Verb
from agentos_controller.cli.output import Format


class ReportFormat(StrEnum):
    """Values of `-o`."""

    text = "text"
    json = "json"
    yaml = "yaml"


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary + " Exits 1 when anything is wrong.",
        rich_help_panel=verb.group,
        epilog="Examples: agentos validate; agentos validate path/to/repository -o json",
    )
    def validate(
        path: Annotated[Path, typer.Argument(help="The repository, or the folder of a source.")] = Path("."),
        platform: Annotated[
            bool, typer.Option("--platform/--tenant-source", help="Whether Tenant and Role may stand here.")
        ] = True,
        strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
        format_: Annotated[ReportFormat, typer.Option("--output", "-o", help="How to print.")] = ReportFormat.text,
    ) -> None:
        from agentos_engine import model
        from agentos_engine import validate as validating

        root = tree.root_of(path)
        plain, other = tree.files(root)
        with tree.workers(len(plain)) as (run, pieces):
            report = validating.validate(
                plain, tree.Reader(root), run=run, pieces=pieces, platform=platform, forbidden=other
            )
        found: tuple[model.Diagnostic, ...] = report.diagnostics
        if format_ is ReportFormat.text:
            _print(found)
            errors = sum(one.is_error for one in found)
            warnings = len(found) - errors
            output.note(
                f"{report.manifests} manifests in {report.files} files: "
                + (f"{errors} errors, {warnings} warnings" if found else "all valid")
            )
        else:
            body = {"diagnostics": [one.as_json() for one in found]}
            output.document(body, Format.json if format_ is ReportFormat.json else Format.yaml)
        if not report.ok or (strict and found):
            raise typer.Exit(1)


def _print(found: Iterable[object]) -> None:
    from agentos_engine.model import Diagnostic

    colour = sys.stdout.isatty()
    for one in found:
        assert isinstance(one, Diagnostic)
        word = output.paint(one.severity, fg="red" if one.is_error else "yellow", bold=True) if colour else one.severity
        typer.echo(f"{one.path}:{one.line}:{one.column}: {word} {one.code}: {one.message}")
        if one.hint:
            typer.echo(f"    {one.hint}")
