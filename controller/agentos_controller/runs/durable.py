"""DBOS, as far as we use it: one workflow is one segment of a run, started directly or from a queue that can be woken.

The queue's own worker sleeps between polls. Ours runs the same loop in a thread whose sleep a signal ends, so the poll
can be slow and an idle process quiet. DBOS keeps one instance per process and so does this module.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from agentos_controller import database
from agentos_controller.runs import queue

import sqlalchemy as sa  # isort: skip
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID
from dbos._queue import queue_worker_thread

APPLICATION = "agentos"
VERSION = "1"
"""Constant: what a segment does is pinned by its run's artifact digest, not by our source."""
WORKFLOW = "segment"
SLOW_POLL = 5.0
"""Seconds between looks into the queue without a signal."""
ENDING = 5.0
"""Seconds DBOS gets at a stop to write down how segments ended."""
POOL_SIZE = 6
THREADS = 16

Segment = Callable[[str, int], Awaitable[None]]

_log = logging.getLogger(__name__)
_work: Segment | None = None


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
async def _segment(run_id: str, segment: int) -> None:
    assert _work is not None
    await _work(run_id, segment)


class _Bell(threading.Event):
    """The stop event of the queue's loop, whose wait also ends by a ring."""

    def __init__(self) -> None:
        super().__init__()
        self._rung = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set() and self._rung.wait(timeout):
            self._rung.clear()
        return self.is_set()

    def ring(self) -> None:
        self._rung.set()

    def set(self) -> None:
        super().set()
        self._rung.set()


class Durable:
    """DBOS on our database. Launch it on the serving loop, after every migration; stop it before the pools close."""

    def __init__(self, engine: sa.Engine, client: DBOSClient, bell: _Bell, worker: threading.Thread) -> None:
        self._engine = engine
        self._client = client
        self._bell = bell
        self._worker = worker

    @classmethod
    async def launch(
        cls, db: database.Database, work: Segment, executor_id: str, concurrency: int, flush: bool = False
    ) -> Durable:
        """Migrate DBOS's tables, launch it, and listen to the queue.

        `work` is called with run id and segment on this loop. `concurrency` bounds what comes from the queue.
        """
        global _work
        _work = work
        engine = _engine(db, flush)
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_engine": engine,
            "application_version": VERSION,
            "executor_id": executor_id,
            "serializer": DBOSPortableJSONSerializer(),
            "use_listen_notify": False,
            "max_executor_threads": THREADS,
            "log_level": "WARNING",
            "enable_otlp": False,
            "notification_listener_polling_interval_sec": 0.5,  # it sleeps so long at a stop
            "scheduler_polling_interval_sec": 3600.0,
        }
        DBOS(config=config)
        # Its own worker for our queue is not to start: ours takes its place.
        DBOS.listen_queues([])
        async with db.unlocked():
            DBOS.launch()
        served = await DBOS.register_queue_async(
            queue.QUEUE,
            worker_concurrency=concurrency,
            polling_interval_sec=SLOW_POLL,
            on_conflict="always_update",
        )
        client = DBOSClient(
            system_database_engine=engine,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
            lazy=True,
        )
        bell = _Bell()
        worker = threading.Thread(
            target=queue_worker_thread, args=(bell, _instance(), served), name="run-queue", daemon=True
        )
        worker.start()
        return cls(engine, client, bell, worker)

    async def start(self, run_id: str, segment: int) -> None:
        """Execute a segment here and now; without effect if it was started or is queued."""
        with SetWorkflowID(queue.segment_id(run_id, segment)):
            await DBOS.start_workflow_async(_segment, run_id, segment)

    def enqueue(self, conn: sa.Connection, run_id: str, segment: int, again: int = 0) -> None:
        """Put a segment into the queue within the transaction of `conn`; without effect if it is there.

        `again` makes a further id for a segment whose former one has ended without ending the segment.
        """
        segment_id = queue.segment_id(run_id, segment) + (f".{again}" if again else "")
        options: Any = {
            "queue_name": queue.QUEUE,
            "workflow_name": WORKFLOW,
            "workflow_id": segment_id,
            "app_version": VERSION,
        }
        self._client.enqueue_in_transaction(conn, options, run_id, segment)

    def wake(self) -> None:
        """Look into the queue now."""
        self._bell.ring()

    async def recover(self, executor_id: str) -> int:
        """Put back into the queue what other, dead executors had taken from it or started. How many."""
        pending = await DBOS.list_workflows_async(status="PENDING", load_input=False, load_output=False)
        orphans = [status.workflow_id for status in pending if status.executor_id != executor_id]
        if orphans:
            await DBOS.resume_workflows_async(orphans, queue_name=queue.QUEUE)
        return len(orphans)

    async def ended(self, segment_ids: list[str]) -> set[str]:
        """Those of `segment_ids` that DBOS holds for finished."""
        done: set[str] = set()
        for start in range(0, len(segment_ids), 500):
            found = await DBOS.list_workflows_async(
                workflow_ids=segment_ids[start : start + 500],
                status=["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"],
                load_input=False,
                load_output=False,
            )
            done.update(status.workflow_id for status in found)
        return done

    async def close_queue(self) -> None:
        """Take nothing new from the queue."""
        self._bell.set()
        await asyncio.to_thread(self._worker.join, 10.0)

    async def stop(self) -> None:
        """Let go, once no segment runs any more: wait until the ends of all are written, then close."""
        if ending := set(_instance()._workflow_tasks):
            await asyncio.wait(ending, timeout=ENDING)
        await asyncio.to_thread(DBOS.destroy)
        # DBOS had taken over the loop's default executor and has shut it down; others still need one.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
        self._client.destroy()
        self._engine.dispose()


def _instance() -> DBOS:
    from dbos._dbos import _get_dbos_instance

    return _get_dbos_instance()


def _engine(db: database.Database, flush: bool) -> sa.Engine:
    if db.path is None:
        url = sa.make_url(re.sub(r"^postgresql:", "postgresql+psycopg:", db.url))
        # No ping before use: DBOS itself repeats what a lost connection broke off.
        return sa.create_engine(url, pool_size=POOL_SIZE, max_overflow=2)
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(db.path)), connect_args={"check_same_thread": False}, pool_size=POOL_SIZE
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # As DBOS sets up an engine of its own, with what the other connections of the file have.
        connection.isolation_level = "IMMEDIATE"
        for pragma in (
            "busy_timeout = 30000",
            "journal_mode = WAL",
            f"synchronous = {'FULL' if flush else 'NORMAL'}",
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine
