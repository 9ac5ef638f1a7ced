"""What is asked of the controller: reconcile, plans; and how far it came."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import sqlalchemy as sa
from fastapi import Query, Request
from pydantic import Field, model_validator
from starlette.responses import Response

from agentos_controller import audit, clock, ids, tables
from agentos_controller.api import answers, bodies, commands, deps, idempotency, routing
from agentos_controller.views import blobs, operations, shapes, tenants
from agentos_engine.errors import Problem

router = routing.router("work", "/v1")

Shown = TypeVar("Shown")

MAX_WAIT = 60.0
POLL = 0.5
PLAN_KEPT_US = 24 * 3600 * clock.SECOND
Patience = Annotated[float, Query(ge=0, le=MAX_WAIT, description="Seconds to wait until it is done")]


class Reconcile(bodies.Body):
    tenant: bodies.TenantName | None = None
    """Only this tenant; left out: every one this key may see."""
    source: Annotated[str, Field(max_length=63)] | None = None
    """Only this source of the tenant, by name."""

    @model_validator(mode="after")
    def _source_of_tenant(self) -> Reconcile:
        if self.source is not None and self.tenant is None:
            raise ValueError("a source is named together with its tenant")
        return self


@router.post(
    "/reconcile", **answers.answers("Command", "Accepted; follow the command", status=202, problems=("NotFound",))
)
async def reconcile(
    call: deps.Operate, request: Request, body: Reconcile, idempotency_key: idempotency.Key = None
) -> Response:
    """Look at the sources now instead of at the next poll."""
    tenant_id = call.only
    subject = "Platform"
    if body.tenant is not None:
        tenant_id = await tenant_named(call, body.tenant)
        subject = f"Tenant/{body.tenant}"
    if body.source is not None:
        await _has_source(call, tenant_id, body.source)
        subject += f"/{body.source}"
    wanted = commands.Wanted("reconcile", tenant_id, {"tenant": body.tenant, "source": body.source}, subject)
    return await idempotency.once(call, request, idempotency_key, lambda: commands.accept(call, wanted))


async def _has_source(call: deps.Call, tenant_id: str | None, name: str) -> None:
    source = tables.source
    async with call.parts.database.read() as conn:
        query = sa.select(source.c.id).where(source.c.tenant_id == tenant_id, source.c.name == name)
        if await conn.scalar(query) is None:
            raise Problem("NotFound", f"the tenant has no source {name}")


async def tenant_named(call: deps.Call, name: str) -> str:
    """The id of a tenant a body names; one the key may not see is a missing one.

    Raises:
        Problem: NotFound.
    """
    async with call.parts.database.read() as conn:
        row = await tenants.named(conn, name)
    if row is None or call.only not in (None, row.id):
        raise Problem("NotFound", f"there is no tenant {name}")
    return str(row.id)


@router.get("/commands/{id}", **answers.answers("Command", "The command", problems=("NotFound",)))
async def get_command(call: deps.Read, id: deps.Id, wait: Patience = 0) -> Response:  # noqa: A002 - the path's word
    """Show how far a command came."""

    async def look() -> shapes.Command:
        async with call.parts.database.read() as conn:
            return await operations.command(conn, id, call.only)

    return answers.Json(await _when(call, look, lambda shown: shown["state"] in ("done", "failed"), wait))


class NewPlan(bodies.Body):
    tenant: bodies.TenantName
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")] | None = None
    """The commit to compare with what serves."""
    files: dict[Annotated[str, Field(min_length=1, max_length=1024)], str] | None = None
    """Or the files themselves, by path in the source."""

    @model_validator(mode="after")
    def _one_of(self) -> NewPlan:
        if (self.revision is None) == (self.files is None):
            raise ValueError("a plan has either `revision` or `files`")
        return self


@router.post(
    "/plans",
    **answers.answers(
        "Plan", "The plan, made as soon as the controller gets to it", status=202, problems=("NotFound",)
    ),
)
async def create_plan(
    call: deps.Read, request: Request, body: NewPlan, wait: Patience = 0, idempotency_key: idempotency.Key = None
) -> Response:
    """Compare a revision, or files, with what serves. Nothing is changed."""
    tenant_id = await tenant_named(call, body.tenant)

    async def perform() -> idempotency.Outcome:
        db = call.parts.database
        plan_id = ids.new()
        now = call.parts.clock.now_us()
        async with db.write() as conn:
            await conn.execute(
                sa.insert(tables.plan).values(
                    id=plan_id,
                    tenant_id=tenant_id,
                    head=body.revision,
                    request=None if body.files is None else blobs.pack(body.files),
                    state="pending",
                    requested_by=call.actor,
                    created_at=now,
                    expires_at=now + PLAN_KEPT_US,
                )
            )
            await audit.append(
                conn, tenant_id, call.actor, "plan.request", f"Plan/{plan_id}", body.revision, "accepted", {}
            )
        db.notify(commands.CHANNEL)
        return idempotency.Outcome(await _planned(call, plan_id, wait), 202, {"location": f"/v1/plans/{plan_id}"})

    return await idempotency.once(call, request, idempotency_key, perform)


@router.get("/plans/{id}", **answers.answers("Plan", "The plan", problems=("NotFound",)))
async def get_plan(call: deps.Read, id: deps.Id, wait: Patience = 0) -> Response:  # noqa: A002 - the path's word
    """Show a plan."""
    return answers.Json(await _planned(call, id, wait))


async def _planned(call: deps.Call, plan_id: str, patience: float) -> shapes.Plan:
    async def look() -> shapes.Plan:
        async with call.parts.database.read() as conn:
            return await operations.plan(conn, plan_id, call.only)

    return await _when(call, look, lambda shown: shown["state"] != "pending", patience)


async def _when(
    call: deps.Call, look: Callable[[], Awaitable[Shown]], done: Callable[[Shown], bool], patience: float
) -> Shown:
    """What `look` gives once it is `done`, or after `patience` seconds."""
    clock_ = asyncio.get_running_loop().time
    deadline = clock_() + patience
    with call.parts.database.subscribe(commands.DONE) as woken:
        while True:
            shown = await look()
            left = deadline - clock_()
            if done(shown) or left <= 0 or call.parts.stopping.is_set():
                return shown
            await woken.wait(min(POLL, left))
