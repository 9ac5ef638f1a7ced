"""Options that several verbs share, so that they read the same everywhere."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from agentos_controller.cli import completing
from agentos_controller.cli.output import Format

Server = Annotated[
    str | None, typer.Option("--server", envvar="AGENTOS_SERVER", help="Address of the API.", show_default=False)
]
Tenant = Annotated[
    str,
    typer.Option(
        "--tenant",
        "-t",
        envvar="AGENTOS_TENANT",
        help="The tenant to speak of.",
        autocompletion=completing.tenants,
    ),
]
Output = Annotated[Format, typer.Option("--output", "-o", help="How to print the answer.")]
DEFAULT_TENANT = os.environ.get("AGENTOS_TENANT", "default")
