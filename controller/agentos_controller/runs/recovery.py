"""Runs that nobody works on any more: redelivered, given up, or found without a place in the queue.

Called by the one executor there is. Which process may speak for which run, once there are several, is decided by
leases, which come with durability.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import database, tables
from agentos_controller.runs import records, states

MAX_DELIVERIES = 5
"""A run whose executor died this often is poison and ends `dead`."""


async def redeliver(db: database.Database, now: int) -> list[tuple[str, int]]:
    """After a start, when no executor lives: what one held is pending again, poison is `dead`, the cancelled end.

    What a redelivered run has used so far is counted anew from its steps. Returns the ``(run id, segment)`` of every
    run that is pending now.
    """
    run, step = tables.run, tables.run_step
    deaths = run.c.attempts - run.c.segment
    reason = f"the process died {MAX_DELIVERIES} times while it worked on this run"
    error = {"class": "Error", "message": reason, "step": None, "details": None, "retryable": False}

    def used(column: sa.Column[Any]) -> sa.ScalarSelect[Any]:
        total = sa.func.coalesce(sa.func.sum(column), 0)
        return sa.select(total).where(step.c.run_id == run.c.id).scalar_subquery()

    async with db.write() as conn:
        await _end(conn, (run.c.state == "running") & (deaths >= MAX_DELIVERIES), "dead", now, error)
        await _end(conn, run.c.state == "cancelling", "cancelled", now)
        await conn.execute(
            sa.update(run)
            .where(run.c.state == "running")
            .values(
                state="pending",
                queue=None,
                updated_at=now,
                tokens_in=used(step.c.tokens_in),
                tokens_out=used(step.c.tokens_out),
                cost=used(step.c.cost),
            )
        )
        live = await conn.execute(sa.select(run.c.id, run.c.segment).where(run.c.state == "pending"))
        return [(row.id, row.segment) for row in live]


async def abandon(db: database.Database, run_id: str, now: int) -> None:
    """cancelling → cancelled, for a run that has no worker."""
    async with db.write() as conn:
        await _end(conn, (tables.run.c.id == run_id) & (tables.run.c.state == "cancelling"), "cancelled", now)
    db.notify(f"run:{run_id}")


async def unqueued(conn: AsyncConnection, before: int, limit: int = 500) -> list[tuple[str, int]]:
    """Pending segments that no queue has: at once, but the first of an interactive run only if older than `before`."""
    run = tables.run
    found = await conn.execute(
        sa.select(run.c.id, run.c.segment)
        .where(
            run.c.state == "pending",
            run.c.queue.is_(None),
            sa.or_(run.c.interactive.is_(False), run.c.segment > 0, run.c.updated_at <= before),
        )
        .order_by(run.c.id)
        .limit(limit)
    )
    return [(row.id, row.segment) for row in found]


async def _end(
    conn: AsyncConnection,
    chosen: sa.ColumnElement[bool],
    state: states.State,
    now: int,
    error: dict[str, Any] | None = None,
) -> None:
    run = tables.run
    ended = await conn.execute(
        sa.update(run)
        .where(chosen, run.c.state.in_(states.before(state)))
        .values(
            state=state,
            reason="AttemptsExhausted" if state == "dead" else "Cancelled",
            error=error,
            ended_at=now,
            updated_at=now,
        )
        .returning(run.c.id, run.c.tenant_id, run.c.thread_id)
    )
    for row in ended.all():
        await records.release(conn, row.tenant_id, row.id, row.thread_id, now)
        await records.append_event(
            conn, row.tenant_id, row.id, f"run.{state}", {} if error is None else {"error": error}, now
        )
