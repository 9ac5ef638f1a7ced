"""Keeps the ticks of every serving schedule in memory and handles each when it is due.

Memory is only a reminder: it is built anew from the rows whenever a generation changes, and looked over slowly besides.
One process schedules here; that several may is prepared by the rows, and comes with durability.
"""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa

from agentos_controller import clock, database, tables
from agentos_controller.runs import bodies, queue
from agentos_controller.scheduling import firing, ticks

SLOW_POLL = 30.0
"""Seconds between looks at the rows without a signal."""
AT_ONCE = 1_000
"""Ticks of one schedule handled in one go."""

_log = logging.getLogger(__name__)


class Scheduler:
    """One per process; `run` is to be kept running."""

    def __init__(self, db: database.Database, source: clock.Clock, starter: queue.Starter | None = None) -> None:
        self._db = db
        self._clock = source
        self._starter = starter
        self._planned: dict[tuple[str, str], firing.Planned] = {}
        self._looked = source.monotonic()
        self._failures = 0

    async def run(self) -> None:
        """Handle ticks as they come due, until cancelled."""
        with self._db.subscribe("generations") as news:
            reload = True
            while True:
                pause = SLOW_POLL
                try:
                    if reload:
                        await self.reload()
                    pause = await self.handle()
                    self._failures = 0
                except Exception:
                    self._failures += 1
                    _log.exception("a look at the schedules failed; it goes on")
                self._looked = self._clock.monotonic()
                signalled = await news.wait(pause)
                reload = signalled or pause >= SLOW_POLL or self._failures > 0

    async def reload(self) -> None:
        """Read which schedules serve, and how far each came."""
        state, artifact, tenant = tables.schedule_state, tables.artifact, tables.tenant
        query = (
            sa.select(state)
            .join(tenant, tenant.c.id == state.c.tenant_id)
            .join(
                artifact, (artifact.c.tenant_id == state.c.tenant_id) & (artifact.c.digest == state.c.artifact_digest)
            )
            .where(tenant.c.deleted_at.is_(None))
        )
        found: dict[tuple[str, str], firing.Planned] = {}
        async with self._db.read() as conn:
            for row in (await conn.execute(query)).all():
                key = (row.tenant_id, row.name)
                known = self._planned.get(key)
                if known is not None and known.digest == row.artifact_digest and known.last_tick == row.last_tick:
                    found[key] = known
                    continue
                body = await bodies.read(conn, row.tenant_id, row.artifact_digest)
                try:
                    found[key] = self._plan(row, body)
                except Exception:
                    _log.exception(
                        "a schedule cannot be planned", extra={"schedule": row.name, "tenant": row.tenant_id}
                    )
        await self._show_next([plan for key, plan in found.items() if self._planned.get(key) is not plan])
        self._planned = found

    async def handle(self) -> float:
        """Handle every tick that is due; the seconds until the next one, at most `SLOW_POLL`."""
        now = self._clock.now_us()
        soonest = now + round(SLOW_POLL * clock.SECOND)
        for planned in list(self._planned.values()):
            try:
                await self._handle(planned, now)
            except Exception:
                # One schedule's trouble is not another's; it is tried again with the next look.
                _log.exception("a tick failed", extra={"schedule": planned.name, "tenant": planned.tenant_id})
                continue
            if planned.due_at is not None:
                soonest = min(soonest, planned.due_at)
        return max(0.0, (soonest - self._clock.now_us()) / clock.SECOND)

    def progress(self) -> dict[str, Any]:
        """For readiness: ``ok`` while the loop makes progress."""
        age = self._clock.monotonic() - self._looked
        return {
            "ok": age < 4 * SLOW_POLL and self._failures < 3,
            "schedules": len(self._planned),
            "secondsSinceLook": round(age, 3),
        }

    async def _handle(self, planned: firing.Planned, now: int) -> None:
        missed: list[int] = []
        for _ in range(AT_ONCE):
            if planned.due_at is None or planned.due_at > now:
                break
            tick = planned.next_tick
            assert tick is not None
            if planned.too_late(tick, now):
                missed.append(tick)
            else:
                if missed:
                    await firing.miss(self._db, planned, missed, now)
                    missed = []
                await firing.fire(self._db, planned, tick, now, self._starter)
            planned.advance(tick)
        if missed:
            await firing.miss(self._db, planned, missed, now)

    def _plan(self, row: Any, body: dict[str, Any]) -> firing.Planned:
        last = row.last_tick if row.last_tick is not None else self._clock.now_us()
        jitter = ticks.jitter(row.tenant_id, row.name, int(body.get("jitterMs") or 0) * 1_000)
        planned = firing.Planned(row.tenant_id, row.name, row.artifact_digest, body, ticks.times(body), last, jitter)
        planned.advance(last)
        return planned

    async def _show_next(self, planned: list[firing.Planned]) -> None:
        """Write when each ticks next, for those who look; and where a schedule without a cursor began."""
        if not planned:
            return
        state = tables.schedule_state
        async with self._db.write() as conn:
            for plan in planned:
                await conn.execute(
                    sa.update(state)
                    .where(
                        state.c.tenant_id == plan.tenant_id,
                        state.c.name == plan.name,
                        state.c.artifact_digest == plan.digest,
                        sa.or_(state.c.last_tick.is_(None), state.c.last_tick == plan.last_tick),
                    )
                    .values(last_tick=plan.last_tick, next_tick=plan.next_tick)
                )
