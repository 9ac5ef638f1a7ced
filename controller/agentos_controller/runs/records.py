"""The rows of a run: made, claimed and cancelled in short transactions.

No DBOS and no LangGraph here. A run is pinned when it is made: to the tenant's live generation and the artifact digest
of its target, which pins everything that is called from there. One thread has one active run; a second is refused.
What a segment writes is in `segments`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import audit, bulk, clock, database, ids, tables
from agentos_controller.runs import bodies, inputs, queue, statements, states
from agentos_engine import errors

RUNNABLE = ("Agent", "Workflow")
KEY_KEPT_US = 7 * 24 * 3600 * clock.SECOND
"""How long an idempotency key is remembered."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as its maker sees it. `existing`: it was made before, under the same key."""

    id: str
    tenant_id: str
    thread_id: str
    kind: str
    name: str
    state: str
    segment: int
    generation: int
    revision: str
    digest: str
    existing: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run somebody asks for.

    `cause` is JSON with `type` (``api``, ``schedule``, ``trigger``, ``run``, ``console``) and what identifies it.
    `key` is the idempotency key (`sched:…`, `api:…`). An `interactive` run is started at once by the caller, any
    other through the queue; `after` names a run that has to end first.
    """

    tenant_id: str
    kind: str
    name: str
    input: Any
    cause: Mapping[str, Any]
    actor: str
    thread_id: str | None = None
    key: str | None = None
    interactive: bool = False
    after: str | None = None


async def create_run(
    db: database.Database,
    *,
    tenant_id: str,
    kind: str,
    name: str,
    input: Any,  # noqa: A002 - the word of the API
    cause: Mapping[str, Any],
    actor: str,
    thread_id: str | None = None,
    key: str | None = None,
    interactive: bool,
    clock: clock.Clock,
    starter: queue.Starter | None = None,
) -> RunRow:
    """Make a run in one transaction and signal it, or return the one made before under the same `key`.

    Raises:
        errors.Problem: ``NotFound`` (no such runnable resource serves), ``InvalidRequest`` (the input does not fit),
            ``Conflict`` (the thread is busy, the tenant takes no runs).
    """
    wanted = Wanted(tenant_id, kind, name, input, cause, actor, thread_id, key, interactive)
    async with db.write() as conn:
        row = await create(conn, wanted, clock.now_us(), starter)
    if not row.existing and not interactive:
        db.notify(queue.QUEUE)
    return row


async def create(conn: AsyncConnection, wanted: Wanted, now: int, starter: queue.Starter | None = None) -> RunRow:
    """`create_run` within the caller's transaction, which has to signal `queue.QUEUE` after its commit."""
    if wanted.kind not in RUNNABLE:
        raise errors.Problem("InvalidRequest", f"A {wanted.kind} cannot be run; an Agent or a Workflow can")
    thread_id = _uuid(wanted.thread_id) if wanted.thread_id else ids.new()
    run_id = ids.new()
    if wanted.key and (holder := await _hold_key(conn, wanted, run_id, now)) is not None:
        return await _existing(conn, wanted.tenant_id, holder)
    pin = await _pin(conn, wanted)
    body = await bodies.read(conn, wanted.tenant_id, pin.artifact_digest)
    given = {} if wanted.input is None else wanted.input
    inputs.check(f"{wanted.kind}/{wanted.name}", body, given)
    in_queue = False
    if not wanted.interactive and wanted.after is None and starter is not None:
        in_queue = await starter.enqueue(conn, run_id, 0)
    waits = f"after:{wanted.after}" if wanted.after else None
    cause = dict(wanted.cause)
    await conn.execute(
        statements.RUN,
        {
            "id": run_id,
            "tenant_id": wanted.tenant_id,
            "thread_id": thread_id,
            "target_kind": wanted.kind,
            "target_name": wanted.name,
            "target_digest": pin.digest,
            "generation": pin.active_seq,
            "revision": pin.revision,
            "digest": pin.artifact_digest,
            "state": "pending",
            "interactive": wanted.interactive,
            "segment": 0,
            "fence": 0,
            "priority": 0,
            "queue": queue.QUEUE if in_queue else waits,
            "idempotency_key": wanted.key,
            "cause": cause,
            "actor": wanted.actor,
            "root_run_id": run_id,
            "input": given,
            "tokens_in": 0,
            "tokens_out": 0,
            "cost": 0,
            "steps": 0,
            "attempts": 0,
            "created_at": now,
            "updated_at": now,
        },
    )
    await _claim_thread(conn, wanted, thread_id, run_id, pin, now)
    made = {"kind": wanted.kind, "name": wanted.name, "generation": pin.active_seq, "cause": cause}
    await _event(conn, wanted.tenant_id, run_id, 1, "run.created", made, now)
    await audit.append(
        conn,
        wanted.tenant_id,
        wanted.actor,
        "run.create",
        f"Run/{run_id}",
        pin.revision,
        "done",
        {"target": f"{wanted.kind}/{wanted.name}", "cause": cause},
        at=now,
    )
    return RunRow(
        run_id,
        wanted.tenant_id,
        thread_id,
        wanted.kind,
        wanted.name,
        "pending",
        0,
        pin.active_seq,
        pin.revision,
        pin.artifact_digest,
    )


