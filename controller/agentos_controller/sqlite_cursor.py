"""One thread hop per SQLite statement instead of four, or one for a whole transaction.

aiosqlite crosses to its thread to open a cursor, to execute, to fetch and to close. Here one crossing does all of it
and brings back plain rows; that is most of a small statement's cost. A transaction that is one function (`transact`)
crosses once: SQLAlchemy itself then runs in the connection's thread. Streaming results are not offered.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import aiosqlite

_NOTHING: dict[str, Any] = {}


class _Done:
    """What a closed cursor still knows."""

    __slots__ = ("arraysize", "description", "lastrowid", "rowcount", "rows")

    def __init__(self, cursor: Any) -> None:
        self.description = cursor.description
        self.rows = cursor.fetchall() if cursor.description else ()
        self.rowcount = cursor.rowcount
        self.lastrowid = cursor.lastrowid
        self.arraysize = 1
        cursor.close()


class _Unused:
    """What a cursor knows before its first statement."""

    description = None
    rowcount = -1
    lastrowid = None
    arraysize = 1


class Cursor(aiosqlite.AsyncAdapt_aiosqlite_cursor):
    """The adapter's cursor without a cursor of its own: one lives in the thread for the time of a statement."""

    __slots__ = ()

    def __init__(self, adapt_connection: Any) -> None:
        self._adapt_connection = adapt_connection
        self._connection = adapt_connection._connection
        self._cursor: Any = _Unused
        self._rows = collections.deque()
        self._soft_closed_memoized = _NOTHING  # type: ignore[assignment]

    async def _execute_async(self, operation: Any, parameters: Any) -> Any:
        await self._run("execute", operation, () if parameters is None else parameters)

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> Any:
        await self._run("executemany", operation, seq_of_parameters)

    async def _run(self, method: str, operation: Any, parameters: Any) -> None:
        connection: Any = self._connection

        def run() -> _Done:
            return _Done(getattr(connection._conn, method)(operation, parameters))

        async with self._adapt_connection._execute_mutex:
            done = await connection._execute(run)
        self._cursor = done
        self._rows = collections.deque(done.rows)

    async def _async_soft_close(self) -> None:
        return

    def close(self) -> None:
        self._rows.clear()


class Connection(aiosqlite.AsyncAdapt_aiosqlite_connection):
    """The adapter's connection with these cursors."""

    __slots__ = ()

    _cursor_cls = Cursor


def connect(dialect: Any, _record: object, arguments: Any, options: Any) -> Connection:
    """Makes such a connection; a listener for SQLAlchemy's `do_connect`."""
    made = dialect.dbapi.connect(*arguments, **options)
    return Connection(dialect.dbapi, made._connection)


def begin(connection: sa.Connection) -> None:
    """Takes the write lock with the transaction's first statement; a listener for SQLAlchemy's `begin`."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def in_transaction(connection: Connection) -> bool:
    """Whether a transaction is open, without a crossing."""
    return bool(connection._connection._conn.in_transaction)


def engine(connection: Connection, **options: Any) -> sa.Engine:
    """An engine on this one connection, for use in its thread only."""
    raw: Any = connection._connection
    made = sa.create_engine("sqlite://", creator=lambda: raw._conn, poolclass=sa.pool.StaticPool, **options)
    sa.event.listen(made, "begin", begin)
    return made


async def transact(connection: Connection, engine: sa.Engine, body: Callable[[sa.Connection], Any]) -> Any:
    """`body` as one transaction in the connection's thread. Cancelled, it may be committed all the same."""

    def run() -> Any:
        with engine.begin() as conn:
            return body(conn)

    raw: Any = connection._connection
    return await raw._execute(run)
