"""`agentos secret`: secrets of a tenant. Their values go in and never come out."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from agentos_controller.cli import options, output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client, tenant_path
from agentos_controller.cli.failures import Failure
from agentos_controller.cli.output import Column, Format

NAME = Column("NAME", lambda row: row["name"])
COLUMNS = (
    NAME,
    Column("VERSION", lambda row: row.get("version")),
    Column("PROVIDER", lambda row: row.get("provider")),
    Column("HOSTS", lambda row: ", ".join(row.get("hosts", ()))),
    Column("SET", lambda row: output.age(row.get("createdAt"))),
)


def register(app: typer.Typer, verb: Verb) -> None:
    secret = typer.Typer(help=verb.summary, no_args_is_help=True)
    app.add_typer(secret, name=verb.name, rich_help_panel=verb.group)

    @secret.command(
        "set", help="Set a secret, or the hosts it may go to; its value is asked for, or read from standard input."
    )
    def set_(
        name: Annotated[str, typer.Argument(help="Name that manifests refer to.")],
        host: Annotated[
            list[str] | None,
            typer.Option(help="A host it may go to, repeatable; without a value, only the hosts change."),
        ] = None,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
    ) -> None:
        if sys.stdin.isatty():
            asked = f"Value of {name}" + (" (empty: as it is)" if host else "")
            value = typer.prompt(asked, default="" if host else None, show_default=False, hide_input=True)
        else:
            value = sys.stdin.read().removesuffix("\n")
        if not value and not host:
            raise Failure("the value is empty", "Pipe it in, or type it when asked.")
        body = ({"value": value} if value else {}) | ({"hosts": host} if host else {})
        with Client(server) as client:
            client.send("PUT", tenant_path(tenant, "secrets", name), json=body)
        typer.echo(f"secret/{name} set")

    @secret.command("list", help="List the names of secrets, and the hosts they are bound to.")
    def list_(
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        with Client(server) as client:
            output.show(client.pages(tenant_path(tenant, "secrets")), COLUMNS, format_, NAME)

    @secret.command("rotate", help="Encrypt the keys of all secrets, of every tenant, under a new key in the key file.")
    def rotate(server: options.Server = None) -> None:
        with Client(server) as client:
            done = client.post("/v1/secrets/rotate", None)
        typer.echo(f"new key {done['key']}; secrets wrapped with it: {done['rewrapped']}")

    @secret.command("rm", help="Remove a secret.")
    def rm(
        name: Annotated[str, typer.Argument(help="Name of the secret.")],
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
    ) -> None:
        with Client(server) as client:
            client.send("DELETE", tenant_path(tenant, "secrets", name))
        typer.echo(f"secret/{name} removed")
