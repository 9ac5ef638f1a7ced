"""What a due tick does: one transaction that advances the schedule, logs the tick and makes its run.

The cursor only advances, the log has one row per tick, and the run's key is made from the tick: whoever comes second
changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import bulk, clock, database, tables
from agentos_controller.runs import queue, records, states
from agentos_controller.scheduling import ticks
from agentos_engine import errors

Decision = Literal["started", "skipped_overlap", "skipped_late", "skipped_quota", "suspended"]
_REFUSED: Mapping[str, Decision] = {"Conflict": "skipped_overlap", "QuotaExceeded": "skipped_quota"}
PUNCTUAL_US = 60 * clock.SECOND
"""Up to this lateness a tick was not missed: it runs without `catchUp`."""
LOGGED = 20
"""Of a row of ticks that are too late, so many of the newest are logged; the others are counted."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Planned:
    """A schedule that serves, with its ticks and how far it came."""

    tenant_id: str
    name: str
    digest: str
    body: Mapping[str, Any]
    times: ticks.Times
    last_tick: int
    jitter: int
    next_tick: int | None = None

    @property
    def due_at(self) -> int | None:
        """When the next tick is to be handled."""
        return None if self.next_tick is None else self.next_tick + self.jitter

    def advance(self, tick: int) -> None:
        """Go on behind `tick`."""
        self.last_tick = tick
        after = self.times.after(tick)
        until = self.body.get("until")
        self.next_tick = None if after is None or (until and after >= ticks.moment(until)) else after

    def too_late(self, tick: int, now: int) -> bool:
        """Whether `tick` was missed for good."""
        return now - tick - self.jitter > max(int(self.body.get("catchUpMs") or 0) * 1_000, PUNCTUAL_US)


async def fire(
    db: database.Database, planned: Planned, tick: int, now: int, starter: queue.Starter | None
) -> Decision | None:
    """Handle one due tick; None if somebody did before. `planned` is not advanced."""
    async with db.write() as conn:
        if not await _advance(conn, planned, tick, 0):
            return None
        decision, run_id = await _decide(conn, planned, tick, now, starter)
        row = _row(planned, tick, now, decision, run_id)
        await bulk.upsert_many(conn, tables.fire, [row], ("tenant_id", "schedule", "tick"))
    if decision == "started":
        db.notify(queue.QUEUE)
    return decision


async def miss(db: database.Database, planned: Planned, missed: Sequence[int], now: int) -> None:
    """Pass over ticks that are too late, oldest first: all are counted, the newest are logged."""
    async with db.write() as conn:
        if await _advance(conn, planned, missed[-1], len(missed)):
            rows = [_row(planned, tick, now, "skipped_late", None) for tick in missed[-LOGGED:]]
            await bulk.upsert_many(conn, tables.fire, rows, ("tenant_id", "schedule", "tick"))


async def _advance(conn: AsyncConnection, planned: Planned, tick: int, misses: int) -> bool:
    state = tables.schedule_state
    moved = await conn.execute(
        sa.update(state)
        .where(
            state.c.tenant_id == planned.tenant_id,
            state.c.name == planned.name,
            state.c.artifact_digest == planned.digest,
            sa.or_(state.c.last_tick.is_(None), state.c.last_tick < tick),
        )
        .values(last_tick=tick, next_tick=planned.times.after(tick), misses=state.c.misses + misses)
    )
    return moved.rowcount > 0


async def _decide(
    conn: AsyncConnection, planned: Planned, tick: int, now: int, starter: queue.Starter | None
) -> tuple[Decision, str | None]:
    body = planned.body
    if body.get("suspend") or await _suspended(conn, planned):
        return "suspended", None
    overlap = body.get("overlap") or "skip"
    before = None if overlap == "allow" else await _still_working(conn, planned)
    if before is not None and overlap == "skip":
        return "skipped_overlap", None
    target = body["run"]
    wanted = records.Wanted(
        tenant_id=planned.tenant_id,
        kind=target["kind"],
        name=target["name"],
        input=_rendered(target.get("with") or {}),
        cause={"type": "schedule", "schedule": planned.name, "tick": clock.rfc3339(tick)},
        actor=f"schedule:{planned.name}",
        thread_id=_thread(planned.tenant_id, target.get("thread")),
        key=f"sched:Schedule/{planned.name}:{tick}",
        after=before,
    )
    try:
        async with conn.begin_nested():
            row = await records.create(conn, wanted, now, starter)
    except errors.Problem as problem:
        # The tick is over either way; what keeps it from running is said where people look for it.
        _log.warning(
            "a schedule's run was refused",
            extra={
                "schedule": planned.name,
                "tenant": planned.tenant_id,
                "code": problem.code,
                "detail": problem.detail,
            },
        )
        drains = "drainUntil" in problem.extra
        return "suspended" if drains else _REFUSED.get(problem.code, "suspended"), None
    return "started", row.id


async def _suspended(conn: AsyncConnection, planned: Planned) -> bool:
    """Whether somebody suspended the schedule as a resource."""
    table = tables.resource
    query = sa.select(table.c.suspended_by).where(
        table.c.tenant_id == planned.tenant_id, table.c.kind == "Schedule", table.c.name == planned.name
    )
    return await conn.scalar(query) is not None


async def _still_working(conn: AsyncConnection, planned: Planned) -> str | None:
    """The run of the tick before, if it has not ended."""
    logged, run = tables.fire, tables.run
    row = (
        await conn.execute(
            sa.select(run.c.id, run.c.state)
            .join(logged, logged.c.run_id == run.c.id)
            .where(logged.c.tenant_id == planned.tenant_id, logged.c.schedule == planned.name)
            .order_by(logged.c.tick.desc())
            .limit(1)
        )
    ).one_or_none()
    return row.id if row is not None and row.state in states.LIVE else None


def _row(planned: Planned, tick: int, now: int, decision: Decision, run_id: str | None) -> dict[str, Any]:
    return {
        "tenant_id": planned.tenant_id,
        "schedule": planned.name,
        "tick": tick,
        "decision": decision,
        "run_id": run_id,
        "lateness": max(0, now - tick),
        "at": now,
    }


def _rendered(value: Any) -> Any:
    """A value of a schedule with its expressions evaluated; they can see nothing but constants."""
    # Imported here: CEL is slow to load, and the API does without.
    from agentos_engine.expressions import evaluate

    return evaluate.render_value(value, {})


def _thread(tenant_id: str, given: Any) -> str | None:
    """A thread id: a UUID as it is, any other text as the UUID that stands for it in this tenant."""
    if given is None:
        return None
    text = str(_rendered(given))
    try:
        return str(UUID(text))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, f"agentos:{tenant_id}/{text}"))