async def request_cancel(
    db: database.Database, tenant_id: str, run_id: str, actor: str, clock: clock.Clock
) -> dict[str, Any]:
    """Cancel a run: at once if nothing works on it, else at its next step. Returns ``{id, state}``.

    Raises:
        errors.Problem: ``NotFound``, or ``Conflict`` if it has ended.
    """
    now = clock.now_us()
    async with db.write() as conn:
        state = await _cancel(conn, tenant_id, run_id, actor, now)
    db.notify(queue.QUEUE)
    db.notify(f"run:{run_id}")
    return {"id": run_id, "state": state}


async def _cancel(conn: AsyncConnection, tenant_id: str, run_id: str, actor: str, now: int) -> str:
    table = tables.run
    mine = (table.c.id == run_id, table.c.tenant_id == tenant_id)
    stamp = {"cancel_requested_at": now, "updated_at": now}
    asked = await conn.execute(
        sa.update(table)
        .where(*mine, table.c.state.in_(states.before("cancelling")))
        .values(state="cancelling", **stamp)
    )
    if asked.rowcount:
        state = "cancelling"
    else:
        ended = (
            await conn.execute(
                sa.update(table)
                .where(*mine, table.c.state.in_([s for s in states.before("cancelled") if s != "cancelling"]))
                .values(state="cancelled", ended_at=now, reason="Cancelled", **stamp)
                .returning(table.c.thread_id)
            )
        ).one_or_none()
        if ended is None:
            current = (await conn.execute(sa.select(table.c.state).where(*mine))).scalar_one_or_none()
            if current is None:
                raise errors.Problem("NotFound", f"There is no run {run_id}")
            if current != "cancelling":
                raise errors.Problem("Conflict", f"Run {run_id} has ended already: {current}", state=current)
            return str(current)
        await _withdraw(conn, tenant_id, run_id, ended.thread_id, actor, now)
        state = "cancelled"
    await audit.append(conn, tenant_id, actor, "run.cancel", f"Run/{run_id}", None, state, {}, at=now)
    return state


async def _withdraw(conn: AsyncConnection, tenant_id: str, run_id: str, thread_id: str, actor: str, now: int) -> None:
    """What ends with a run that no segment ends: its open questions, its hold on the thread, its event log."""
    await conn.execute(
        sa.update(tables.approval)
        .where(tables.approval.c.run_id == run_id, tables.approval.c.state == "open")
        .values(state="cancelled", decided_by=actor, decided_at=now)
    )
    await release(conn, tenant_id, run_id, thread_id, now)
    await append_event(conn, tenant_id, run_id, "run.cancelled", {"actor": actor}, now)


async def append_event(
    conn: AsyncConnection, tenant_id: str, run_id: str, type_: str, data: Mapping[str, Any], now: int
) -> None:
    """The next event of a run that no segment is working on; a working one counts its events itself."""
    event = tables.run_event
    last = await conn.execute(sa.select(sa.func.max(event.c.seq)).where(event.c.run_id == run_id))
    await _event(conn, tenant_id, run_id, (last.scalar_one() or 0) + 1, type_, dict(data), now)


