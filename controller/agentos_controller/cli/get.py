"""`agentos get`: lists of anything, and single resources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, NoReturn

import typer

from agentos_controller.cli import completing, options, output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client, tenant_path
from agentos_controller.cli.failures import Failure
from agentos_controller.cli.output import Column, Format

KINDS = ("Agent", "Connector", "Model", "Policy", "Role", "Schedule", "Tenant", "Trigger", "Workflow")


class Listing(NamedTuple):
    """A collection that is not a resource kind: its path under the tenant (or the root) and its columns."""

    path: str
    columns: tuple[Column, ...]
    name: Column
    of_tenant: bool = True


def _key(name: str) -> Any:
    return lambda row: row.get(name)


def _age(name: str) -> Any:
    return lambda row: output.age(row.get(name))


def suspension(given: Mapping[str, Any] | None) -> str:
    """Who stopped it, until when, and why; empty where nobody did."""
    if not given:
        return ""
    until = f" until {given['until']}" if given.get("until") else ""
    return f"by {given['by']}{until}" + (f": {given['reason']}" if given.get("reason") else "")


RESOURCE_NAME = Column("NAME", lambda row: f"{row['kind'].lower()}/{row['name']}")
RESOURCES = (
    RESOURCE_NAME,
    Column("READY", _key("ready")),
    Column("REASON", _key("reason")),
    Column("DIGEST", lambda row: (row.get("digest") or "").removeprefix("sha256:")[:12]),
    Column("REVISION", lambda row: (row.get("revision") or "")[:12]),
    Column("AGE", _age("updatedAt")),
    Column("SOURCE", lambda row: f"{row['path']}:{row.get('line') or 1}", wide=True),
    Column("GENERATION", _key("generation"), wide=True),
    Column("MESSAGE", _key("message"), wide=True),
)
LISTINGS = {
    "tenants": Listing(
        "/v1/tenants",
        (
            Column("NAME", _key("name")),
            Column("READY", _key("ready")),
            Column("STATE", _key("state")),
            Column("GENERATION", _key("activeGeneration")),
            Column("RESOURCES", lambda row: row.get("counts", {}).get("total")),
            Column("STALLED", lambda row: row.get("counts", {}).get("stalled")),
            Column("HELD", lambda row: bool(row.get("hold"))),
            Column("SUSPENDED", lambda row: suspension(row.get("suspension"))),
            Column("TO REMOVE", lambda row: (row.get("prune") or {}).get("count")),
            Column("HOLD", lambda row: suspension(row.get("hold")), wide=True),
        ),
        Column("NAME", _key("name")),
        of_tenant=False,
    ),
    "sources": Listing(
        "/v1/sources",
        (
            Column("NAME", _key("name")),
            Column("TENANT", _key("tenant")),
            Column("READY", _key("ready")),
            Column("REVISION", lambda row: (row.get("revision") or "")[:12]),
            Column("SUSPENDED", lambda row: suspension(row.get("suspension"))),
            Column("URL", _key("url")),
            Column("REF", _key("ref"), wide=True),
            Column("PATH", _key("path"), wide=True),
            Column("WEBHOOK", _key("webhook"), wide=True),
            Column("FETCHED", _age("fetchedAt")),
        ),
        Column("NAME", _key("name")),
        of_tenant=False,
    ),
    "events": Listing(
        "events",
        (
            Column("LAST", _age("lastAt")),
            Column("TYPE", _key("type")),
            Column("REASON", _key("reason")),
            Column("OBJECT", lambda row: f"{row.get('kind') or ''}/{row.get('name') or ''}".strip("/")),
            Column("COUNT", _key("count"), wide=True),
            Column("WHERE", lambda row: f"{row['path']}:{row.get('line') or 1}" if row.get("path") else ""),
            Column("MESSAGE", _key("message")),
        ),
        Column("ID", _key("id")),
    ),
    "diagnostics": Listing(
        "diagnostics",
        (
            Column("WHERE", lambda row: f"{row['path']}:{row['line']}:{row['column']}"),
            Column("CODE", _key("code")),
            Column("MESSAGE", _key("message")),
            Column("HINT", _key("hint"), wide=True),
        ),
        Column("WHERE", lambda row: f"{row['path']}:{row['line']}"),
    ),
    "schedules": Listing(
        "schedules",
        (
            Column("NAME", _key("name")),
            Column("SCHEDULE", lambda row: row.get("cron") or row.get("every") or row.get("at")),
            Column("TIMEZONE", _key("timezone")),
            Column("NEXT", _key("nextTick")),
            Column("LAST", _key("lastTick")),
            Column("SUSPENDED", _key("suspended")),
        ),
        Column("NAME", _key("name")),
    ),
}


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary,
        rich_help_panel=verb.group,
        epilog="Examples: agentos get agents -l team=growth -o wide; agentos get all --watch; "
        "agentos get sources -o wide",
    )
    def get(
        what: Annotated[
            str,
            typer.Argument(
                metavar="WHAT",
                help="A kind (agents, workflow/x, all) or tenants, sources, events, diagnostics, schedules.",
                autocompletion=completing.listed,
            ),
        ],
        names: Annotated[
            list[str] | None,
            typer.Argument(help="Names of that kind; all when left out.", autocompletion=completing.names),
        ] = None,
        label: Annotated[str | None, typer.Option("--label", "-l", help="Only with this label, `key=value`.")] = None,
        condition: Annotated[
            str | None, typer.Option("--condition", help="Only where a condition holds, `Ready=False`.")
        ] = None,
        limit: Annotated[int | None, typer.Option(help="At most this many.", min=1)] = None,
        watch: Annotated[
            bool, typer.Option("--watch", "-w", help="Go on, and print each row again when it changes.")
        ] = False,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
        format_: options.Output = Format.table,
    ) -> None:
        with Client(server) as client:
            if what in LISTINGS:
                listing = LISTINGS[what]
                path = tenant_path(tenant, listing.path) if listing.of_tenant else listing.path
                if watch:
                    _follow(listing, lambda: list(client.pages(path, limit)), format_)
                output.show(client.pages(path, limit), listing.columns, format_, listing.name)
                return
            kind, wanted = kind_and_names(what, names or [])
            if watch:
                _watch(client, tenant, _Filter(kind, tuple(wanted), label, condition), limit, format_)
            if wanted:
                assert kind is not None
                rows = [client.get(tenant_path(tenant, "resources", kind, name)) for name in wanted]
                if format_ in (Format.json, Format.yaml) and len(rows) == 1:
                    output.document(rows[0], format_)
                    return
            else:
                path = tenant_path(tenant, "resources")
                rows = list(client.pages(path, limit, kind=kind, label=label, condition=condition))
            output.show(rows, RESOURCES, format_, RESOURCE_NAME)


@dataclass(frozen=True, slots=True)
class _Filter:
    """What of a tenant's resources is asked for."""

    kind: str | None
    names: tuple[str, ...]
    label: str | None
    condition: str | None

    def takes(self, row: Mapping[str, Any]) -> bool:
        """Whether the row belongs to it. One that is gone is told by its name alone."""
        if self.kind not in (None, row["kind"]) or (self.names and row["name"] not in self.names):
            return False
        if "conditions" not in row:
            return True
        key, _, value = (self.label or "").partition("=")
        type_, _, status = (self.condition or "").partition("=")
        held = {one["type"]: one["status"] for one in row["conditions"]}
        return (not key or row["labels"].get(key) == value) and (not type_ or held.get(type_) == (status or "True"))


