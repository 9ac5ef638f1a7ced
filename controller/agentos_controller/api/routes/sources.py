"""Sources: the repositories tenants are read from."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from agentos_controller.api import answers, deps, routing
from agentos_controller.views import generations, paging, tenants

router = routing.router("sources", "/v1/sources")


@router.get("", **answers.answers("Page[Source]", "Sources by tenant and name"))
async def list_sources(
    call: deps.Read, limit: deps.Limit = paging.DEFAULT_LIMIT, cursor: deps.Cursor = None
) -> Response:
    """List the sources this key may see."""
    page = paging.page(tenants.SOURCES, limit, cursor, tenants.SOURCE_CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await tenants.sources(conn, call.only, page))


@router.get("/{id}", **answers.answers("SourceDetail", "The source", problems=("NotFound",)))
async def get_source(call: deps.Read, id: deps.Id, request: Request) -> Response:  # noqa: A002 - the path's word
    """Show a source with the diagnostics of its last revision."""
    async with call.parts.database.read() as conn:
        return answers.Json(await tenants.source(conn, id, call.only))


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
