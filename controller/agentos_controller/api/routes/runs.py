"""Runs: start one, look at it, follow it, cancel it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Header, Query, Request
from pydantic import Field
from starlette.responses import Response

from agentos_controller import hub, ids
from agentos_controller.api import answers, bodies, deps, idempotency, routing, sse
from agentos_controller.runs import events, records, states
from agentos_controller.views import forms, paging, runs

router = routing.router("runs", "/v1/tenants/{tenant}/runs")

MAX_WAIT = 300.0
POLL = 1.0
"""Seconds after which a run is looked at without a wake-up: another process may be working on it."""
UNSETTLED = frozenset({"pending", "running", "cancelling"})


class NewRun(bodies.Body):
    kind: Annotated[str, Field(pattern=r"^(Agent|Workflow)$")]
    """What to run: an Agent or a Workflow."""
    name: bodies.ResourceName
    input: Any = None
    """As the target's input schema has it; left out: an empty object."""
    thread: bodies.RowId | None = None
    """The thread to go on; left out: a new one."""
    wait: Annotated[float, Field(ge=0, le=MAX_WAIT)] | None = None
    """Seconds to wait for the run to end or to ask a person."""


@router.post(
    "",
    **answers.answers(
        "Run",
        "The run, as far as it came in the time waited for",
        status=201,
        problems=("Conflict", "NotFound", "QuotaExceeded"),
    ),
)
async def create_run(
    call: deps.RunCreate,
    request: Request,
    body: NewRun,
    wait: Annotated[float | None, Query(ge=0, le=MAX_WAIT, description="As `wait` in the body")] = None,
    idempotency_key: idempotency.Key = None,
) -> Response:
    """Start a run of what serves now. With `wait` it is started at once, else it is queued."""
    parts = call.parts
    patience = body.wait if body.wait is not None else wait
    key = None
    if idempotency_key is not None:
        await idempotency.same(call, request, idempotency_key)
        key = f"api:{(call.principal.key_id or call.principal.name)}:{idempotency_key}"
    interactive = patience is not None and parts.starter is not None
    run_id = ids.new()
    with parts.database.subscribe(f"run:{run_id}") as news:
        try:
            made = await records.create_run(
                parts.database,
                tenant_id=call.tenant_id,
                kind=body.kind,
                name=body.name,
                input=body.input,
                cause={"type": "api", "key": (call.principal.key_id or call.principal.name)},
                actor=call.actor,
                thread_id=body.thread,
                key=key,
                interactive=interactive,
                clock=parts.clock,
                starter=parts.starter,
                run_id=run_id,
            )
        except BaseException:
            if idempotency_key is not None:
                await idempotency.release(call, idempotency_key)
            raise
        if not made.existing:
            if interactive and made.state == "pending" and parts.starter is not None:
                parts.starter.start(made.id)
            row = await _settled(call, made.id, patience or 0, news)
    if made.existing:
        with parts.database.subscribe(f"run:{made.id}") as news:
            row = await _settled(call, made.id, patience or 0, news)
    location = f"/v1/tenants/{call.tenant_name}/runs/{made.id}"
    headers = {"location": location, "etag": f'"{runs.version(row)}"'}
    if made.existing:
        headers[idempotency.REPLAYED] = "true"
    return answers.Json(runs.shape(row, call.tenant_name), status_code=200 if made.existing else 201, headers=headers)