def _watch(client: Client, tenant: str, asked: _Filter, limit: int | None, format_: Format) -> NoReturn:
    """Print resources as they change, until the person ends it."""
    from agentos_controller.cli import watch

    path = tenant_path(tenant, "resources")

    def shown() -> list[Mapping[str, Any]]:
        rows = client.pages(path, limit, kind=asked.kind, label=asked.label, condition=asked.condition)
        return [row for row in rows if not asked.names or row["name"] in asked.names]

    follower = watch.Follower(RESOURCES, format_, RESOURCE_NAME)
    for rows in watch.resources(client, tenant, shown, asked.takes):
        follower.show(rows)
    raise AssertionError("a watch has no end of its own")


def _follow(listing: Listing, shown: Callable[[], list[Mapping[str, Any]]], format_: Format) -> NoReturn:
    """Print the rows of a list that has no log of its changes, until the person ends it."""
    from agentos_controller.cli import watch

    follower = watch.Follower(listing.columns, format_, listing.name)

    def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row.get("id"), row.get("tenant"), listing.name.value(row), row.get("code")

    for rows in watch.listing(shown, key, "fetchedAt"):
        follower.show(rows)
    raise AssertionError("a watch has no end of its own")


def plural(kind: str) -> str:
    """What a person calls all of a kind."""
    return f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}s"


def kind_and_names(what: str, names: list[str]) -> tuple[str | None, list[str]]:
    """``agents``, ``agent``, ``Agent`` and ``agent/x`` as (kind, names); ``all`` is every kind."""
    word, slash, name = what.partition("/")
    if slash:
        names = [name, *names]
    if word.lower() == "all" and not names:
        return None, []
    for kind in KINDS:
        if word.lower() in (kind.lower(), kind.lower() + "s", kind.lower()[:-1] + "ies"):
            return kind, names
    import difflib

    known = sorted({*map(plural, KINDS), *LISTINGS, "all"})
    close = difflib.get_close_matches(word.lower(), known, 1)
    raise Failure(
        f"nothing is called {word!r}", f"Did you mean {close[0]}?" if close else f"Try one of: {', '.join(known)}"
    )
