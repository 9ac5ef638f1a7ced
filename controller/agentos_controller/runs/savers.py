"""LangGraph's savers on our database, writing only for the executor that has the run and reporting what is durable.

One saver serves the process; a run in progress is known to it by its checkpoint thread (`hold`). Each write repeats
the run's fence in its own transaction, so an executor that lost its run cannot write over the one that has it. After
the write the run's recorder is told, which then shows what happened. Only `executor` imports this: it brings LangGraph.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Protocol

# First, for its side effects: the SQLite library in use, and LangGraph's strict decoder.
from agentos_controller import database

from agentos_engine.runtime import lg  # isort: skip

import aiosqlite
import psycopg
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_metadata,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

POOL_SIZE = 8


class Fenced(Exception):
    """Another executor has the run: this one stops without writing anything."""


class Told(Protocol):
    """Who is told what became durable."""

    def task_saved(self, task_id: str) -> None: ...

    def superstep_saved(self, namespace: str) -> None: ...


class Hold:
    """A run this process works on: its id, its fence, and whether it can have checkpoints already."""

    __slots__ = ("fence", "fresh", "run_id", "told")

    def __init__(self, run_id: str, fence: int, told: Told, fresh: bool) -> None:
        self.run_id = run_id
        self.fence = fence
        self.told = told
        self.fresh = fresh


class Holds:
    """The runs this process works on, by checkpoint thread."""

    def __init__(self) -> None:
        self._holds: dict[str, Hold] = {}

    @contextlib.contextmanager
    def hold(self, thread: str, hold: Hold) -> Iterator[None]:
        """Let `thread` be written while the block lasts."""
        self._holds[thread] = hold
        try:
            yield
        finally:
            if self._holds.get(thread) is hold:
                del self._holds[thread]

    def of(self, config: lg.RunnableConfig) -> Hold:
        hold = self._holds.get(config["configurable"]["thread_id"])
        if hold is None:
            raise Fenced("the run is not held by this process")
        return hold

    def has_none_yet(self, config: lg.RunnableConfig) -> bool:
        """Whether this is the first look at a run that never ran: it has no checkpoint, and asking is spared."""
        hold = self._holds.get(config["configurable"]["thread_id"])
        if hold is None or not hold.fresh or config["configurable"].get("checkpoint_ns"):
            return False
        hold.fresh = False
        return True


class SqliteSaver(AsyncSqliteSaver):
    """Writes checkpoint and fence check as one transaction, in one hop to the connection's thread."""

    def __init__(self, conn: aiosqlite.Connection, holds: Holds) -> None:
        super().__init__(conn)
        self.holds = holds

    async def aget_tuple(self, config: lg.RunnableConfig) -> CheckpointTuple | None:
        if self.holds.has_none_yet(config):
            return None
        return await super().aget_tuple(config)

    async def aput(
        self,
        config: lg.RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> lg.RunnableConfig:
        given = config["configurable"]
        hold = self.holds.of(config)
        type_, packed = self.serde.dumps_typed(checkpoint)
        known = json.dumps(get_checkpoint_metadata(config, metadata), ensure_ascii=False).encode("utf-8", "ignore")
        row = (
            given["thread_id"],
            given["checkpoint_ns"],
            checkpoint["id"],
            given.get("checkpoint_id"),
            type_,
            packed,
            known,
        )
        statement = (
            "INSERT OR REPLACE INTO checkpoints "
            "(thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        await self._write(hold, statement, [row])
        hold.told.superstep_saved(given["checkpoint_ns"])
        return {
            "configurable": {
                "thread_id": given["thread_id"],
                "checkpoint_ns": given["checkpoint_ns"],
                "checkpoint_id": checkpoint["id"],
            }
        }

    async def aput_writes(
        self, config: lg.RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        given = config["configurable"]
        hold = self.holds.of(config)
        rows = [
            (
                given["thread_id"],
                given["checkpoint_ns"],
                given["checkpoint_id"],
                task_id,
                task_path,
                WRITES_IDX_MAP.get(channel, index),
                channel,
                *self.serde.dumps_typed(value),
            )
            for index, (channel, value) in enumerate(writes)
        ]
        again = "REPLACE" if all(channel in WRITES_IDX_MAP for channel, _ in writes) else "IGNORE"
        statement = (
            f"INSERT OR {again} INTO writes "  # noqa: S608 - one of two words
            "(thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        await self._write(hold, statement, rows)
        hold.told.task_saved(task_id)

    async def _write(self, hold: Hold, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        # Under the lock: while another run's rows are still being read on this connection, its view is old, and a
        # transaction that began on an old view could not write. aiosqlite has no public way to do several things in
        # its thread at once.
        async with self.lock:
            await self.conn._execute(_commit, self.conn._conn, hold, statement, rows)  # type: ignore[no-untyped-call]


def _commit(connection: Any, hold: Hold, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute("BEGIN IMMEDIATE")
        held = cursor.execute(
            "SELECT 1 FROM run WHERE id = ? AND fence = ?", (hold.run_id.replace("-", ""), hold.fence)
        ).fetchone()
        if held is None:
            raise Fenced("another executor has the run")
        cursor.executemany(statement, rows)
        cursor.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise
    finally:
        cursor.close()


_writing: contextvars.ContextVar[Hold | None] = contextvars.ContextVar("writing", default=None)


class PostgresSaver(AsyncPostgresSaver):
    """Puts the fence check in front of each write, in the same round trip and transaction.

    Unlike its base it uses the pool's connections side by side.
    """

    def __init__(self, pool: AsyncConnectionPool[Any], holds: Holds) -> None:
        super().__init__(pool)
        self.holds = holds

    async def aget_tuple(self, config: lg.RunnableConfig) -> CheckpointTuple | None:
        if self.holds.has_none_yet(config):
            return None
        return await super().aget_tuple(config)

    async def aput(
        self,
        config: lg.RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> lg.RunnableConfig:
        given = config["configurable"]
        hold = self.holds.of(config)
        thread, namespace = given["thread_id"], given["checkpoint_ns"]
        # As the base does it, without leaving the loop for what takes microseconds.
        plain, large = _parted(checkpoint["channel_values"])
        changed = {channel: version for channel, version in new_versions.items() if channel in large}
        blobs = self._dump_blobs(thread, namespace, large, changed)
        row = (
            thread,
            namespace,
            checkpoint["id"],
            given.get("checkpoint_id"),
            Jsonb({**checkpoint, "channel_values": plain}),
            Jsonb(get_serializable_checkpoint_metadata(config, metadata)),
        )
        with _fenced(hold):
            async with self._cursor(pipeline=True) as cursor:
                if blobs:
                    await cursor.executemany(self.UPSERT_CHECKPOINT_BLOBS_SQL, blobs)
                await cursor.execute(self.UPSERT_CHECKPOINTS_SQL, row)
        hold.told.superstep_saved(namespace)
        return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self, config: lg.RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        given = config["configurable"]
        hold = self.holds.of(config)
        special = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        rows = self._dump_writes(
            given["thread_id"], given["checkpoint_ns"], given["checkpoint_id"], task_id, task_path, writes
        )
        with _fenced(hold):
            async with self._cursor(pipeline=True) as cursor:
                await cursor.executemany(
                    self.UPSERT_CHECKPOINT_WRITES_SQL if special else self.INSERT_CHECKPOINT_WRITES_SQL, rows
                )
        hold.told.task_saved(task_id)

    @contextlib.asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[psycopg.AsyncCursor[Any]]:
        assert isinstance(self.conn, AsyncConnectionPool)
        async with self.conn.connection() as conn:
            if not pipeline:
                async with conn.cursor(binary=True, row_factory=dict_row) as cursor:
                    yield cursor
                return
            async with conn.pipeline(), conn.cursor(binary=True, row_factory=dict_row) as cursor:
                if (hold := _writing.get()) is not None:
                    # Without the row this divides by zero, which undoes the whole pipeline.
                    await cursor.execute(
                        f"SELECT 1 / count(*) FROM (SELECT 1 FROM {database.SCHEMA}.run "  # noqa: S608 - a constant
                        "WHERE id = %s AND fence = %s FOR SHARE) held",
                        (hold.run_id, hold.fence),
                    )
                yield cursor


def _parted(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of a checkpoint that stand in its row, and those that are stored apart."""
    plain: dict[str, Any] = {}
    large: dict[str, Any] = {}
    for channel, value in values.items():
        if value is None or isinstance(value, str | int | float | bool):
            plain[channel] = value
            continue
        large[channel] = value
        if isinstance(value, _DeltaSnapshot):
            plain[channel] = True
    return plain, large


@contextlib.contextmanager
def _fenced(hold: Hold) -> Iterator[None]:
    token = _writing.set(hold)
    try:
        yield
    except psycopg.errors.DivisionByZero:
        raise Fenced("another executor has the run") from None
    finally:
        _writing.reset(token)


@contextlib.asynccontextmanager
async def opened(db: database.Database, holds: Holds, flush: bool = False) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """The saver for `db`, its tables made, closed at the end of the block. `flush`: every commit to the disk."""
    if db.path is not None:
        async with aiosqlite.connect(db.path, isolation_level=None) as conn:
            await conn.execute("PRAGMA busy_timeout = 30000")
            await conn.execute(f"PRAGMA synchronous = {'FULL' if flush else 'NORMAL'}")
            sqlite = SqliteSaver(conn, holds)
            await sqlite.setup()
            yield sqlite
        return
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        db.url,
        min_size=1,
        max_size=POOL_SIZE,
        open=False,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
    )
    async with pool:
        postgres = PostgresSaver(pool, holds)
        await postgres.setup()
        yield postgres


def running_task() -> tuple[str, str]:
    """Namespace and id of the LangGraph task that is running, empty outside of one."""
    try:
        given = lg.get_config()["configurable"]
    except RuntimeError:
        return "", ""
    namespace = str(given.get("checkpoint_ns", ""))
    outer, _, task = namespace.rpartition(":")
    return outer.rpartition("|")[0], task
