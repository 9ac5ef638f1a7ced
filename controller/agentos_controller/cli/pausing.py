"""What `suspend`, `resume` and `accept` share: which thing is meant, and how an end is written."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import typer

from agentos_controller.cli import completing
from agentos_controller.cli.client import Client, tenant_path
from agentos_controller.cli.failures import Failure
from agentos_controller.cli.get import kind_and_names

What = Annotated[
    str,
    typer.Argument(
        metavar="WHAT",
        help="`tenant`, `source/NAME`, or a resource as `KIND/NAME`.",
        show_default=False,
        autocompletion=completing.things,
    ),
]
Name = Annotated[str | None, typer.Argument(help="Its name, if not given with WHAT.", show_default=False)]
For = Annotated[str | None, typer.Option("--for", help="How long, for example 2h; then it ends by itself.")]
Until = Annotated[str | None, typer.Option("--until", help="Or until when, as 2026-11-30T08:00:00Z.")]


class Meant(NamedTuple):
    """A thing that can be suspended: its path in the API, and how to call it."""

    path: str
    called: str


def meant(client: Client, what: str, name: str | None, tenant: str) -> Meant:
    """What the arguments name."""
    word, slash, rest = what.partition("/")
    name = rest if slash else name
    if word in ("tenant", "tenants"):
        of = name or tenant
        return Meant(tenant_path(of), f"tenant/{of}")
    if word in ("source", "sources"):
        if not name:
            raise Failure("which source?", "For example: source/main; `agentos get sources` lists them.")
        return Meant(source_path(client, name, tenant), f"source/{name} of tenant/{tenant}")
    kind, names = kind_and_names(what, [name] if name and not slash else [])
    if kind is None or len(names) != 1:
        raise Failure("name one thing", "For example: tenant, source/main, agent/triage.")
    return Meant(tenant_path(tenant, "resources", kind, names[0]), f"{kind.lower()}/{names[0]}")


def source_path(client: Client, name: str, tenant: str) -> str:
    """The path of the source that is called `name`, or has it as its id."""
    for row in client.pages("/v1/sources"):
        if row["id"] == name or (row["name"], row["tenant"]) == (name, tenant):
            return f"/v1/sources/{row['id']}"
    raise Failure(f"tenant/{tenant} has no source {name}", "`agentos get sources` lists them.")


def term(for_: str | None, until: str | None) -> dict[str, Any]:
    """The members of a request that say how long."""
    return {key: value for key, value in (("for", for_), ("until", until)) if value is not None}


def ends(for_: str | None, until: str | None) -> str:
    """The same in words."""
    return f" for {for_}" if for_ else f" until {until}" if until else ""
