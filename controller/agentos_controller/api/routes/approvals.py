"""Approvals: what waits for a person, and the person's answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query, Request
from starlette.responses import Response

from agentos_controller.api import answers, bodies, deps, idempotency, routing
from agentos_controller.runs import approvals
from agentos_controller.views import paging, runs

router = routing.router("approvals", "/v1/tenants/{tenant}/approvals")

State = Literal["open", "approved", "rejected", "answered", "expired", "cancelled"]


@router.get("", **answers.answers("Page[Approval]", "Approvals, newest first"))
async def list_approvals(
    call: deps.TenantRead,
    state: Annotated[State | None, Query()] = None,
    run: Annotated[bodies.RowId | None, Query()] = None,
    limit: deps.Limit = paging.DEFAULT_LIMIT,
    cursor: deps.Cursor = None,
) -> Response:
    """List the approvals of a tenant."""
    page = paging.page(runs.APPROVALS, limit, cursor, runs.CURSOR)
    async with call.parts.database.read() as conn:
        shown = await runs.approvals(conn, call.tenant_id, call.tenant_name, state, run.lower() if run else None, page)
    return answers.Json(shown)


@router.get("/{id}", **answers.answers("Approval", "The approval", preconditions=True))
async def get_approval(call: deps.TenantRead, id: deps.Id, request: Request) -> Response:  # noqa: A002 - the path's word
    """Show an approval: what is asked, of whom, until when."""
    async with call.parts.database.read() as conn:
        shown = await runs.approval(conn, call.tenant_id, call.tenant_name, id)
    return answers.tagged(request, shown, runs.approval_version(shown))


class Decision(bodies.Body):
    decision: Literal["approved", "rejected"]
    value: Any = None
    """The edited value, where the step allows to edit what it shows."""
    comment: bodies.Line | None = None


@router.post(
    "/{id}/decision", **answers.answers("Approval", "The approval, decided", problems=("Conflict",), preconditions=True)
)
async def decide_approval(
    call: deps.TenantRun,
    request: Request,
    id: deps.Id,  # noqa: A002 - the path's word
    body: Decision,
    idempotency_key: idempotency.Key = None,
) -> Response:
    """Decide an approval; the first decision holds. Only those it is asked of may."""

    async def perform() -> idempotency.Outcome:
        db = call.parts.database
        if "if-match" in request.headers:
            async with db.read() as conn:
                before = await runs.approval(conn, call.tenant_id, call.tenant_name, id)
            answers.require_match(request, runs.approval_version(before), f"approval {id}")
        await approvals.decide(
            db,
            call.tenant_id,
            id,
            decision=body.decision,
            value=body.value,
            comment=body.comment,
            principal=call.principal,
            clock=call.parts.clock,
            starter=call.parts.starter,
        )
        async with db.read() as conn:
            shown = await runs.approval(conn, call.tenant_id, call.tenant_name, id)
        return idempotency.Outcome(shown, headers={"etag": f'"{runs.approval_version(shown)}"'})

    return await idempotency.once(call, request, idempotency_key, perform)
