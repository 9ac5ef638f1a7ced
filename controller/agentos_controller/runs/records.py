"""The rows of a run: made, claimed and cancelled in short transactions.

No DBOS and no LangGraph here. A run is pinned when it is made: to the tenant's live generation and the artifact digest
of its target, which pins everything that is called from there. One thread has one active run; a second is refused.
What a segment writes is in `segments`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import audit, bulk, clock, database, ids, tables
from agentos_controller.runs import begun, bodies, inputs, queue, quotas, statements, states
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
    other through the queue; `after` names a run that has to end first. `run_id` is the id it is to have.
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
    run_id: str | None = None


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
    run_id: str | None = None,
) -> RunRow:
    """Make a run in one transaction and signal it, or return the one made before under the same `key`.

    Where it can be worked on here, an interactive run begins in the same transaction and is `running` at once.
    `run_id` is a fresh id, for who wants to know it before.

    Raises:
        errors.Problem: ``NotFound`` (no such runnable resource serves), ``InvalidRequest`` (the input does not fit),
            ``Conflict`` (the thread is busy, the tenant or what is to run takes no runs), ``QuotaExceeded``.
    """
    wanted = Wanted(tenant_id, kind, name, input, cause, actor, thread_id, key, interactive, run_id=run_id)
    now = clock.now_us()
    if not interactive or starter is None or not starter.works():
        row, _ = await db.transact(lambda conn: _make(conn, wanted, now, starter))
        if not row.existing:
            db.notify(queue.QUEUE)
        return row
    # Whoever asked may go away between the commit and its news: the run has begun and is worked on all the same.
    task = asyncio.get_running_loop().create_task(_begin(db, wanted, now, starter))
    starter.keep(task)
    return await asyncio.shield(task)


async def _begin(db: database.Database, wanted: Wanted, now: int, starter: queue.Starter) -> RunRow:
    row, first = await db.transact(lambda conn: _make(conn, wanted, now, starter, begins=True))
    if first is not None:
        starter.take(first)
    return row


async def create(conn: AsyncConnection, wanted: Wanted, now: int, starter: queue.Starter | None = None) -> RunRow:
    """`create_run` within the caller's transaction, which has to signal `queue.QUEUE` after its commit."""
    row, _ = await conn.run_sync(_make, wanted, now, starter)
    return row


