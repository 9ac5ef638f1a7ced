"""`agentos graph`: a workflow or an agent as a drawing, from a working copy or from what serves."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from agentos_controller.cli import completing, options, output, tree
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client, tenant_path
from agentos_controller.cli.failures import Failure
from agentos_controller.cli.get import kind_and_names
from agentos_controller.cli.output import Format


class Drawing(StrEnum):
    """Values of `-o`."""

    mermaid = "mermaid"
    json = "json"
    yaml = "yaml"


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary + " Without --live it draws the working copy, and needs no server.",
        rich_help_panel=verb.group,
        epilog="Examples: agentos graph workflow/budget-review; agentos graph agent/triage -o json; "
        "agentos graph workflow/hello --live -t acme",
    )
    def graph(
        what: Annotated[
            str, typer.Argument(metavar="KIND/NAME", help="agent/… or workflow/…", autocompletion=completing.runnable)
        ],
        path: Annotated[Path, typer.Argument(help="The repository.")] = Path("."),
        live: Annotated[bool, typer.Option("--live", help="Draw what serves, asking the server.")] = False,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
        format_: Annotated[Drawing, typer.Option("--output", "-o", help="How to draw.")] = Drawing.mermaid,
    ) -> None:
        from agentos_engine import drawing

        kind, names = kind_and_names(what, [])
        if kind is None or kind.lower() not in completing.RUNNABLE or len(names) != 1:
            raise Failure("graph draws one agent or workflow", "For example: agentos graph workflow/budget-review")
        if live:
            with Client(server) as client:
                body = client.get(tenant_path(tenant, "resources", kind, names[0], "artifact"))["body"]
        else:
            body = _compiled(tree.root_of(path), kind, names[0], tenant)
        drawn = drawing.graph(body)
        if format_ is Drawing.mermaid:
            typer.echo(drawing.mermaid(drawn), nl=False)
        else:
            output.document(drawn, Format(format_.value))


def _compiled(root: Path, kind: str, name: str, tenant: str) -> Mapping[str, Any]:
    """What the working copy compiles to; of several tenants that have the name, the one asked for."""
    from agentos_engine import preview
    from agentos_engine.model import ResourceRef

    plain, _other = tree.files(root)
    built = preview.build(plain, tree.Reader(root))
    found = {owner: one for (owner, ref), one in built.items() if ref == ResourceRef(kind, name)}
    one = found.get(tenant) or (next(iter(found.values())) if len(found) == 1 else found.get(None))
    if one is not None:
        return one.body
    called = f"{kind.lower()}/{name}"
    if found:
        owners = ", ".join(str(owner) for owner in found)
        raise Failure(f"{called} is there in several tenants: {owners}", "Name one with --tenant.")
    raise Failure(
        f"{root} has no {called} that compiles", "`agentos validate` says what is wrong; `agentos get all` what serves."
    )
