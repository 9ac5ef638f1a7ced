"""`agentos approve-prune`: look at the removal a tenant asks about, and agree to exactly that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from agentos_controller.cli import commands, options, output
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client, tenant_path
from agentos_controller.cli.failures import Failure

_RUNNABLE = ("Agent", "Workflow")


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary + " Without --yes it shows the removal and asks.",
        rich_help_panel=verb.group,
        epilog="Examples: agentos approve-prune -t acme; agentos approve-prune -t acme --digest sha256:… --yes; "
        "agentos approve-prune -t acme --orphans",
    )
    def approve_prune(
        digest: Annotated[
            str | None, typer.Option(help="The removal that was looked at; refused if it is another one by now.")
        ] = None,
        orphans: Annotated[
            bool, typer.Option("--orphans", help="Let go what its source left behind as `orphan` instead.")
        ] = False,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
    ) -> None:
        with Client(server) as client:
            if orphans:
                names = _orphans(client, tenant)
                body: dict[str, Any] = {"orphans": True}
            else:
                asked = client.get(tenant_path(tenant))["prune"]
                if asked is None:
                    raise Failure(f"tenant/{tenant} asks about no removal")
                if digest not in (None, asked["digest"]):
                    raise Failure("another removal is asked about by now", f"Its digest is {asked['digest']}.")
                typer.echo(f"{asked['count']} of {asked['total']} resources would be removed:")
                names, body = asked["resources"], {"digest": asked["digest"]}
            _show(client, tenant, names)
            if not orphans and asked["count"] > len(names):
                typer.echo(f"  and {asked['count'] - len(names)} more")
            if not yes and not typer.confirm(f"Remove them from tenant/{tenant}?"):
                raise Failure("nothing was approved")
            done = commands.follow(client, client.post(tenant_path(tenant, "approve-prune"), body))
        result = done.get("result") or {}
        typer.echo(f"{result.get('approved')} resources approved; generation {result.get('generation')} serves")


def _orphans(client: Client, tenant: str) -> list[str]:
    rows = client.pages(tenant_path(tenant, "resources"))
    return [f"{row['kind']}/{row['name']}" for row in rows if row["reason"] == "Orphaned"]


def _show(client: Client, tenant: str, names: list[str]) -> None:
    """Each of the resources, with the runs of it that have not ended."""
    for each in names:
        kind, _, name = each.partition("/")
        path = tenant_path(tenant, "resources", kind, name, "runs")
        flying = list(client.pages(path, limit=20)) if kind in _RUNNABLE else []
        typer.echo(f"  {kind.lower()}/{name}" + (f": {len(flying)} runs in flight" if flying else ""))
        for run in flying:
            typer.echo(f"    {in_flight(run)}")


def in_flight(run: Mapping[str, Any]) -> str:
    """A run that has not ended, in a line."""
    return f"run/{run['id']} {run['state']}, thread {run['thread']}, {output.age(run['createdAt'])}"
