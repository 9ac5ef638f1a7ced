"""`agentos keys`: API keys."""

from __future__ import annotations

from typing import Annotated

import typer

from agentos_controller.cli import options, output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client
from agentos_controller.cli.output import Column, Format

NAME = Column("ID", lambda row: row["id"])
COLUMNS = (
    NAME,
    Column("NAME", lambda row: row.get("name")),
    Column("PREFIX", lambda row: row["prefix"]),
    Column("TENANT", lambda row: row.get("tenant") or "(all)"),
    Column("PERMISSIONS", lambda row: ",".join(row["permissions"])),
    Column("ROLES", lambda row: ",".join(row.get("roles") or [])),
    Column("EXPIRES", lambda row: row.get("expiresAt")),
    Column("LAST USED", lambda row: output.age(row.get("lastUsedAt"))),
    Column("REVOKED", lambda row: bool(row.get("revokedAt"))),
)


def register(app: typer.Typer, verb: Verb) -> None:
    keys = typer.Typer(help=verb.summary, no_args_is_help=True)
    app.add_typer(keys, name=verb.name, rich_help_panel=verb.group)

    @keys.command("create", help="Create a key; it is printed once and never again.")
    def create(
        name: Annotated[str, typer.Argument(help="What it is for.")],
        permission: Annotated[
            list[str] | None, typer.Option("--permission", "-p", help="read, run, operate or admin; may be repeated.")
        ] = None,
        role: Annotated[
            list[str] | None, typer.Option("--role", help="A named role, as approvals ask for; may be repeated.")
        ] = None,
        tenant: Annotated[
            str | None, typer.Option("--tenant", "-t", help="Only this tenant; all when left out.")
        ] = None,
        expires: Annotated[str | None, typer.Option(help="How long it lives, for example 30d.")] = None,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        body = {
            "name": name,
            "permissions": permission or ["read"],
            "roles": role or [],
            "tenant": tenant,
            "expiresIn": expires,
        }
        with Client(server) as client:
            made = client.post("/v1/keys", body)
        if format_ in (Format.json, Format.yaml):
            output.document(made, format_)
        else:
            typer.echo(made["key"])
            output.note("Keep it now: only its hash is stored.")

    @keys.command("list", help="List keys, never their text.")
    def list_(server: options.Server = None, format_: options.Output = Format.table) -> None:
        with Client(server) as client:
            output.show(client.pages("/v1/keys"), COLUMNS, format_, NAME)

    @keys.command("revoke", help="Revoke a key at once.")
    def revoke(key: Annotated[str, typer.Argument(help="Id of the key.")], server: options.Server = None) -> None:
        with Client(server) as client:
            client.send("DELETE", f"/v1/keys/{key}")
        typer.echo(f"key/{key} revoked")
