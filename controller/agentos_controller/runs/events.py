"""Event and step rows of runs: one group-commit writer per process, and the stream a client follows.

Rows of many runs share a transaction. A run's rows enter in the order of their sequence numbers and leave in it, so a
reader who asks for "later than n" misses none. Only what the fence of the run still covers is written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from agentos_controller import database, tables
from agentos_controller.runs import segments, states
from agentos_engine import errors

WINDOW = 0.02
"""Seconds a row may wait for others."""
SLOW_POLL = 2.0
"""Seconds after which a stream looks without having been woken."""
PAGE = 500
FINAL_EVENTS = frozenset(f"run.{state}" for state in states.FINAL)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Batch:
    """Rows of one run that are not written yet."""

    fence: int
    steps: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    def add_step(self, row: dict[str, Any]) -> None:
        """Fold `row` into what is there of the same step and attempt."""
        known = self.steps.get((row["path"], row["attempt"]))
        if known is None:
            self.steps[row["path"], row["attempt"]] = row
        else:
            known.update({name: row[name] for name in segments.STEP_UPDATED})

    def extend(self, later: Batch) -> None:
        for row in later.steps.values():
            self.add_step(row)
        self.events.extend(later.events)


class Writer:
    """Collects rows and commits them together, at the latest `WINDOW` seconds after they came."""

    def __init__(self, db: database.Database) -> None:
        self._db = db
        self._waiting: dict[str, Batch] = {}
        self._flying: dict[str, Batch] = {}
        self._landed = asyncio.Event()
        self._landed.set()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def batch(self, run_id: str, fence: int) -> Batch:
        """Where to put rows of a run; they are written soon."""
        known = self._waiting.get(run_id)
        if known is None or known.fence != fence:
            known = self._waiting[run_id] = Batch(fence)
        if self._timer is None and self._task is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW, self._start)
        return known

    async def drain(self, run_id: str) -> Batch | None:
        """Take the rows of a run that are not written yet, for the transaction that ends its segment."""
        while run_id in self._flying:
            await self._landed.wait()
        return self._waiting.pop(run_id, None)

    async def close(self) -> None:
        """Write what is left."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await self._task
        await self._flush()

    def _start(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._work(), name="run-events")

    async def _work(self) -> None:
        try:
            await self._flush()
        finally:
            self._task = None
            if self._waiting:
                self._timer = asyncio.get_running_loop().call_later(WINDOW, self._start)

    async def _flush(self) -> None:
        if not self._waiting:
            return
        self._flying, self._waiting = self._waiting, {}
        self._landed.clear()
        try:
            await self._write(self._flying)
        except IntegrityError:
            # One run was taken by another executor between check and insert; the others shall not suffer for it.
            for run_id, batch in self._flying.items():
                try:
                    await self._write({run_id: batch})
                except IntegrityError:
                    _log.warning("run events dropped: another executor has the run", extra={"run": run_id})
        except Exception:
            _log.exception("run events could not be written; they stay queued")
            for run_id, batch in self._flying.items():
                later = self._waiting.get(run_id)
                if later is not None and later.fence == batch.fence:
                    batch.extend(later)
                if later is None or later.fence == batch.fence:
                    self._waiting[run_id] = batch
        finally:
            self._flying = {}
            self._landed.set()

    async def _write(self, batches: dict[str, Batch]) -> None:
        async with self._db.write() as conn:
            fences = await segments.holders(conn, batches)
            held = {run_id: batch for run_id, batch in batches.items() if fences.get(run_id) == batch.fence}
            await segments.write_rows(
                conn,
                [row for batch in held.values() for row in batch.steps.values()],
                [row for batch in held.values() for row in batch.events],
            )
        for run_id in held:
            self._db.notify(f"run:{run_id}")


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a run. `seq` grows within the run and is the id a client resumes from; `at` is epoch µs."""

    seq: int
    type: str
    step_path: str | None
    data: Any
    at: int


async def stream(db: database.Database, tenant_id: str, run_id: str, after: int = 0) -> AsyncIterator[Event]:
    """The events of a run later than `after`: those that are there, then each as it comes, up to the final one.

    Raises:
        errors.Problem: ``NotFound``.
    """
    with db.subscribe(f"run:{run_id}") as news:
        while True:
            # The state is read before the events: if it is final, no event can follow those that are found.
            state, found = await _look(db, tenant_id, run_id, after)
            for event in found:
                after = event.seq
                yield event
                if event.type in FINAL_EVENTS:
                    return
            if len(found) == PAGE:
                continue
            if state in states.FINAL:
                return
            await news.wait(SLOW_POLL)


async def _look(db: database.Database, tenant_id: str, run_id: str, after: int) -> tuple[str, list[Event]]:
    run, event = tables.run, tables.run_event
    async with db.read() as conn:
        state = await conn.scalar(sa.select(run.c.state).where(run.c.id == run_id, run.c.tenant_id == tenant_id))
        if state is None:
            raise errors.Problem("NotFound", f"There is no run {run_id}")
        rows = await conn.execute(
            sa.select(event.c.seq, event.c.type, event.c.step_path, event.c.data, event.c.at)
            .where(event.c.run_id == run_id, event.c.seq > after)
            .order_by(event.c.seq)
            .limit(PAGE)
        )
        return state, [Event(row.seq, row.type, row.step_path, row.data, row.at) for row in rows]
