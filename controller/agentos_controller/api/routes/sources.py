"""Sources: the repositories tenants are read from."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from agentos_controller.api import answers, bodies, commands, deps, idempotency, pauses, routing
from agentos_controller.views import forms, generations, paging, tenants
from agentos_engine.errors import Problem

router = routing.router("sources", "/v1/sources")


def _hooked(call: deps.Call) -> bool:
    """Whether deliveries about the platform's own source are taken."""
    return call.parts.platform_webhook is not None


@router.get("", **answers.answers("Page[Source]", "Sources by tenant and name"))
async def list_sources(
    call: deps.Read, limit: deps.Limit = paging.DEFAULT_LIMIT, cursor: deps.Cursor = None
) -> Response:
    """List the sources this key may see."""
    page = paging.page(tenants.SOURCES, limit, cursor, tenants.SOURCE_CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await tenants.sources(conn, call.only, page, _hooked(call)))


@router.get("/{id}", **answers.answers("SourceDetail", "The source", problems=("NotFound",)))
async def get_source(call: deps.Read, id: deps.Id, request: Request) -> Response:  # noqa: A002 - the path's word
    """Show a source with the diagnostics of its last revision."""
    async with call.parts.database.read() as conn:
        return answers.Json(await tenants.source(conn, id, call.only, _hooked(call)))


@router.get(
    "/{id}/revisions", **answers.answers("Page[SourceRevision]", "Revisions, newest first", problems=("NotFound",))
)
async def list_revisions(
    call: deps.Read,
    id: deps.Id,  # noqa: A002 - the path's word
    limit: deps.Limit = paging.DEFAULT_LIMIT,
    cursor: deps.Cursor = None,
) -> Response:
    """List the revisions of a source that brought generations."""
    page = paging.page(tenants.REVISIONS, limit, cursor, generations.CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await tenants.revisions(conn, id, call.only, page))


_COMMAND = answers.answers("Command", "Accepted; follow the command", status=202, problems=("Conflict", "NotFound"))


@router.post("/{id}/suspend", **_COMMAND)
async def suspend_source(
    call: deps.Operate,
    id: deps.Id,  # noqa: A002 - the path's word
    request: Request,
    body: pauses.Suspend,
    idempotency_key: idempotency.Key = None,
) -> Response:
    """Leave a source at the revision it has. One that is suspended already gets the new reason and end."""
    row = await _row(call, id)
    return await pauses.order(call, request, idempotency_key, "suspend", _subject(row), body)


@router.post("/{id}/resume", **_COMMAND)
async def resume_source(
    call: deps.Operate,
    id: deps.Id,  # noqa: A002 - the path's word
    request: Request,
    idempotency_key: idempotency.Key = None,
) -> Response:
    """End the suspension of a source: it follows its ref again."""
    row = await _row(call, id)

    async def check(_conn: AsyncConnection) -> None:
        pauses.require_suspended(row.suspended_by, f"source {row.name}")

    return await pauses.order(call, request, idempotency_key, "resume", _subject(row), None, check)


class Accept(bodies.Body):
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")] | None = None
    """The commit to let in; left out: the one its ref named at the last look."""
    reason: bodies.Line
    """Why; kept in the audit trail."""


@router.post("/{id}/accept", **_COMMAND)
async def accept_revision(
    call: deps.Operate,
    id: deps.Id,  # noqa: A002 - the path's word
    request: Request,
    body: Accept,
    idempotency_key: idempotency.Key = None,
) -> Response:
    """Let a revision in that its source refuses for where it comes from, as after a force-push."""
    row = await _row(call, id)
    revision = body.revision or row.observed
    if revision is None:
        raise Problem("Conflict", f"source {row.name} has seen no revision yet: name the one to accept")
    args = {"source": row.id, "revision": revision, "reason": body.reason}
    wanted = commands.Wanted("accept", row.tenant_id, args, f"Source/{row.name}")
    return await idempotency.once(call, request, idempotency_key, lambda: commands.accept(call, wanted))


async def _row(call: deps.Call, source_id: str) -> forms.Row:
    async with call.parts.database.read() as conn:
        return await tenants.source_row(conn, source_id, call.only)


def _subject(row: forms.Row) -> pauses.Subject:
    return pauses.Subject(row.tenant_id, {"source": row.id}, f"Source/{row.name}")
