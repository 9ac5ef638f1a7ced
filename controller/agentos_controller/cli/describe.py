"""`agentos describe`: everything known of one resource, source or tenant, in the order in which one asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from agentos_controller.cli import completing, options, output, pausing
from agentos_controller.cli.app import Verb
from agentos_controller.cli.approve_prune import in_flight
from agentos_controller.cli.client import Client, tenant_path
from agentos_controller.cli.failures import Failure
from agentos_controller.cli.get import kind_and_names, suspension
from agentos_controller.cli.output import Format

SHOWN = 20
"""Of each list, so many."""


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary,
        rich_help_panel=verb.group,
        epilog="Examples: agentos describe workflow/budget-review; agentos describe source/main -t acme; "
        "agentos describe tenant/acme",
    )
    def describe(
        what: Annotated[
            str,
            typer.Argument(
                metavar="KIND/NAME",
                help="The resource, source/NAME, or tenant/NAME.",
                autocompletion=completing.things,
            ),
        ],
        name: Annotated[str | None, typer.Argument(help="Its name, if not given with the kind.")] = None,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        word = what.partition("/")[0].lower().removesuffix("s")
        with Client(server) as client:
            if word in ("source", "tenant"):
                path = pausing.meant(client, what, name, tenant).path
                whole = client.get(path)
                if word == "source":
                    whole["revisions"] = client.get(f"{path}/revisions", limit=SHOWN)["items"]
                else:
                    sources = client.pages("/v1/sources")
                    whole["sources"] = [row for row in sources if row["tenant"] == whole["name"]]
                    whole["manifest"] = _manifest(client, whole["name"])
                    whole["events"] = client.get(f"{path}/events", limit=SHOWN)["items"]
                facts = _source(whole, client.server) if word == "source" else _tenant(whole)
            else:
                whole = _resource(client, what, name, tenant)
                facts = _facts(whole)
        if format_ in (Format.json, Format.yaml):
            output.document(whole, format_)
        else:
            _print(facts, whole)


def _resource(client: Client, what: str, name: str | None, tenant: str) -> dict[str, Any]:
    kind, names = kind_and_names(what, [name] if name else [])
    if kind is None or len(names) != 1:
        raise Failure("describe takes one resource", "For example: agentos describe agent/triage")
    path = tenant_path(tenant, "resources", kind, names[0])
    whole: dict[str, Any] = client.get(path)
    for part in ("diagnostics", "dependents", "runs", "history", "events"):
        whole[part] = client.get(f"{path}/{part}", limit=SHOWN)["items"]
    return whole


def _manifest(client: Client, name: str) -> Mapping[str, Any] | None:
    """The Tenant manifest of a tenant, where there is one and this key may see it."""
    for row in client.pages("/v1/tenants"):
        if row["platform"]:
            try:
                found: Mapping[str, Any] = client.get(tenant_path(row["name"], "resources", "Tenant", name))
            except Failure as failure:
                if failure.status not in (403, 404):
                    raise
                return None
            return found
    return None


def _facts(whole: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Kind": whole["kind"],
        "Name": whole["name"],
        "Tenant": whole["tenant"],
        "Ready": _ready(whole),
        "Message": whole.get("message"),
        "Source": f"{whole['path']}:{whole.get('line') or 1}",
        "Revision": whole.get("revision"),
        "Digest": whole.get("digest"),
        "Generation": whole.get("generation"),
        "Suspended": suspension(whole.get("suspension")),
        "Drains until": whole.get("drainUntil"),
        "Labels": ", ".join(f"{key}={value}" for key, value in (whole.get("labels") or {}).items()),
    }


def _source(whole: Mapping[str, Any], server: str) -> dict[str, Any]:
    behind = whole["observed"] if whole["observed"] != whole["revision"] else None
    return {
        "Source": whole["name"],
        "Tenant": whole["tenant"],
        "Ready": _ready(whole),
        "Message": _condition(whole, "Ready")["message"],
        "URL": whole["url"],
        "Ref": whole["ref"],
        "Path": whole["path"],
        "Revision": whole["revision"],
        "Its ref names": behind,
        "Let in": f"{whole['accepted']} by {whole['acceptedBy']}" if whole["accepted"] else None,
        "Fetched": f"{output.age(whole['fetchedAt'])} ago" if whole["fetchedAt"] else None,
        "Suspended": suspension(whole["suspension"]),
        "Webhook": f"{server}{whole['webhook']}" if whole["webhook"] else None,
    }


def _tenant(whole: Mapping[str, Any]) -> dict[str, Any]:
    prune, counts, manifest = whole["prune"], whole["counts"], whole["manifest"]
    return {
        "Tenant": whole["name"],
        "Ready": _ready(whole),
        "Message": _condition(whole, "Ready")["message"],
        "State": whole["state"],
        "Manifest": f"{manifest['path']}:{manifest['line']}, {manifest['reason']}" if manifest else None,
        "Generation": whole["activeGeneration"],
        "Resources": ", ".join(f"{number} {word}" for word, number in counts.items()),
        "Held": suspension(whole["hold"]),
        "Suspended": suspension(whole["suspension"]),
        "Asks": f"to remove {prune['count']} of {prune['total']}: {', '.join(prune['resources'])}" if prune else None,
        "Sources": ", ".join(f"source/{row['name']} ({row['url']})" for row in whole["sources"]),
    }


def _ready(whole: Mapping[str, Any]) -> str:
    return str(whole["ready"]) + ("" if whole["ready"] else f" ({_condition(whole, 'Ready')['reason']})")


def _condition(whole: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
    nothing = {"reason": "Reconciling", "message": "not looked at yet"}
    return next((one for one in whole["conditions"] if one["type"] == type_), nothing)


def _print(facts: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
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
    if diagnostics := whole.get("diagnostics", ())[:SHOWN]:
        _section("Diagnostics")
        for row in diagnostics:
            typer.echo(
                f"{row['path']}:{row['line']}:{row['column']}: {row['severity']} {row['code']}: {row['message']}"
            )
            if row.get("hint"):
                typer.echo(f"    {row['hint']}")
    _lines("Needed by", [f"{row['kind'].lower()}/{row['name']}" for row in whole.get("dependents", ())])
    _lines("Runs in flight", [in_flight(row) for row in whole.get("runs", ())])
    if history := whole.get("history"):
        _section("History")
        output.table(
            ["GENERATION", "REVISION", "DIGEST"],
            [
                [
                    str(row["generation"]),
                    (row.get("revision") or "")[:12],
                    (row.get("digest") or "").removeprefix("sha256:")[:12],
                ]
                for row in history
            ],
        )
    if revisions := whole.get("revisions"):
        _section("Revisions")
        output.table(
            ["REVISION", "GENERATION", "AGE"],
            [[row["revision"][:12], str(row["generation"]), output.age(row["appliedAt"])] for row in revisions],
        )
    if events := whole.get("events"):
        _section("Events")
        output.table(
            ["LAST", "TYPE", "REASON", "MESSAGE"],
            [[output.age(row["lastAt"]), row["type"], row["reason"], row["message"]] for row in events],
        )


def _lines(title: str, lines: Sequence[str]) -> None:
    if lines:
        _section(title)
        for line in lines:
            typer.echo(line)


def _section(title: str) -> None:
    typer.echo(f"\n{output.paint(title, bold=True)}")
