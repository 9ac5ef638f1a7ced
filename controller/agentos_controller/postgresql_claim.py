"""Who serves a PostgreSQL database: a session's advisory lock, held on a connection of its own.

The lock ends with its connection, so a process that was killed holds nothing. A pooler that shares sessions between
clients cannot keep it; connect to the server itself.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator

from agentos_controller import settings

_KEY = 0x7365727665  # "serve"
_PATIENCE_MS = 2_000
"""A server that has just been stopped may still be giving its lock back."""
_HOLDER = """
    SELECT coalesce(nullif(application_name, ''), 'unknown') FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = %s
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@contextlib.asynccontextmanager
async def held(url: str) -> AsyncIterator[str | None]:
    """None while the block holds the claim, else the words for who holds it.

    Raises:
        settings.ConfigurationError: the server cannot be reached.
    """
    import psycopg

    who = f"agentos, pid {os.getpid()} on {socket.gethostname()}"[:63]
    try:
        conn = await psycopg.AsyncConnection.connect(url, autocommit=True, application_name=who)
    except psycopg.OperationalError as error:
        raise settings.ConfigurationError(f"the database cannot be reached: {str(error).strip()}") from None
    async with conn:
        await conn.execute(f"SET lock_timeout = {_PATIENCE_MS}")
        try:
            await conn.execute("SELECT pg_advisory_lock(%s)", [_KEY])
        except psycopg.errors.LockNotAvailable:
            found = await (await conn.execute(_HOLDER, [_KEY])).fetchone()
            yield found[0] if found is not None else "unknown"
        else:
            yield None
