"""`agentos schema`: the JSON Schemas of the manifests, for editors and other validators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentos_controller.cli import output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.failures import Failure
from agentos_controller.cli.output import Format


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary,
        rich_help_panel=verb.group,
        epilog="Examples: agentos schema workflow; agentos schema --write .agentos/schema",
    )
    def schema(
        kind: Annotated[str, typer.Argument(help="A kind, or `manifest` for any of them.")] = "manifest",
        write: Annotated[Path | None, typer.Option(help="Write all of them into this folder instead.")] = None,
    ) -> None:
        from agentos_engine import kind as kinds
        from agentos_engine import schemas

        if write is not None:
            for path in schemas.write(write):
                output.note(f"wrote {path}")
            return
        if kind.lower() == "manifest":
            output.document(schemas.any_schema(), Format.json)
            return
        found = {name.lower(): name for name in kinds.kinds()}
        if kind.lower() not in found:
            raise Failure(f"there is no kind {kind!r}", f"Kinds: manifest, {', '.join(found)}")
        output.document(schemas.schema_for(found[kind.lower()]), Format.json)
