"""The transitions of a segment: begun, waiting, ended.

A segment takes the run's fence when it begins and repeats it in every write. A write that finds another fence changes
nothing: another executor has the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import bulk, database, ids, tables
from agentos_controller.runs import queue, records, statements, states
from agentos_controller.runs.begun import Begun as Begun

STEP_UPDATED = ("state", "output", "error", "tokens_in", "tokens_out", "cost", "ended_at", "fence")
"""What a later row of the same step and attempt changes."""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a segment used. `cost` is micro-USD."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended. `error` is ``{class, message, step, details, retryable}``."""

    state: states.State
    output: Any = None
    outcome: str | None = None
    reason: str | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One open interrupt. `requested_of` are ``role/x`` and ``user/x``; `expires_at` is epoch microseconds."""

    interrupt_id: str
    step_path: str
    requested_of: Sequence[str]
    show: Any
    edit: Mapping[str, Any] | None
    quorum: int
    expires_at: int | None


async def begin(db: database.Database, run_id: str, segment: int, now: int) -> Begun | None:
    """Take the run for `segment`: pending → running, under a new fence. None: the run is not there to be taken."""
    async with db.write() as conn:
        taken = {"p_run_id": run_id, "p_segment": segment, "p_now": now}
        row = (await conn.execute(statements.BEGIN, taken)).one_or_none()
    if row is None:
        return None
    return Begun(
        run_id=row.id,
        tenant_id=row.tenant_id,
        tenant_name=row.tenant_name,
        tenant_spec=row.tenant_spec or {},
        thread_id=row.thread_id,
        kind=row.target_kind,
        name=row.target_name,
        digest=row.digest,
        revision=row.revision,
        generation=row.generation,
        segment=row.segment,
        fence=row.fence,
        delivery=row.attempts - row.segment,
        input=row.input,
        cause=row.cause,
        actor=row.actor,
        started_at=row.started_at,
        next_seq=(row.last_seq or 0) + 1,
        next_number=(row.last_number or 0) + 1,
    )


async def finish(
    db: database.Database, begun: Begun, end: End, usage: Usage, steps: Rows, events: Rows, now: int
) -> states.State | None:
    """End the run with its last rows. A cancelled run ends `cancelled`, whatever `end` says.

    Returns the state it ended in, None if another executor has the run.
    """
    row = await db.transact(lambda conn: _finish(conn, begun, end, usage, steps, events, now))
    if row is None:
        return None
    db.notify(f"run:{begun.run_id}", row)
    state: states.State = row.state
    return state


def _finish(conn: sa.Connection, begun: Begun, end: End, usage: Usage, steps: Rows, events: Rows, now: int) -> Any:
    ended = {
        "p_run_id": begun.run_id,
        "p_fence": begun.fence,
        "p_now": now,
        "p_tokens_in": usage.tokens_in,
        "p_tokens_out": usage.tokens_out,
        "p_cost": usage.cost,
        "p_steps": usage.steps,
    }
    told = {
        "p_output": end.output,
        "p_outcome": end.outcome,
        "p_reason": end.reason,
        "p_error": None if end.error is None else dict(end.error),
    }
    nothing = {"p_output": None, "p_outcome": None, "p_reason": "Cancelled", "p_error": None}
    row = conn.execute(statements.end(end.state), ended | told).one_or_none()
    if row is None:
        row = conn.execute(statements.end("cancelled"), ended | nothing).one_or_none()
        if row is None:
            return None
        events = [*events[:-1], {**events[-1], "type": "run.cancelled", "data": {}}]
    followed = begun.cause.get("type") == "schedule"
    records.give_back(conn, begun.tenant_id, begun.run_id, begun.thread_id, now, followed)
    put_rows(conn, steps, events)
    return row


async def wait(
    db: database.Database,
    begun: Begun,
    questions: Sequence[Question],
    usage: Usage,
    steps: Rows,
    events: Rows,
    now: int,
    starter: queue.Starter | None,
) -> bool:
    """Let the run wait for people; at once pending again where one of `questions` was answered in the meantime.

    False: another executor has the run, or it was cancelled.
    """
    run, approval, thread = tables.run, tables.approval, tables.thread
    async with db.write() as conn:
        done = await conn.execute(
            sa.update(run)
            .where(*_held(begun), run.c.state.in_(states.before("waiting")))
            .values(state="waiting", updated_at=now, **_usage(usage))
        )
        if not done.rowcount:
            return False
        await bulk.upsert_many(
            conn, approval, [_approval(begun, question, now) for question in questions], ["run_id", "interrupt_id"]
        )
        answered = await conn.execute(
            sa.select(sa.func.count())
            .select_from(approval)
            .where(
                approval.c.run_id == begun.run_id,
                approval.c.interrupt_id.in_([question.interrupt_id for question in questions]),
                approval.c.state != "open",
            )
        )
        again = bool(answered.scalar_one())
        await conn.execute(
            sa.update(thread)
            .where(thread.c.tenant_id == begun.tenant_id, thread.c.id == begun.thread_id)
            .values(state="busy" if again else "interrupted", updated_at=now)
        )
        await write_rows(conn, steps, events)
        if again:
            await resume(conn, begun.run_id, now, starter)
    if again:
        db.notify(queue.QUEUE)
    db.notify(f"run:{begun.run_id}")
    return True


async def resume(conn: AsyncConnection, run_id: str, now: int, starter: queue.Starter | None) -> bool:
    """waiting → pending with its next segment in the queue. False: it was not waiting."""
    run = tables.run
    moved = (
        await conn.execute(
            sa.update(run)
            .where(run.c.id == run_id, run.c.state.in_(("waiting",)))
            .values(state="pending", segment=run.c.segment + 1, queue=None, updated_at=now)
            .returning(run.c.segment, run.c.tenant_id, run.c.thread_id)
        )
    ).one_or_none()
    if moved is None:
        return False
    if starter is not None and await conn.run_sync(starter.enqueue, run_id, moved.segment):
        await conn.execute(sa.update(run).where(run.c.id == run_id).values(queue=queue.QUEUE))
    return True


async def write_rows(conn: AsyncConnection, steps: Rows, events: Rows) -> None:
    """Step rows, as the latest of each, and event rows, which are new."""
    await conn.run_sync(put_rows, steps, events)


def put_rows(conn: sa.Connection, steps: Rows, events: Rows) -> None:
    """`write_rows` for a transaction that is one function."""
    if steps:
        upsert = bulk.upsert(conn.dialect.name, tables.run_step, ("run_id", "path", "attempt"), STEP_UPDATED)
        conn.execute(upsert, [dict(row) for row in steps])
    if events:
        conn.execute(statements.EVENT, [dict(row) for row in events])


async def holders(conn: AsyncConnection, run_ids: Iterable[str]) -> dict[str, int]:
    """The fence each run has now."""
    run = tables.run
    found = await conn.execute(sa.select(run.c.id, run.c.fence).where(run.c.id.in_(list(run_ids))))
    return {row.id: row.fence for row in found}


def _held(begun: Begun) -> tuple[sa.ColumnElement[bool], ...]:
    return tables.run.c.id == begun.run_id, tables.run.c.fence == begun.fence


def _usage(usage: Usage) -> dict[str, Any]:
    run = tables.run
    return {
        "tokens_in": run.c.tokens_in + usage.tokens_in,
        "tokens_out": run.c.tokens_out + usage.tokens_out,
        "cost": run.c.cost + usage.cost,
        "steps": run.c.steps + usage.steps,
    }


def _approval(begun: Begun, question: Question, now: int) -> dict[str, Any]:
    return {
        "id": ids.new(),
        "tenant_id": begun.tenant_id,
        "run_id": begun.run_id,
        "segment": begun.segment,
        "interrupt_id": question.interrupt_id,
        "step_path": question.step_path,
        "requested_of": list(question.requested_of),
        "show": question.show,
        "edit": None if question.edit is None else dict(question.edit),
        "quorum": question.quorum,
        "votes": [],
        "state": "open",
        "created_at": now,
        "expires_at": question.expires_at,
    }