async def _event(
    conn: AsyncConnection, tenant_id: str, run_id: str, seq: int, type_: str, data: dict[str, Any], now: int
) -> None:
    row = {
        "run_id": run_id,
        "seq": seq,
        "tenant_id": tenant_id,
        "type": type_,
        "step_path": None,
        "data": data,
        "at": now,
    }
    await conn.execute(statements.EVENT, row)


async def release(
    conn: AsyncConnection, tenant_id: str, run_id: str, thread_id: str, now: int, followed: bool = True
) -> None:
    """Give a run's thread back, and let the runs go on that waited for its end."""
    await conn.execute(
        statements.RELEASE, {"p_tenant_id": tenant_id, "p_thread_id": thread_id, "p_run_id": run_id, "p_now": now}
    )
    if followed:
        await conn.execute(statements.FOLLOW, {"p_tenant_id": tenant_id, "p_queue": f"after:{run_id}"})


@dataclass(frozen=True, slots=True)
class _Pin:
    active_seq: int
    revision: str
    digest: str
    artifact_digest: str


async def _pin(conn: AsyncConnection, wanted: Wanted) -> _Pin:
    """What serves in the live generation."""
    asked = {"p_tenant_id": wanted.tenant_id, "p_kind": wanted.kind, "p_name": wanted.name}
    row = (await conn.execute(statements.PIN, asked)).one_or_none()
    if row is None or row.active_seq is None or row.artifact_digest is None:
        raise errors.Problem("NotFound", f"No {wanted.kind} named {wanted.name} serves here")
    if row.state != "active":
        raise errors.Problem("Conflict", f"The tenant is {row.state} and takes no runs")
    return _Pin(row.active_seq, row.revision, row.digest, row.artifact_digest)


async def _hold_key(conn: AsyncConnection, wanted: Wanted, run_id: str, now: int) -> str | None:
    """The run that has the key already, None if it is ours now."""
    table = tables.run_key
    insert = bulk.insert(conn, table).values(
        tenant_id=wanted.tenant_id, key=wanted.key, run_id=run_id, expires_at=now + KEY_KEPT_US
    )
    ours = insert.on_conflict_do_nothing(index_elements=["tenant_id", "key"]).returning(table.c.run_id)
    if (await conn.execute(ours)).one_or_none() is not None:
        return None
    held = await conn.execute(
        sa.select(table.c.run_id).where(table.c.tenant_id == wanted.tenant_id, table.c.key == wanted.key)
    )
    return str(held.scalar_one())


async def _existing(conn: AsyncConnection, tenant_id: str, run_id: str) -> RunRow:
    run = tables.run
    row = (await conn.execute(sa.select(run).where(run.c.id == run_id, run.c.tenant_id == tenant_id))).one_or_none()
    if row is None:
        raise errors.Problem("Conflict", f"The key was used by run {run_id}, which is kept no longer")
    return RunRow(
        row.id,
        row.tenant_id,
        row.thread_id,
        row.target_kind,
        row.target_name,
        row.state,
        row.segment,
        row.generation,
        row.revision,
        row.digest,
        existing=True,
    )


async def _claim_thread(
    conn: AsyncConnection, wanted: Wanted, thread_id: str, run_id: str, pin: _Pin, now: int
) -> None:
    row = {
        "tenant_id": wanted.tenant_id,
        "id": thread_id,
        "digest": pin.artifact_digest,
        "revision": pin.revision,
        "target_kind": wanted.kind,
        "target_name": wanted.name,
        "upgrade": "pin",
        "state": "busy",
        "active_run_id": run_id,
        "created_at": now,
        "updated_at": now,
    }
    taken = await conn.execute(statements.claim(conn.dialect.name), row)
    if taken.one_or_none() is None:
        raise errors.Problem("Conflict", f"Thread {thread_id} is busy with another run", thread=thread_id)


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise errors.Problem("InvalidRequest", f"A thread id is a UUID, not {text!r}") from None