async def _settled(call: deps.TenantCall, run_id: str, patience: float, news: hub.Subscription) -> forms.Row:
    """The run's row once it ended or waits for somebody, or after `patience` seconds."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + patience
    while True:
        if patience:
            await news.wait(min(POLL, max(deadline - clock(), 0)))
            if news.told is not None:
                ended: forms.Row = news.told
                return ended
        async with call.parts.database.read() as conn:
            row = await runs.row(conn, call.tenant_id, run_id)
        if row.state not in UNSETTLED or clock() >= deadline or call.parts.stopping.is_set():
            return row


@router.get("", **answers.answers("Page[RunSummary]", "Runs, newest first"))
async def list_runs(
    call: deps.TenantRead,
    kind: Annotated[str | None, Query(max_length=63)] = None,
    name: Annotated[str | None, Query(max_length=63)] = None,
    state: Annotated[states.State | None, Query()] = None,
    thread: Annotated[bodies.RowId | None, Query()] = None,
    limit: deps.Limit = paging.DEFAULT_LIMIT,
    cursor: deps.Cursor = None,
) -> Response:
    """List the runs of a tenant."""
    page = paging.page(runs.RUNS, limit, cursor, runs.CURSOR)
    chosen = runs.Filter(kind, name, state, thread.lower() if thread else None)
    async with call.parts.database.read() as conn:
        return answers.Json(await runs.listed(conn, call.tenant_id, call.tenant_name, chosen, page))


@router.get("/{id}", **answers.answers("Run", "The run", preconditions=True))
async def get_run(call: deps.RunRead, id: deps.Id, request: Request) -> Response:  # noqa: A002 - the path's word
    """Show a run with its input and output."""
    async with call.parts.database.read() as conn:
        row = await runs.row(conn, call.tenant_id, id)
    return answers.tagged(request, runs.shape(row, call.tenant_name), runs.version(row))


@router.get("/{id}/steps", **answers.answers("Page[RunStep]", "Steps, in the order in which they began"))
async def list_run_steps(
    call: deps.RunRead,
    id: deps.Id,  # noqa: A002 - the path's word
    limit: deps.Limit = paging.DEFAULT_LIMIT,
    cursor: deps.Cursor = None,
) -> Response:
    """List the steps of a run."""
    page = paging.page(runs.STEPS, limit, cursor, runs.STEP_CURSOR)
    async with call.parts.database.read() as conn:
        await runs.row(conn, call.tenant_id, id)
        return answers.Json(await runs.steps(conn, id, page))


@router.get("/{id}/events", **answers.answers("Page[RunEvent]", "Events, in order", stream="RunEvent"))
async def list_run_events(
    call: deps.RunRead,
    request: Request,
    id: deps.Id,  # noqa: A002 - the path's word
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="Sequence number to go on after")] = None,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
    limit: deps.Limit = paging.DEFAULT_LIMIT,
    cursor: deps.Cursor = None,
) -> Response:
    """List the events of a run, or with `Accept: text/event-stream` follow them until the run ends.

    The id of an event is its sequence number, its event name its type.
    """
    async with call.parts.database.read() as conn:
        await runs.row(conn, call.tenant_id, id)
        if "text/event-stream" not in request.headers.get("accept", ""):
            page = paging.page(runs.EVENTS, limit, cursor, runs.EVENT_CURSOR)
            return answers.Json(await runs.events(conn, id, after or 0, page))
    return sse.Stream(_frames(call, id, sse.last_event_id(last_event_id, after) or 0), call.parts.stopping)


async def _frames(call: deps.TenantCall, run_id: str, after: int) -> AsyncIterator[sse.Frame]:
    stream = events.stream(call.parts.database, call.tenant_id, run_id, max(after, 0))
    async for event in stream:
        shown = runs.event_shape(event.seq, event.type, event.step_path, event.data, event.at)
        yield sse.Frame(event.type, shown, event.seq)


@router.post(
    "/{id}/cancel",
    **answers.answers("Run", "The run, cancelled or about to be", problems=("Conflict",), preconditions=True),
)
async def cancel_run(
    call: deps.RunCancel,
    request: Request,
    id: deps.Id,  # noqa: A002 - the path's word
    idempotency_key: idempotency.Key = None,
) -> Response:
    """Cancel a run: at once where nothing works on it, else at its next step."""

    async def perform() -> idempotency.Outcome:
        db = call.parts.database
        if "if-match" in request.headers:
            async with db.read() as conn:
                answers.require_match(request, runs.version(await runs.row(conn, call.tenant_id, id)), f"run {id}")
        await records.request_cancel(db, call.tenant_id, id, call.actor, call.parts.clock)
        async with db.read() as conn:
            row = await runs.row(conn, call.tenant_id, id)
        return idempotency.Outcome(runs.shape(row, call.tenant_name), headers={"etag": f'"{runs.version(row)}"'})

    return await idempotency.once(call, request, idempotency_key, perform)
