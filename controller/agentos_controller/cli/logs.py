"""`agentos logs`: what a run did, event by event."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from agentos_controller.cli import options, output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client, tenant_path
from agentos_controller.cli.output import Format


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(verb.name, help=verb.summary, rich_help_panel=verb.group, epilog="Example: agentos logs -f 0198c…")
    def logs(
        run: Annotated[str, typer.Argument(help="Id of the run, with or without `run/`.")],
        follow_: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        identifier = run.removeprefix("run/")
        with Client(server) as client:
            if follow_:
                for line in follow(client, tenant, identifier, format_):
                    typer.echo(line)
                return
            for event in client.pages(tenant_path(tenant, "runs", identifier, "events")):
                typer.echo(line_of(event, format_))


def follow(client: Client, tenant: str, run: str, format_: Format = Format.table) -> Iterator[str]:
    """Lines of a run as they happen, until it ends or waits."""
    path = tenant_path(tenant, "runs", run)
    for identifier, _, data in client.events(f"{path}/events", after=0):
        event = json.loads(data)
        if isinstance(event, dict) and "type" in event:
            yield line_of(event, format_)
            if event["type"] in ("run.waiting", "run.paused") and _rests(client, path, identifier):
                return


def _rests(client: Client, path: str, after: str) -> bool:
    """Whether the run still waits: what is read here may be long past."""
    resting = client.get(path)["state"] in ("waiting", "paused")
    return resting and not client.get(f"{path}/events", after=after, limit=1)["items"]


def line_of(event: Mapping[str, Any], format_: Format) -> str:
    """One event on one line."""
    if format_ is Format.json:
        return json.dumps(event, ensure_ascii=False)
    clock = (event.get("at") or "")[11:23]
    data = event.get("data")
    detail = "" if data in (None, {}) else json.dumps(data, ensure_ascii=False)
    if format_ is not Format.wide and len(detail) > 160:
        detail = detail[:159] + "…"
    return output.paint(f"{clock} ", dim=True) + f"{event['type']:<16} {event.get('step') or '':<24} {detail}".rstrip()
