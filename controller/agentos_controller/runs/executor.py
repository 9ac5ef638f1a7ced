"""Works runs off in this process: starts them, recovers what a dead process left, and sweeps up what waits.

Cheap to import and to make: DBOS, LangGraph and the providers come with `launch`, after the API is ready. Until then
`start` and `enqueue` decline, and nothing is lost: the first sweep finds every run that is pending. One process works
on a database here; leases that let several do so come with durability.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import clock, database, ids, tables
from agentos_controller.runs import approvals, events, queue, recovery

if TYPE_CHECKING:
    from agentos_controller.runs import begun, durable, services, work

SLOW_POLL = 5.0
"""Seconds between sweeps without a signal."""
ORPHAN_US = 5 * clock.SECOND
"""Age at which an interactive run without a segment is taken for orphaned."""
CONCURRENCY = 64
"""Segments from the queue that run at once; interactive ones are not counted."""
GRACE = 5.0
"""Seconds a stop waits for segments that run."""

_log = logging.getLogger(__name__)


class Executor:
    """One per process. `launch` and `stop` on the serving loop; `run` is its sweep, to be kept running."""

    def __init__(
        self,
        db: database.Database,
        source: clock.Clock,
        world: Callable[[], services.World],
        *,
        concurrency: int = CONCURRENCY,
        grace: float = GRACE,
        flush: bool = False,
    ) -> None:
        """`world` is called at launch. `flush`: SQLite commits reach the disk before they are done."""
        self._db = db
        self._clock = source
        self._make_world = world
        self._concurrency = concurrency
        self._grace = grace
        self._flush = flush
        self._id = ids.new()
        self._stack = contextlib.AsyncExitStack()
        self._durable: durable.Durable | None = None
        self._worker: work.Worker | None = None
        self._starting: set[asyncio.Task[Any]] = set()
        self._swept = source.monotonic()
        self._failures = 0

    @property
    def launched(self) -> bool:
        """Whether runs are worked off."""
        return self._durable is not None

    def start(self, run_id: str) -> None:
        """Begin an interactive run that was just committed."""
        if self._durable is not None:
            self._spawn(self._durable.start(run_id, 0))

    def works(self) -> bool:
        """Whether an interactive run can begin here: between `launch` and `stop`."""
        return self._durable is not None

    def take(self, first: begun.Begun) -> None:
        """Work on a run that began in the transaction that made it; DBOS is told meanwhile."""
        if self._worker is None or self._durable is None:
            return  # the process stops: the run is redelivered to the next
        self._worker.take(first)
        self._spawn(self._durable.start(first.run_id, 0))

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Let `task` come to its end, whoever waits for it."""
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    def enqueue(self, conn: sa.Connection, run_id: str, segment: int) -> bool:
        """Put a segment into the queue within the transaction of `conn`; False before `launch`."""
        if self._durable is None:
            return False
        self._durable.enqueue(conn, run_id, segment)
        return True

    async def launch(self) -> None:
        """Bring up what executes runs, and recover what a dead process left. On the serving loop, once."""
        # Importing takes seconds; in a thread the loop goes on serving.
        for name in ("durable", "savers", "work"):
            await asyncio.to_thread(importlib.import_module, f"agentos_controller.runs.{name}")
        from agentos_controller.runs import durable, savers, work

        left = await recovery.redeliver(self._db, self._clock.now_us())
        holds = savers.Holds()
        saver = await self._stack.enter_async_context(savers.opened(self._db, holds, self._flush))
        writer = events.Writer(self._db)
        world = self._make_world()
        self._stack.push_async_callback(world.close)
        self._stack.push_async_callback(writer.close)
        self._worker = work.Worker(self._db, self._clock, world, saver, holds, writer, self)
        launched = await durable.Durable.launch(
            self._db, self._worker.segment, self._id, self._concurrency, self._flush
        )
        await self._recover(launched, left)
        self._durable = launched
        # Whatever is pending now nobody has started, however young it is.
        await self._enqueue_pending(launched, self._clock.now_us())
        launched.wake()

    async def run(self) -> None:
        """Sweep, on every signal and at the latest after `SLOW_POLL` seconds, until cancelled."""
        with self._db.subscribe(queue.QUEUE) as news:
            while True:
                try:
                    await self.sweep()
                    self._failures = 0
                except Exception:
                    self._failures += 1
                    _log.exception("the sweep of runs failed; it goes on")
                await news.wait(await self._pause())

    async def sweep(self) -> None:
        """One look at what nobody works on: expired questions, cancelled runs, runs that no queue has."""
        now = self._clock.now_us()
        if self._durable is not None:
            self._durable.wake()
        await approvals.expire(self._db, now, self)
        await self._cancel()
        if self._durable is not None:
            await self._enqueue_pending(self._durable, now - ORPHAN_US)
        self._swept = self._clock.monotonic()

    async def stop(self) -> None:
        """Let segments that run finish for `grace` seconds; what is left goes on in the next process."""
        if self._durable is not None and self._worker is not None:
            # From here on `start` and `enqueue` decline.
            running, self._durable = self._durable, None
            await running.close_queue()
            if self._starting:
                await asyncio.wait(self._starting, timeout=self._grace)
            await self._worker.stop(self._grace)
            await running.stop()
        await self._stack.aclose()

    def progress(self) -> dict[str, Any]:
        """For readiness: ``ok`` while the sweep makes progress. Before `launch` there is none, and that is well."""
        age = self._clock.monotonic() - self._swept
        return {
            "ok": not self.launched or (age < 6 * SLOW_POLL and self._failures < 3),
            "launched": self.launched,
            "secondsSinceSweep": round(age, 3),
            "running": len(self._worker.working_on) if self._worker is not None else 0,
        }

    async def _recover(self, launched: durable.Durable, left: list[tuple[str, int]]) -> None:
        recovered = await launched.recover(self._id)
        if not left:
            return
        # A segment DBOS holds for finished, though its run is not: it needs another id to be executed at all.
        by_id = {queue.segment_id(run_id, segment): (run_id, segment) for run_id, segment in left}
        ended = await launched.ended(list(by_id))
        if ended:
            async with self._db.write() as conn:
                for segment_id in ended:
                    run_id, segment = by_id[segment_id]
                    attempts = await conn.scalar(sa.select(tables.run.c.attempts).where(tables.run.c.id == run_id))
                    await conn.run_sync(launched.enqueue, run_id, segment, int(attempts or 1))
                    await _queued(conn, run_id)
        _log.info("runs recovered", extra={"runs": len(left), "segments": recovered, "again": len(ended)})

    async def _cancel(self) -> None:
        run = tables.run
        async with self._db.read() as conn:
            asked = (await conn.execute(sa.select(run.c.id).where(run.c.state == "cancelling"))).scalars().all()
        for run_id in asked:
            if self._worker is None or not self._worker.cancel(run_id):
                await recovery.abandon(self._db, run_id, self._clock.now_us())

    async def _enqueue_pending(self, launched: durable.Durable, before: int) -> None:
        async with self._db.read() as conn:
            found = await recovery.unqueued(conn, before)
        if not found:
            return
        async with self._db.write() as conn:
            for run_id, segment in found:
                await conn.run_sync(launched.enqueue, run_id, segment)
                await _queued(conn, run_id)
        launched.wake()

    async def _pause(self) -> float:
        due = await approvals.next_expiry(self._db)
        if due is None:
            return SLOW_POLL
        return min(SLOW_POLL, max(0.01, (due - self._clock.now_us()) / clock.SECOND))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._starting.add(task)
        task.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The sweep finds the run again.
            _log.error("an interactive run could not be started", exc_info=error)


async def _queued(conn: AsyncConnection, run_id: str) -> None:
    run = tables.run
    await conn.execute(sa.update(run).where(run.c.id == run_id, run.c.queue.is_(None)).values(queue=queue.QUEUE))
