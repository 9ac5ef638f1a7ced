"""Resources of a tenant, each from all sides."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from agentos_controller.api import answers, deps, idempotency, pauses, routing
from agentos_controller.views import diagnostics, generations, happenings, paging, resources, runs

router = routing.router("resources", "/v1/tenants/{tenant}/resources")

Listed = Annotated[str, Query(max_length=512)]


@router.get("", **answers.answers("Page[ResourceSummary]", "Resources by kind and name"))
async def list_resources(
    call: deps.TenantRead,
    kind: Annotated[str | None, Query(max_length=63, description="Only this kind")] = None,
    label: Annotated[list[Listed], Query(description="`key=value`; all of several have to fit")] = [],  # noqa: B006
    condition: Annotated[list[Listed], Query(description="`Type=Status`, e.g. `Stalled=True`")] = [],  # noqa: B006
    ready: Annotated[
        Literal["true", "false"] | None, Query(description="Only those that are Ready, or are not")
    ] = None,
    limit: deps.Limit = paging.DEFAULT_LIMIT,
    cursor: deps.Cursor = None,
) -> Response:
    """List the resources of a tenant."""
    chosen = resources.Filter.parse(kind, label, condition, None if ready is None else ready == "true")
    page = paging.page(resources.LISTING, limit, cursor, resources.CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await resources.listed(conn, call.tenant_id, call.tenant_name, chosen, page))


@router.get("/{kind}/{name}", **answers.answers("Resource", "The resource"))
async def get_resource(call: deps.ResourceRead, kind: deps.Kind, name: deps.Name, request: Request) -> Response:
    """Show a resource with its conditions and what others may know of it."""
    async with call.parts.database.read() as conn:
        shown = await resources.one(conn, call.tenant_id, call.tenant_name, kind, name)
    return answers.tagged(request, shown, resources.version(shown))


@router.get("/{kind}/{name}/artifact", **answers.answers("ArtifactView", "What was compiled from it and serves"))
async def get_artifact(call: deps.ResourceRead, kind: deps.Kind, name: deps.Name, request: Request) -> Response:
    """Show the artifact a resource serves."""
    async with call.parts.database.read() as conn:
        shown = await resources.artifact(conn, call.tenant_id, call.tenant_name, kind, name)
    return answers.tagged(request, shown, shown["digest"])


@router.get("/{kind}/{name}/dependents", **answers.answers("Page[Dependent]", "Who needs it"))
async def list_dependents(
    call: deps.ResourceRead,
    kind: deps.Kind,
    name: deps.Name,
    limit: deps.Limit = paging.DEFAULT_LIMIT,
    cursor: deps.Cursor = None,
) -> Response:
    """List who needs a resource, directly or through others."""
    page = paging.page(resources.DEPENDENTS, limit, cursor, resources.CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await resources.dependents(conn, call.tenant_id, call.tenant_name, (kind, name), page))


@router.get("/{kind}/{name}/history", **answers.answers("Page[HistoryEntry]", "Its versions, newest first"))
async def list_history(
    call: deps.ResourceRead,
    kind: deps.Kind,
    name: deps.Name,
    limit: deps.Limit = paging.DEFAULT_LIMIT,
    cursor: deps.Cursor = None,
) -> Response:
    """List what happened to a resource, generation by generation."""
    page = paging.page(generations.HISTORY, limit, cursor, generations.CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await generations.history(conn, call.tenant_id, call.tenant_name, (kind, name), page))


@router.get("/{kind}/{name}/events", **answers.answers("Page[Event]", "Its events, newest first"))
async def list_resource_events(
    call: deps.ResourceRead,
    kind: deps.Kind,
    name: deps.Name,
    limit: deps.Limit = paging.DEFAULT_LIMIT,
    cursor: deps.Cursor = None,
) -> Response:
    """List the events of a resource; they stay when it is gone."""
    page = paging.page(happenings.EVENTS, limit, cursor, happenings.CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await happenings.events(conn, call.tenant_id, page, kind, name))


@router.get("/{kind}/{name}/diagnostics", **answers.answers("Page[SourceDiagnostic]", "What is wrong in its manifest"))
async def list_resource_diagnostics(
    call: deps.ResourceRead,
    kind: deps.Kind,
    name: deps.Name,
    limit: deps.Limit = paging.DEFAULT_LIMIT,
    cursor: deps.Cursor = None,
) -> Response:
    """List what is wrong in the manifest of a resource."""
    page = paging.page(diagnostics.LISTING, limit, cursor, diagnostics.CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await diagnostics.listed(conn, call.tenant_id, page, kind, name))


@router.get(
    "/{kind}/{name}/runs", **answers.answers("Page[RunSummary]", "Runs of it that have not ended, newest first")
)
async def list_resource_runs(
    call: deps.ResourceRead,
    kind: deps.Kind,
    name: deps.Name,
    limit: deps.Limit = paging.DEFAULT_LIMIT,
    cursor: deps.Cursor = None,
) -> Response:
    """List the runs of a resource that are in flight: a drain waits for them."""
    page = paging.page(runs.RUNS, limit, cursor, runs.CURSOR)
    chosen = runs.Filter(kind, name, live=True)
    async with call.parts.database.read() as conn:
        return answers.Json(await runs.listed(conn, call.tenant_id, call.tenant_name, chosen, page))


_COMMAND = answers.answers(
    "Command", "Accepted; follow the command", status=202, problems=("Conflict",), preconditions=True
)


@router.post("/{kind}/{name}/suspend", **_COMMAND)
async def suspend_resource(
    call: deps.ResourceOperate,
    kind: deps.Kind,
    name: deps.Name,
    request: Request,
    body: pauses.Suspend,
    idempotency_key: idempotency.Key = None,
) -> Response:
    """Let a resource serve as it does, whatever its source asks for. A Schedule does not fire meanwhile.

    One that is suspended already gets the new reason and end.
    """

    async def check(conn: AsyncConnection) -> None:
        await _suspended_by(conn, call, request, kind, name)

    subject = _subject(call, kind, name)
    return await pauses.order(call, request, idempotency_key, "suspend", subject, body, check)


@router.post("/{kind}/{name}/resume", **_COMMAND)
async def resume_resource(
    call: deps.ResourceOperate,
    kind: deps.Kind,
    name: deps.Name,
    request: Request,
    idempotency_key: idempotency.Key = None,
) -> Response:
    """End the suspension of a resource: it follows its source again."""

    async def check(conn: AsyncConnection) -> None:
        pauses.require_suspended(await _suspended_by(conn, call, request, kind, name), f"{kind}/{name}")

    subject = _subject(call, kind, name)
    return await pauses.order(call, request, idempotency_key, "resume", subject, None, check)


def _subject(call: deps.TenantCall, kind: str, name: str) -> pauses.Subject:
    return pauses.Subject(call.tenant_id, {"kind": kind, "name": name}, f"{kind}/{name}")


async def _suspended_by(
    conn: AsyncConnection, call: deps.TenantCall, request: Request, kind: str, name: str
) -> str | None:
    """Who suspended the resource, which has to be there at the version the caller has seen."""
    shown = await resources.one(conn, call.tenant_id, call.tenant_name, kind, name)
    answers.require_match(request, resources.version(shown), f"{kind}/{name}")
    suspension = shown["suspension"]
    return suspension["by"] if suspension is not None else None
