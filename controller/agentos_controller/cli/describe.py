"""`agentos describe`: everything known of one resource, in the order in which one asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from agentos_controller.cli import options, output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.approve_prune import in_flight
from agentos_controller.cli.client import Client, tenant_path
from agentos_controller.cli.failures import Failure
from agentos_controller.cli.get import kind_and_names, suspension
from agentos_controller.cli.output import Format


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary,
        rich_help_panel=verb.group,
        epilog="Example: agentos describe workflow/budget-review",
    )
    def describe(
        what: Annotated[str, typer.Argument(metavar="KIND/NAME", help="The resource.")],
        name: Annotated[str | None, typer.Argument(help="Its name, if not given with the kind.")] = None,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        kind, names = kind_and_names(what, [name] if name else [])
        if kind is None or len(names) != 1:
            raise Failure("describe takes one resource", "For example: agentos describe agent/triage")
        path = tenant_path(tenant, "resources", kind, names[0])
        with Client(server) as client:
            whole = client.get(path)
            if kind == "Tenant":
                whole["standing"] = client.get(tenant_path(names[0]))
            for part in ("diagnostics", "dependents", "runs", "history", "events"):
                whole[part] = client.get(f"{path}/{part}", limit=20)["items"]
        if format_ in (Format.json, Format.yaml):
            output.document(whole, format_)
        else:
            _print(whole)


def _print(whole: Mapping[str, Any]) -> None:
    facts = {
        "Kind": whole["kind"],
        "Name": whole["name"],
        "Tenant": whole["tenant"],
        "Ready": f"{whole['ready']}" + (f" ({whole['reason']})" if not whole["ready"] else ""),
        "Message": whole.get("message"),
        "Source": f"{whole['path']}:{whole.get('line') or 1}",
        "Revision": whole.get("revision"),
        "Digest": whole.get("digest"),
        "Generation": whole.get("generation"),
        "Suspended": suspension(whole.get("suspension")),
        "Drains until": whole.get("drainUntil"),
        "Labels": ", ".join(f"{key}={value}" for key, value in (whole.get("labels") or {}).items()),
    }
    if standing := whole.get("standing"):
        prune = standing["prune"]
        asks = f"to remove {prune['count']} of {prune['total']}: {', '.join(prune['resources'])}" if prune else None
        facts |= {"Tenant held": suspension(standing["hold"]), "Asks": asks}
        facts["Tenant suspended"] = suspension(standing["suspension"])
    for title, value in facts.items():
        if value not in (None, ""):
            typer.echo(f"{title + ':':<17} {value}")
    _section("Conditions")
    output.table(
        ["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"],
        [
            [row["type"], row["status"], row["reason"], output.age(row["lastTransitionTime"]), row["message"]]
            for row in whole["conditions"]
        ],
    )
    if whole["diagnostics"]:
        _section("Diagnostics")
        for row in whole["diagnostics"]:
            typer.echo(
                f"{row['path']}:{row['line']}:{row['column']}: {row['severity']} {row['code']}: {row['message']}"
            )
            if row.get("hint"):
                typer.echo(f"    {row['hint']}")
    if whole["dependents"]:
        _section("Needed by")
        for row in whole["dependents"]:
            typer.echo(f"{row['kind'].lower()}/{row['name']}")
    if whole["runs"]:
        _section("Runs in flight")
        for row in whole["runs"]:
            typer.echo(in_flight(row))
    if whole["history"]:
        _section("History")
        output.table(
            ["GENERATION", "REVISION", "DIGEST"],
            [
                [
                    str(row["generation"]),
                    (row.get("revision") or "")[:12],
                    (row.get("digest") or "").removeprefix("sha256:")[:12],
                ]
                for row in whole["history"]
            ],
        )
    if whole["events"]:
        _section("Events")
        output.table(
            ["LAST", "TYPE", "REASON", "MESSAGE"],
            [[output.age(row["lastAt"]), row["type"], row["reason"], row["message"]] for row in whole["events"]],
        )


def _section(title: str) -> None:
    typer.echo(f"\n{output.paint(title, bold=True)}")
