"""`agentos run`: start an agent or a workflow."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from agentos_controller.cli import completing, logs, options, output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client, read_text, tenant_path
from agentos_controller.cli.failures import Failure
from agentos_controller.cli.get import kind_and_names
from agentos_controller.cli.output import Format

WORKING = ("pending", "running", "cancelling")


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary + " Prints the output as JSON; exits 1 when the run fails.",
        rich_help_panel=verb.group,
        epilog="Example: agentos run workflow/support-triage message='My invoice is wrong'",
    )
    def run(
        target: Annotated[
            str,
            typer.Argument(metavar="KIND/NAME", help="agent/… or workflow/…", autocompletion=completing.runnable),
        ],
        arguments: Annotated[
            list[str] | None,
            typer.Argument(metavar="[KEY=VALUE]...", help="Input, field by field; `key:=JSON` for other than text."),
        ] = None,
        input_: Annotated[
            str | None, typer.Option("--input", "-i", help="The whole input: JSON, `@file`, or `-` for standard input.")
        ] = None,
        thread: Annotated[str | None, typer.Option(help="Continue this thread.")] = None,
        wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it ends or needs a person.")] = True,
        follow: Annotated[bool, typer.Option("--follow", "-f", help="Show its steps on standard error.")] = False,
        timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 300.0,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        kind, names = kind_and_names(target, []) if "/" in target else (None, [])
        if kind is None or len(names) != 1:
            raise Failure(f"{target!r} is no target", "Write it as agent/NAME or workflow/NAME.")
        body = {"kind": kind, "name": names[0], "input": _input(input_, arguments or []), "thread": thread}
        with Client(server) as client:
            path = tenant_path(tenant, "runs")
            first = 0 if follow or not wait else min(timeout, 30)
            started = client.send("POST", path, json=body, params={"wait": first} if first else None)
            if follow:
                for line in logs.follow(client, tenant, started["id"]):
                    output.note(line)
                started = client.get(f"{path}/{started['id']}")
            deadline = time.monotonic() + timeout - first
            while wait and started["state"] in WORKING and time.monotonic() < deadline:
                time.sleep(0.25)
                started = client.get(f"{path}/{started['id']}")
        _print(started, format_, wait)


def _print(run: dict[str, Any], format_: Format, waited: bool) -> None:
    if format_ is Format.name:
        typer.echo(f"run/{run['id']}")
    elif format_ in (Format.json, Format.yaml):
        output.document(run, format_)
    elif run["state"] == "succeeded":
        output.note(f"run/{run['id']} {run['state']} ({run.get('outcome')}), generation {run['generation']}")
        output.document(run["output"], Format.json)
    elif run["state"] == "waiting":
        output.note(f"run/{run['id']} waits for a person")
        output.note("See `agentos approve`, which lists what is asked, and decide.")
        typer.echo(f"run/{run['id']}")
    elif run["state"] in WORKING:
        if waited:
            output.note(f"run/{run['id']} is still {run['state']}; follow it with `agentos logs -f {run['id']}`")
        typer.echo(f"run/{run['id']}")
    if run["state"] in ("failed", "dead", "cancelled", "rejected"):
        error = run.get("error") or {}
        step = f" at step {error['step']}" if error.get("step") else ""
        raise Failure(
            f"run/{run['id']} {run['state']}{step}: {error.get('class', '')} {error.get('message', '')}".rstrip(),
            f"See `agentos logs {run['id']}`.",
        )


def _input(whole: str | None, fields: list[str]) -> Any:
    if whole is not None:
        if fields:
            raise Failure("give the input either whole or field by field")
        source = read_text(whole.lstrip("@")) if whole.startswith("@") or whole == "-" else whole
        return _json(source, "--input")
    value: dict[str, Any] = {}
    for field in fields:
        key, equals, text = field.partition("=")
        if not equals or not key.rstrip(":"):
            raise Failure(f"{field!r} is not key=value", "Use key=text, or key:=JSON.")
        value[key.removesuffix(":")] = _json(text, key) if key.endswith(":") else text
    return value


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise Failure(f"{where} is not JSON: {error}") from None
