"""Tenants, their generations, and the commands that move them."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Path, Request
from pydantic import Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from agentos_controller import tables
from agentos_controller.api import answers, bodies, commands, deps, idempotency, pauses, routing
from agentos_controller.views import diagnostics, generations, happenings, operations, paging, tenants
from agentos_engine.errors import Problem

router = routing.router("tenants", "/v1/tenants")

_COMMAND = answers.answers(
    "Command", "Accepted; follow the command", status=202, problems=("Conflict",), preconditions=True
)
Seq = Annotated[int, Path(ge=0, le=2**63 - 1, description="Number of the generation")]


@router.get("", **answers.answers("Page[Tenant]", "The tenants this key may see"))
async def list_tenants(
    call: deps.Read, limit: deps.Limit = paging.DEFAULT_LIMIT, cursor: deps.Cursor = None
) -> Response:
    """List tenants by name."""
    page = paging.page(tenants.TENANTS, limit, cursor, tenants.TENANT_CURSOR)
    async with call.parts.database.read(snapshot=True) as conn:
        return answers.Json(await tenants.listed(conn, call.only, page))


@router.get("/{tenant}", **answers.answers("Tenant", "The tenant; its ETag is the live generation", preconditions=True))
async def get_tenant(call: deps.TenantRead, request: Request) -> Response:
    """Show a tenant."""
    async with call.parts.database.read(snapshot=True) as conn:
        shown = await tenants.one(conn, call.tenant_id)
    # The counts move without a new generation: the body is sent again, If-Match compares the generation.
    return answers.Json(shown, headers={"etag": f'"{shown["activeGeneration"] or 0}"', "cache-control": "no-store"})


@router.get("/{tenant}/generations", **answers.answers("Page[Generation]", "Generations, newest first"))
async def list_generations(
    call: deps.TenantRead, limit: deps.Limit = paging.DEFAULT_LIMIT, cursor: deps.Cursor = None
) -> Response:
    """List the generations of a tenant."""
    page = paging.page(generations.LISTING, limit, cursor, generations.CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await generations.listed(conn, call.tenant_id, page))


@router.get("/{tenant}/generations/{seq}", **answers.answers("GenerationDetail", "The generation and what stood in it"))
async def get_generation(
    call: deps.TenantRead, seq: Seq, limit: deps.Limit = paging.DEFAULT_LIMIT, cursor: deps.Cursor = None
) -> Response:
    """Show a generation with a page of its resources."""
    page = paging.page(generations.ITEMS, limit, cursor, generations.ITEM_CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await generations.one(conn, call.tenant_id, seq, page))


class Rollback(pauses.Term):
    generation: Annotated[int, Field(ge=1, le=2**63 - 1)]
    """The generation whose content shall serve again."""
    reason: bodies.Line | None = None
    """Why; kept with the hold and in the audit trail."""


@router.post("/{tenant}/rollback", **_COMMAND)
async def rollback_tenant(
    call: deps.TenantOperate, request: Request, body: Rollback, idempotency_key: idempotency.Key = None
) -> Response:
    """Serve an older generation again and hold the tenant there, until it is released or as long as the body says."""

    async def check(conn: AsyncConnection) -> None:
        live = await _live(conn, call, request)
        if body.generation == live.active_seq:
            raise Problem("Conflict", f"generation {body.generation} is serving already")
        made = tables.generation
        state = await conn.scalar(
            sa.select(made.c.state).where(made.c.tenant_id == call.tenant_id, made.c.seq == body.generation)
        )
        if state is None:
            raise Problem("NotFound", f"tenant {call.tenant_name} has no generation {body.generation}")
        if state == "failed":
            raise Problem("Conflict", f"generation {body.generation} never served")

    args = {"generation": body.generation, "reason": body.reason}
    if (until := body.end(call.parts.clock.now_us())) is not None:
        args["until"] = until
    wanted = commands.Wanted("rollback", call.tenant_id, args, f"Tenant/{call.tenant_name}", check)
    return await idempotency.once(call, request, idempotency_key, lambda: commands.accept(call, wanted))


@router.post("/{tenant}/release", **_COMMAND)
async def release_tenant(
    call: deps.TenantOperate, request: Request, idempotency_key: idempotency.Key = None
) -> Response:
    """End the hold of a rollback: reconciling goes on with the newest revision."""

    async def check(conn: AsyncConnection) -> None:
        if not (await _live(conn, call, request)).hold:
            raise Problem("Conflict", f"tenant {call.tenant_name} is not held")

    wanted = commands.Wanted("release", call.tenant_id, {}, f"Tenant/{call.tenant_name}", check)
    return await idempotency.once(call, request, idempotency_key, lambda: commands.accept(call, wanted))


@router.post("/{tenant}/suspend", **_COMMAND)
async def suspend_tenant(
    call: deps.TenantOperate, request: Request, body: pauses.Suspend, idempotency_key: idempotency.Key = None
) -> Response:
    """Leave the tenant as it is: commits are looked at and not applied; what serves goes on, and takes runs.

    One that is suspended already gets the new reason and end.
    """

    async def check(conn: AsyncConnection) -> None:
        await _live(conn, call, request)

    return await pauses.order(call, request, idempotency_key, "suspend", _subject(call), body, check)


@router.post("/{tenant}/resume", **_COMMAND)
async def resume_tenant(
    call: deps.TenantOperate, request: Request, idempotency_key: idempotency.Key = None
) -> Response:
    """End the suspension of a tenant: reconciling goes on with the newest revision."""

    async def check(conn: AsyncConnection) -> None:
        pauses.require_suspended((await _live(conn, call, request)).suspended_by, f"tenant {call.tenant_name}")

    return await pauses.order(call, request, idempotency_key, "resume", _subject(call), None, check)


def _subject(call: deps.TenantCall) -> pauses.Subject:
    return pauses.Subject(call.tenant_id, {}, f"Tenant/{call.tenant_name}")


class ApprovePrune(bodies.Body):
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    """The removal that was looked at: `prune.digest` of the tenant. Another one is asked about anew."""
    orphans: bool = False
    """Or everything that is orphaned."""

    @model_validator(mode="after")
    def _one_of(self) -> ApprovePrune:
        if (self.digest is None) == (not self.orphans):
            raise ValueError("give `digest`, or `orphans: true`")
        return self


@router.post("/{tenant}/approve-prune", **_COMMAND)
async def approve_prune(
    call: deps.TenantOperate, request: Request, body: ApprovePrune, idempotency_key: idempotency.Key = None
) -> Response:
    """Agree to the removal that the guard asks about, or let the orphans of the tenant go."""

    async def check(conn: AsyncConnection) -> None:
        asked = (await _live(conn, call, request)).prune
        if body.digest is None:
            return
        if asked is None:
            raise Problem("Conflict", f"tenant {call.tenant_name} asks about no removal")
        if asked["digest"] != body.digest:
            told = f"{asked['count']} of {asked['total']} resources would be removed now, others than were looked at"
            raise Problem("Conflict", told, current=asked["digest"])

    args = {"digest": body.digest} if body.digest is not None else {"orphans": True}
    wanted = commands.Wanted("approve-prune", call.tenant_id, args, f"Tenant/{call.tenant_name}", check)
    return await idempotency.once(call, request, idempotency_key, lambda: commands.accept(call, wanted))


async def _live(conn: AsyncConnection, call: deps.TenantCall, request: Request) -> Any:
    table = tables.tenant
    columns = (table.c.active_seq, table.c.hold, table.c.suspended_by, table.c.prune)
    row = (await conn.execute(sa.select(*columns).where(table.c.id == call.tenant_id))).one()
    answers.require_match(request, str(row.active_seq or 0), f"tenant {call.tenant_name}")
    return row


@router.get("/{tenant}/events", **answers.answers("Page[Event]", "Events, newest first"))
async def list_events(
    call: deps.TenantRead, limit: deps.Limit = paging.DEFAULT_LIMIT, cursor: deps.Cursor = None
) -> Response:
    """List what happened to the resources of a tenant."""
    page = paging.page(happenings.EVENTS, limit, cursor, happenings.CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await happenings.events(conn, call.tenant_id, page))


@router.get("/{tenant}/diagnostics", **answers.answers("Page[SourceDiagnostic]", "What is wrong, by place"))
async def list_diagnostics(
    call: deps.TenantRead, limit: deps.Limit = paging.DEFAULT_LIMIT, cursor: deps.Cursor = None
) -> Response:
    """List what is wrong in the manifests of a tenant."""
    page = paging.page(diagnostics.LISTING, limit, cursor, diagnostics.CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await diagnostics.listed(conn, call.tenant_id, page))


@router.get("/{tenant}/schedules", **answers.answers("Page[ScheduleView]", "Schedules and their last fires"))
async def list_schedules(
    call: deps.TenantRead, limit: deps.Limit = paging.DEFAULT_LIMIT, cursor: deps.Cursor = None
) -> Response:
    """List the schedules of a tenant with when they fired and fire next."""
    page = paging.page(operations.SCHEDULES, limit, cursor, operations.NAME_CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await operations.schedules(conn, call.tenant_id, page))
