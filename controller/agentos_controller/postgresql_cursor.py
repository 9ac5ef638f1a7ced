"""A transaction on PostgreSQL in as few round trips as it has questions.

psycopg's pipeline sends statements without waiting for the answer to the one before. SQLAlchemy wants each answer at
once; with this cursor it gets the rows of what returns rows, and what returns none is sent along with the next that
does. Outside of a pipeline nothing is different.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg as dialects
from sqlalchemy.ext.asyncio import AsyncConnection


class Cursor(dialects.AsyncAdapt_psycopg_cursor):
    """The adapter's cursor, which in a pipeline fetches what returns rows. Other row counts are unknown there."""

    __slots__ = ()

    async def _execute_async(self, operation: Any, parameters: Any) -> Any:
        result = await super()._execute_async(operation, parameters)  # type: ignore[no-untyped-call]
        cursor: Any = self._cursor
        if self._adapt_connection._connection._pipeline is not None and _returns_rows(operation):
            self._rows = collections.deque(await cursor.fetchall())
        return result


class Connection(dialects.AsyncAdapt_psycopg_connection):
    """The adapter's connection with these cursors."""

    __slots__ = ()

    def cursor(self, name: Any = None, /) -> Any:
        return super().cursor(name) if name else Cursor(self)  # type: ignore[no-untyped-call]


def connect(dialect: Any, _record: object, arguments: Any, options: Any) -> Connection:
    """Makes such a connection; a listener for SQLAlchemy's `do_connect`."""
    made = dialect.dbapi.connect(*arguments, **options)
    return Connection(dialect.dbapi, made._connection)


async def transact(conn: AsyncConnection, body: Callable[[sa.Connection], Any]) -> Any:
    """`body` as one transaction in one pipeline. `conn` is in autocommit mode: the transaction is begun here."""
    raw: Any = (await conn.get_raw_connection()).driver_connection
    assert isinstance(raw, psycopg.AsyncConnection)
    try:
        async with raw.pipeline():
            await raw.execute("BEGIN")
            done = await conn.run_sync(body)
            await raw.execute("COMMIT")
    except BaseException:
        if raw.closed:
            await conn.invalidate()
        else:
            await raw.rollback()
        raise
    return done


def _returns_rows(operation: str) -> bool:
    return operation.startswith(("SELECT", "WITH")) or " RETURNING " in operation
