"""The one place that knows which database this is: connections, transactions, and the wake-up hub.

Reads go through a pool that cannot write, writes through one in which SQLite has a single connection: its writers
queue in memory instead of spinning on the file's lock. Both databases read committed data only. Bulk statements are in
`bulk`, the schema's history in `migrations`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from agentos_controller import hub, migrations, postgresql_claim, settings, sqlite_cursor, sqlite_library
from agentos_controller.tables import columns

sqlite_library.install()  # before an engine below imports the driver

T = TypeVar("T")
Dialect = Literal["sqlite", "postgresql"]
SCHEMA = "agentos"
"""Where our tables live on PostgreSQL."""

_JSON: dict[str, Any] = {"json_serializer": columns.dump, "json_deserializer": columns.load}
_PING_AFTER_S = 10.0
_MIGRATION_LOCK = 0x6167656E746F73  # "agentos"
_ONE_PROCESS = "in this release one process serves a database"


class DatabaseInUse(settings.ConfigurationError):
    """Another process serves the same database."""


class SchemaNewer(settings.ConfigurationError):
    """The database was migrated by a newer release than this one."""


class Database:
    """One database, by URL. Open it on the loop that uses it; `close` it before that loop ends."""

    def __init__(self, url: str, *, durable: bool = False, readers: int = 4, writers: int = 4) -> None:
        """`durable` makes SQLite flush every commit to the disk. Pool sizes count connections; SQLite has one writer.

        Raises:
            settings.ConfigurationError: the URL names no database we support.
        """
        self.dialect: Dialect
        self.path: Path | None = None
        """The file, on SQLite."""
        self.url, self.dialect = _normalise(url)
        """The URL without a driver, as other libraries take it."""
        self.hub = hub.Hub()
        if self.dialect == "sqlite":
            self.path = Path(self.url.removeprefix("sqlite:///"))
            self._reader = _sqlite_engine(self.path, readers, durable, writer=False)
            self._writer = _sqlite_engine(self.path, 1, durable, writer=True)
        else:
            self._reader = _postgresql_engine(self.url, readers, writer=False)
            self._writer = _postgresql_engine(self.url, writers, writer=True)
            self._pipelined = self._writer.execution_options(isolation_level="AUTOCOMMIT")

    @contextlib.asynccontextmanager
    async def read(self, *, snapshot: bool = False) -> AsyncIterator[AsyncConnection]:
        """A connection that only reads. With `snapshot`, all its statements see the database at one moment."""
        async with self._reader.connect() as conn:
            if not snapshot:
                yield conn
            elif self.dialect == "postgresql":
                await conn.execution_options(isolation_level="REPEATABLE READ")
                yield conn
            else:
                await conn.exec_driver_sql("BEGIN")
                try:
                    yield conn
                finally:
                    if not conn.invalidated:  # as a cancelled statement leaves it
                        await conn.exec_driver_sql("ROLLBACK")

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end of the block, rolled back by an exception. Keep it short.

        On SQLite it takes the file's write lock at once, so that no statement in it can fail on a lost race.
        """
        async with self._writer.begin() as conn:
            yield conn

    @contextlib.asynccontextmanager
    async def unlocked(self) -> AsyncIterator[None]:
        """While the block lasts, no transaction of this object holds SQLite's write lock: for what writes through
        another connection and keeps the loop waiting, which a transaction begun here could then not end."""
        if self.dialect != "sqlite":
            yield
            return
        async with self._writer.connect():  # the only one; it begins nothing
            yield

    async def transact(self, body: Callable[[sa.Connection], T]) -> T:
        """`body` as a transaction, with the fewest crossings there can be. Keep it short.

        Committed when `body` returns, rolled back when it raises. On SQLite `body` runs in another thread. On
        PostgreSQL what returns no rows is sent with the next statement that does, so row counts are not known: ask by
        RETURNING. A waiter that is cancelled does not know whether the transaction was committed.
        """
        done: T
        if self.dialect == "postgresql":
            from agentos_controller import postgresql_cursor

            async with self._pipelined.connect() as conn:
                done = await postgresql_cursor.transact(conn, body)
            return done
        async with self._writer.connect() as conn:
            adapted: Any = (await conn.get_raw_connection()).dbapi_connection
            known = await conn.run_sync(lambda sync: sync.info)
            if "engine" not in known:
                known["engine"] = sqlite_cursor.engine(adapted, **_JSON)
            done = await sqlite_cursor.transact(adapted, known["engine"], body)
        return done

    def notify(self, channel: str, told: Any = None) -> None:
        """Wake who waits on `channel`, and tell them `told` where reading it would find nothing else.

        Call it after the commit; a lost wake-up costs a poll, never a state.
        """
        self.hub.notify(channel, told)

    def subscribe(self, *channels: str) -> contextlib.AbstractContextManager[hub.Subscription]:
        """Listen to `channels` while the block lasts."""
        return self.hub.subscribe(*channels)

    async def schema_version(self) -> str | None:
        """The newest migration applied, None on an empty database."""
        async with self.read() as conn:
            return await _schema_version(conn, self.dialect)

    async def migrate(self) -> bool:
        """Bring the schema to this release's; False if it was there already. Safe to call from many processes.

        Raises:
            SchemaNewer: a newer release has migrated this database.
        """
        if self.path is not None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_current(await self.schema_version()):
            return False
        async with self.write() as conn:
            if self.dialect == "postgresql":
                await conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
                await conn.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            if _is_current(await _schema_version(conn, self.dialect)):
                return False
            await conn.run_sync(_upgrade)
        return True

    @contextlib.asynccontextmanager
    async def claim(self) -> AsyncIterator[None]:
        """Be the only process that serves this database, while the block lasts.

        It keeps two servers from being started by mistake; what is committed does not rely on it.

        Raises:
            DatabaseInUse: another process does; the message names it.
            settings.ConfigurationError: PostgreSQL cannot be reached.
        """
        if self.path is None:
            async with postgresql_claim.held(self.url) as holder:
                if holder is not None:
                    raise DatabaseInUse(
                        f"the database is served by another process ({holder}): stop it, or choose another "
                        f"--database-url; {_ONE_PROCESS}"
                    )
                yield
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self.path.with_name(self.path.name + ".lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
                raise DatabaseInUse(
                    f"{self.path} is served by another process (pid {holder}): stop it, or choose another "
                    f"--state-dir; {_ONE_PROCESS}"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            # The file stays: unlinking it would let two processes lock two files of one name.
            os.close(descriptor)

    async def close(self) -> None:
        await self._reader.dispose()
        await self._writer.dispose()


def _normalise(url: str) -> tuple[str, Dialect]:
    scheme, separator, rest = url.partition("://")
    base = scheme.partition("+")[0]
    if separator and base == "sqlite":
        path = rest.removeprefix("/")
        if not rest.startswith("/") or not path or path.startswith(":memory:"):
            raise settings.ConfigurationError("a SQLite URL names a file: sqlite:///relative or sqlite:////absolute")
        return f"sqlite:///{Path(path).absolute()}", "sqlite"
    if separator and base in ("postgresql", "postgres"):
        return f"postgresql://{rest}", "postgresql"
    # The URL may hold a password, so it is not repeated.
    raise settings.ConfigurationError("a database URL begins with sqlite:/// or postgresql://")


def _is_current(version: str | None) -> bool:
    if version is not None and version > migrations.HEAD:
        raise SchemaNewer(
            f"the database's schema is at {version}, this release knows {migrations.HEAD}: install the newer release"
        )
    return version == migrations.HEAD


async def _schema_version(conn: AsyncConnection, dialect: Dialect) -> str | None:
    known = (
        f"SELECT to_regclass('{SCHEMA}.{migrations.VERSION_TABLE}')"
        if dialect == "postgresql"
        else f"SELECT name FROM sqlite_master WHERE name = '{migrations.VERSION_TABLE}'"  # noqa: S608
    )
    if await conn.scalar(sa.text(known)) is None:
        return None
    version: str | None = await conn.scalar(sa.text(f"SELECT version_num FROM {migrations.VERSION_TABLE}"))  # noqa: S608
    return version


def _upgrade(connection: sa.Connection) -> None:
    # Imported here: a start on an up-to-date schema does without it.
    from alembic import command, config

    settings_ = config.Config()
    settings_.set_main_option("script_location", str(migrations.DIRECTORY))
    settings_.set_main_option("path_separator", "os")
    settings_.attributes["connection"] = connection
    command.upgrade(settings_, "head")


def _engine(url: str | sa.URL, *, size: int, writer: bool, **options: Any) -> AsyncEngine:
    if not writer:
        options |= {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
    return create_async_engine(
        url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=60,
        **_JSON,
        **options,
    )


def _sqlite_engine(path: Path, size: int, durable: bool, *, writer: bool) -> AsyncEngine:
    url = sa.URL.create("sqlite+aiosqlite", database=str(path))
    engine = _engine(url, size=size, writer=writer, poolclass=sa.pool.AsyncAdaptedQueuePool, pool_reset_on_return=None)
    pragmas = (
        "busy_timeout = 30000",
        "auto_vacuum = INCREMENTAL",  # only heeded in an empty file, so before the journal mode writes its header
        "journal_mode = WAL",
        f"synchronous = {'FULL' if durable else 'NORMAL'}",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        f"query_only = {'OFF' if writer else 'ON'}",
    )

    sa.event.listen(engine.sync_engine, "do_connect", sqlite_cursor.connect)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "reset")
    def reset(connection: Any, _record: object, _state: object) -> None:
        # Asking costs nothing, rolling back a crossing; mostly there is nothing left to roll back.
        if sqlite_cursor.in_transaction(connection):
            connection.rollback()

    if writer:
        sa.event.listen(engine.sync_engine, "begin", sqlite_cursor.begin)
    return engine


def _postgresql_engine(url: str, size: int, *, writer: bool) -> AsyncEngine:
    # Imported here: psycopg is slow to load, and SQLite does without.
    from agentos_controller import postgresql_cursor

    parsed = sa.make_url(re.sub(r"^postgresql:", "postgresql+psycopg:", url))
    given = parsed.query.get("options", "")
    options = f"{given if isinstance(given, str) else ' '.join(given)} -c search_path={SCHEMA},public"
    if not writer:
        options += " -c default_transaction_read_only=on"
    parsed = parsed.difference_update_query(["options"])
    engine = _engine(parsed, size=size, writer=writer, connect_args={"options": options.strip()})
    sa.event.listen(engine.sync_engine, "do_connect", postgresql_cursor.connect)
    _ping_after_rest(engine)
    return engine


def _ping_after_rest(engine: AsyncEngine) -> None:
    """Ask whether a connection still lives before it is used after a rest; before every use would double a read."""

    @sa.event.listens_for(engine.sync_engine, "checkin")
    def rest(_connection: object, record: Any) -> None:
        record.info["rests_since"] = time.monotonic()

    @sa.event.listens_for(engine.sync_engine, "checkout")
    def use(connection: Any, record: Any, _proxy: object) -> None:
        since = record.info.get("rests_since")
        if since is None or time.monotonic() - since < _PING_AFTER_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise sa.exc.DisconnectionError from error