def _make(
    conn: sa.Connection, wanted: Wanted, now: int, starter: queue.Starter | None = None, begins: bool = False
) -> tuple[RunRow, begun.Begun | None]:
    """The rows of a new run. `begins`: its first segment begins with it, which the caller then has to work off."""
    if wanted.kind not in RUNNABLE:
        raise errors.Problem("InvalidRequest", f"A {wanted.kind} cannot be run; an Agent or a Workflow can")
    thread_id = _uuid(wanted.thread_id) if wanted.thread_id else ids.new()
    run_id = wanted.run_id or ids.new()
    if wanted.key and (holder := _hold_key(conn, wanted, run_id, now)) is not None:
        return _existing(conn, wanted.tenant_id, holder), None
    pin = _pin(conn, wanted)
    body = bodies.load(conn, wanted.tenant_id, pin.artifact_digest)
    given = {} if wanted.input is None else wanted.input
    inputs.check(f"{wanted.kind}/{wanted.name}", body, given)
    if quota := pin.tenant_spec.get("quota"):
        quotas.check(conn, wanted.tenant_id, quota, now)
    in_queue = False
    if not wanted.interactive and wanted.after is None and starter is not None:
        in_queue = starter.enqueue(conn, run_id, 0)
    waits = f"after:{wanted.after}" if wanted.after else None
    cause = dict(wanted.cause)
    _claim_thread(conn, wanted, thread_id, run_id, pin, now)
    conn.execute(
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
            "state": "running" if begins else "pending",
            "interactive": wanted.interactive,
            "segment": 0,
            "fence": int(begins),
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
            "attempts": int(begins),
            "created_at": now,
            "started_at": now if begins else None,
            "updated_at": now,
        },
    )
    made = {"kind": wanted.kind, "name": wanted.name, "generation": pin.active_seq, "cause": cause}
    _event(conn, wanted.tenant_id, run_id, 1, "run.created", made, now)
    audit.record(
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
    row = RunRow(
        run_id,
        wanted.tenant_id,
        thread_id,
        wanted.kind,
        wanted.name,
        "running" if begins else "pending",
        0,
        pin.active_seq,
        pin.revision,
        pin.artifact_digest,
    )
    return row, _first(row, wanted, pin, given, now) if begins else None


def _first(row: RunRow, wanted: Wanted, pin: _Pin, given: Any, now: int) -> begun.Begun:
    """Segment 0 of a run that began as it was made."""
    return begun.Begun(
        run_id=row.id,
        tenant_id=row.tenant_id,
        tenant_name=pin.tenant_name,
        tenant_spec=pin.tenant_spec,
        thread_id=row.thread_id,
        kind=row.kind,
        name=row.name,
        digest=row.digest,
        revision=row.revision,
        generation=row.generation,
        segment=0,
        fence=1,
        delivery=1,
        input=given,
        cause=dict(wanted.cause),
        actor=wanted.actor,
        started_at=now,
        next_seq=2,
        next_number=1,
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
    await conn.run_sync(_event, tenant_id, run_id, (last.scalar_one() or 0) + 1, type_, dict(data), now)


def _event(
    conn: sa.Connection, tenant_id: str, run_id: str, seq: int, type_: str, data: dict[str, Any], now: int
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
    conn.execute(statements.EVENT, row)


async def release(
    conn: AsyncConnection, tenant_id: str, run_id: str, thread_id: str, now: int, followed: bool = True
) -> None:
    """Give a run's thread back, and let the runs go on that waited for its end."""
    await conn.run_sync(give_back, tenant_id, run_id, thread_id, now, followed)


def give_back(
    conn: sa.Connection, tenant_id: str, run_id: str, thread_id: str, now: int, followed: bool = True
) -> None:
    """`release` for a transaction that is one function."""
    conn.execute(
        statements.RELEASE, {"p_tenant_id": tenant_id, "p_thread_id": thread_id, "p_run_id": run_id, "p_now": now}
    )
    if followed:
        conn.execute(statements.FOLLOW, {"p_tenant_id": tenant_id, "p_queue": f"after:{run_id}"})


@dataclass(frozen=True, slots=True)
class _Pin:
    active_seq: int
    revision: str
    digest: str
    artifact_digest: str
    tenant_name: str
    tenant_spec: Mapping[str, Any]


def _pin(conn: sa.Connection, wanted: Wanted) -> _Pin:
    """What serves in the live generation."""
    asked = {"p_tenant_id": wanted.tenant_id, "p_kind": wanted.kind, "p_name": wanted.name}
    row = conn.execute(statements.PIN, asked).one_or_none()
    if row is None or row.active_seq is None or row.artifact_digest is None:
        raise errors.Problem("NotFound", f"No {wanted.kind} named {wanted.name} serves here")
    if row.state != "active":
        raise errors.Problem("Conflict", f"The tenant is {row.state} and takes no runs")
    if row.drain_until is not None:
        until = clock.rfc3339(row.drain_until)
        told = f"{wanted.kind}/{wanted.name} is removed and takes no new runs; it goes by {until}"
        raise errors.Problem("Conflict", told, drainUntil=until)
    return _Pin(row.active_seq, row.revision, row.digest, row.artifact_digest, row.name, row.spec or {})


def _hold_key(conn: sa.Connection, wanted: Wanted, run_id: str, now: int) -> str | None:
    """The run that has the key already, None if it is ours now."""
    table = tables.run_key
    insert = bulk.insert(conn, table).values(
        tenant_id=wanted.tenant_id, key=wanted.key, run_id=run_id, expires_at=now + KEY_KEPT_US
    )
    ours = insert.on_conflict_do_nothing(index_elements=["tenant_id", "key"]).returning(table.c.run_id)
    if conn.execute(ours).one_or_none() is not None:
        return None
    held = conn.execute(
        sa.select(table.c.run_id).where(table.c.tenant_id == wanted.tenant_id, table.c.key == wanted.key)
    )
    return str(held.scalar_one())


def _existing(conn: sa.Connection, tenant_id: str, run_id: str) -> RunRow:
    run = tables.run
    row = conn.execute(sa.select(run).where(run.c.id == run_id, run.c.tenant_id == tenant_id)).one_or_none()
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


def _claim_thread(conn: sa.Connection, wanted: Wanted, thread_id: str, run_id: str, pin: _Pin, now: int) -> None:
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
    if wanted.thread_id is None:
        conn.execute(statements.THREAD, row)
        return
    taken = conn.execute(statements.claim(conn.dialect.name), row)
    if taken.one_or_none() is None:
        raise errors.Problem("Conflict", f"Thread {thread_id} is busy with another run", thread=thread_id)


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise errors.Problem("InvalidRequest", f"A thread id is a UUID, not {text!r}") from None
