"""What the rest of the controller may expect of either database."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import autogenerate, script
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import exc

from agentos_controller import bulk, ids, migrations, settings, tables
from agentos_controller import database as databases
from agentos_controller.database import Database, DatabaseInUse, SchemaNewer
from tests.support import postgres

TENANT = "0199a1b2-0000-7000-8000-000000000001"


def resource(name: str, **more: Any) -> dict[str, Any]:
    row = {"tenant_id": TENANT, "kind": "Agent", "name": name, "path": "a.yaml", "line": 1, "updated_at": 1}
    return row | more


async def names(database: Database) -> list[str]:
    async with database.read() as conn:
        return list(await conn.scalars(sa.select(tables.resource.c.name).order_by(tables.resource.c.name)))


async def test_migrated_schema_is_what_the_tables_say(database: Database) -> None:
    def compare(connection: sa.Connection) -> list[Any]:
        context = MigrationContext.configure(
            connection, opts={"version_table": migrations.VERSION_TABLE, "compare_type": True}
        )
        found = autogenerate.compare_metadata(context, tables.metadata)
        return [change for change in found if not _is_partition(change)]

    async with database.write() as conn:
        assert await conn.run_sync(compare) == []


def _is_partition(change: Any) -> bool:
    kind, subject = change[0], change[1]
    table = subject if kind == "remove_table" else getattr(subject, "table", None)
    return table is not None and str(table.name).endswith("_default")


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.DIRECTORY))
    assert script.ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


async def test_migrating_again_changes_nothing(database: Database) -> None:
    assert await database.schema_version() == migrations.HEAD
    assert await database.migrate() is False


async def test_migrations_can_be_taken_back(database: Database) -> None:
    def downgrade(connection: sa.Connection) -> None:
        from alembic import command

        config = Config()
        config.set_main_option("script_location", str(migrations.DIRECTORY))
        config.attributes["connection"] = connection
        command.downgrade(config, "base")

    async with database.write() as conn:
        await conn.run_sync(downgrade)
        left = await conn.run_sync(lambda c: set(sa.inspect(c).get_table_names()))
    assert left == {migrations.VERSION_TABLE}
    assert await database.migrate() is True


async def test_a_newer_schema_is_refused(database: Database) -> None:
    async with database.write() as conn:
        await conn.execute(sa.text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(SchemaNewer, match="9999"):
        await database.migrate()


async def test_many_migrate_at_once(empty_postgresql_url: str) -> None:
    opened = [Database(empty_postgresql_url) for _ in range(3)]
    done = await asyncio.gather(*(one.migrate() for one in opened))
    for one in opened:
        await one.close()
    assert sorted(done) == [False, False, True]


async def test_a_write_is_whole_or_not_at_all(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.write() as conn:
            await bulk.insert_many(conn, tables.resource, [resource("a")])
            raise ZeroDivisionError
    assert await names(database) == []
    async with database.write() as conn:
        await bulk.insert_many(conn, tables.resource, [resource("a")])
    assert await names(database) == ["a"]


async def test_a_transaction_in_one_function_is_whole_or_not_at_all(database: Database) -> None:
    def two(conn: sa.Connection, first: str, second: str) -> list[str]:
        conn.execute(tables.setting.insert(), [{"key": first, "value": {"n": 1}}])
        returned = conn.execute(
            tables.setting.insert().values(key=second, value=2).returning(tables.setting.c.key)
        ).scalar_one()
        conn.execute(tables.setting.update().where(tables.setting.c.key == second).values(value=3))
        return [first, str(returned)]

    def broken(conn: sa.Connection) -> None:
        conn.execute(tables.setting.delete())
        raise RuntimeError

    assert await database.transact(lambda conn: two(conn, "a", "b")) == ["a", "b"]
    with pytest.raises(RuntimeError):
        await database.transact(broken)
    for first, second in (("a", "c"), ("c", "a")):
        with pytest.raises((exc.IntegrityError, psycopg.errors.UniqueViolation)):
            await database.transact(lambda conn, first=first, second=second: two(conn, first, second))  # type: ignore[misc]
    assert await database.transact(lambda conn: two(conn, "c", "d")) == ["c", "d"]
    async with database.read() as conn:
        found = await conn.execute(
            sa.select(tables.setting.c.key, tables.setting.c.value).order_by(tables.setting.c.key)
        )
        assert [tuple(row) for row in found] == [("a", {"n": 1}), ("b", 3), ("c", {"n": 1}), ("d", 3)]


async def test_who_gives_up_on_a_transaction_in_one_function_blocks_nobody(database: Database) -> None:
    def add(conn: sa.Connection, key: str) -> None:
        conn.execute(tables.setting.insert().values(key=key, value=1))

    waiting = [asyncio.create_task(database.transact(lambda conn, n=n: add(conn, f"k{n}"))) for n in range(8)]  # type: ignore[misc]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    async with asyncio.timeout(10):
        await database.transact(lambda conn: add(conn, "last"))
        async with database.write() as conn:
            await conn.execute(tables.setting.insert().values(key="after", value=1))
        async with database.read() as conn:
            keys = (await conn.execute(sa.select(tables.setting.c.key))).scalars().all()
    assert {"last", "after"} <= set(keys)


@pytest.mark.parametrize("busy", [False, True])
async def test_a_cancelled_write_leaves_nothing_and_holds_nothing(database: Database, busy: bool) -> None:
    count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT count(*) FROM n"
    begun = asyncio.Event()

    async def work() -> None:
        async with database.write() as conn:
            await bulk.insert_many(conn, tables.resource, [resource("a")])
            begun.set()
            await (conn.execute(sa.text(count)) if busy else asyncio.Event().wait())
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.write() as conn:
        await bulk.insert_many(conn, tables.resource, [resource("b")])
    assert await names(database) == ["b"]


async def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(exc.DBAPIError):
        async with database.read() as conn:
            await bulk.insert_many(conn, tables.resource, [resource("a")])
    assert await names(database) == []


async def test_a_snapshot_does_not_see_later_commits(database: Database) -> None:
    count = sa.select(sa.func.count()).select_from(tables.resource)
    async with database.read(snapshot=True) as conn:
        assert await conn.scalar(count) == 0
        async with database.write() as writer:
            await bulk.insert_many(writer, tables.resource, [resource("a")])
        assert await conn.scalar(count) == 0
    async with database.read() as conn:
        assert await conn.scalar(count) == 1


async def test_writers_wait_for_each_other(database: Database) -> None:
    async def add(number: int) -> None:
        async with database.write() as conn:
            await conn.execute(
                tables.tenant.update()
                .where(tables.tenant.c.id == TENANT)
                .values(active_seq=tables.tenant.c.active_seq + number)
            )

    async with database.write() as conn:
        await bulk.insert_many(conn, tables.tenant, [{"id": TENANT, "name": "acme", "active_seq": 0, "created_at": 1}])
    await asyncio.gather(*(add(number) for number in range(20)))
    async with database.read() as conn:
        assert await conn.scalar(sa.select(tables.tenant.c.active_seq)) == sum(range(20))


async def test_values_come_back_as_they_went_in(database: Database) -> None:
    doc = {"b": [1, 2.5, None, True], "a": {"text": 'é\n"\\u0000 🙂', "empty": {}}}
    async with database.write() as conn:
        await bulk.insert_many(
            conn,
            tables.parsed_blob,
            [{"blob_id": "a" * 64, "schema_version": "sha256:1", "body": b"\x00\xff"}],
        )
        await bulk.insert_many(conn, tables.resource, [resource("a", labels=doc, interface=None, line=2)])
    async with database.read() as conn:
        row = (await conn.execute(sa.select(tables.resource))).one()
        blob = (await conn.execute(sa.select(tables.parsed_blob))).one()
        null = await conn.scalar(sa.select(tables.resource.c.interface.is_(None)))
    assert row.labels == doc
    assert row.tenant_id == TENANT
    assert (row.ready, row.document, row.interface, null) == ("Unknown", 0, None, True)
    assert blob.body == b"\x00\xff"


async def test_nul_becomes_the_replacement_character(database: Database) -> None:
    async with database.write() as conn:
        await bulk.insert_many(conn, tables.setting, [{"key": "k", "value": ["a\0b", "\\u0000", "\\\0"]}])
    async with database.read() as conn:
        assert await conn.scalar(sa.select(tables.setting.c.value)) == ["a\ufffdb", "\\u0000", "\\\ufffd"]


async def test_text_sorts_by_bytes(database: Database) -> None:
    given = ["b", "a", "B", "a-1", "a1", "ä", "_", "Z"]
    async with database.write() as conn:
        await bulk.insert_many(conn, tables.resource, [resource(name) for name in given])
    assert await names(database) == sorted(given, key=lambda name: name.encode())


async def test_upserts_update_only_what_they_are_told(database: Database) -> None:
    keys = ["tenant_id", "kind", "name"]
    async with database.write() as conn:
        await bulk.upsert_many(conn, tables.resource, [resource("a", line=1), resource("b", line=1)], keys)
        await bulk.upsert_many(conn, tables.resource, [resource("a", line=2, path="x")], keys)
        await bulk.upsert_many(conn, tables.resource, [resource("b", line=2, path="x")], keys, ["line"])
        await bulk.update_many(
            conn, tables.resource, [{**dict.fromkeys(keys), **resource("b", labels={"c": "d"})}], keys
        )
    async with database.read() as conn:
        rows = (await conn.execute(sa.select(tables.resource).order_by(tables.resource.c.name))).all()
    assert [(row.name, row.line, row.path, row.labels) for row in rows] == [
        ("a", 1, "a.yaml", None),
        ("b", 1, "a.yaml", {"c": "d"}),
    ]


async def test_a_row_that_comes_again_can_be_counted(database: Database) -> None:
    keys = ("tenant_id", "kind", "name", "reason", "message_hash", "hour")
    row = {
        "id": ids.new(),
        "tenant_id": TENANT,
        "kind": "Agent",
        "name": "a",
        "type": "Normal",
        "reason": "Applied",
        "message": "done",
        "message_hash": "x",
        "hour": 1,
        "first_at": 1,
        "last_at": 1,
    }
    async with database.write() as conn:
        for moment in (1, 2, 3):
            again = row | {"id": ids.new(), "last_at": moment}
            await bulk.upsert_many(conn, tables.event, [again], keys, ("last_at",), counting="count")
    async with database.read() as conn:
        (found,) = (await conn.execute(sa.select(tables.event))).all()
    assert (found.count, found.first_at, found.last_at) == (3, 1, 3)


async def test_rows_are_deleted_by_key(database: Database) -> None:
    keys = ["tenant_id", "kind", "name"]
    async with database.write() as conn:
        await bulk.insert_many(conn, tables.resource, [resource(name) for name in "abc"])
        await bulk.delete_many(conn, tables.resource, [resource("a"), resource("c"), resource("x")], keys)
        await bulk.delete_many(conn, tables.resource, [], keys)
    assert await names(database) == ["b"]


async def test_one_generation_is_live(database: Database) -> None:
    row = {"tenant_id": TENANT, "revision": "r", "cause": {}, "actor": "a", "changes": 0, "applied_at": 1}
    async with database.write() as conn:
        await bulk.insert_many(conn, tables.generation, [row | {"seq": 1, "state": "applied"}])
    with pytest.raises(exc.IntegrityError):
        async with database.write() as conn:
            await bulk.insert_many(conn, tables.generation, [row | {"seq": 2, "state": "applied"}])


async def test_a_tenants_name_is_unique_among_the_living(database: Database) -> None:
    def row(**more: Any) -> dict[str, Any]:
        return {"id": ids.new(), "name": "acme", "created_at": 1, "deleted_at": None} | more

    async with database.write() as conn:
        await bulk.insert_many(conn, tables.tenant, [row(deleted_at=2), row(deleted_at=3), row()])
    with pytest.raises(exc.IntegrityError):
        async with database.write() as conn:
            await bulk.insert_many(conn, tables.tenant, [row()])


async def test_an_unknown_state_is_refused(database: Database) -> None:
    with pytest.raises(exc.IntegrityError):
        async with database.write() as conn:
            await bulk.insert_many(conn, tables.resource, [resource("a", ready="Maybe")])


async def test_a_key_is_looked_up_by_the_primary_key_before_any_statistics(postgresql_url: str) -> None:
    opened = Database(postgresql_url)
    lookup = f"SELECT * FROM resource WHERE tenant_id = '{TENANT}' AND kind = 'Agent' AND name = 'a1'"
    async with opened.write() as conn:
        await bulk.insert_many(conn, tables.resource, [resource(f"a{number}") for number in range(1_000)])
        plan = "".join(await conn.scalars(sa.text(f"EXPLAIN {lookup}")))
    await opened.close()
    assert "pk_resource" in plan


async def test_connections_that_died_at_rest_are_replaced(
    postgresql_url: str, postgresql_server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "_PING_AFTER_S", 0.0)
    opened = Database(postgresql_url)
    assert await opened.schema_version() == migrations.HEAD
    name = sa.make_url(postgresql_url).database
    postgresql_server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    assert await opened.schema_version() == migrations.HEAD
    await opened.close()


async def test_run_rows_land_in_their_partition(postgresql_url: str) -> None:
    opened = Database(postgresql_url)
    event = {"run_id": ids.new(), "seq": 1, "tenant_id": TENANT, "type": "started", "at": 1}
    async with opened.write() as conn:
        await bulk.insert_many(conn, tables.run_event, [event])
        await bulk.upsert_many(conn, tables.run_event, [event], ["run_id", "seq"])
        assert await conn.scalar(sa.text("SELECT count(*) FROM run_event_default")) == 1
    await opened.close()


async def test_a_wake_up_is_kept_and_folds(database: Database) -> None:
    with database.subscribe("runs", "commands") as waiter, database.subscribe("other") as other:
        assert await waiter.wait(0) is False
        database.notify("runs")
        database.notify("commands")
        assert await waiter.wait(1) is True
        assert await waiter.wait(0) is False
        assert await other.wait(0) is False
        await asyncio.to_thread(database.notify, "other")
        assert await other.wait(5) is True
    database.notify("runs")


async def test_sqlite_is_new_enough_and_in_wal_mode(sqlite: Database) -> None:
    async with sqlite.read() as conn:
        version = str(await conn.scalar(sa.text("SELECT sqlite_version()")))
        assert tuple(map(int, version.split("."))) >= (3, 42)
        assert await conn.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert await conn.scalar(sa.text("PRAGMA auto_vacuum")) == 2


CLAIM = """
import asyncio, sys
from agentos_controller.database import Database
async def claim():
    async with Database(sys.argv[1]).claim():
        print("claimed", flush=True)
        sys.stdin.read()
asyncio.run(claim())
"""


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_a_second_process_on_one_database_is_refused(dialect: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(f"{dialect}_url")
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", CLAIM, url, stdin=pipe, stdout=pipe)
    try:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"claimed\n"
        with pytest.raises(DatabaseInUse, match=rf"pid {child.pid}\b.*one process serves a database"):
            async with Database(url).claim():
                pass
    finally:
        child.kill()
        await child.communicate()
    async with Database(url).claim():
        """The dead hold nothing."""


async def test_a_claim_on_one_database_is_none_on_another(postgresql_url: str, sqlite_url: str) -> None:
    other = sa.make_url(postgresql_url).set(database="postgres").render_as_string(hide_password=False)
    async with Database(postgresql_url).claim(), Database(other).claim(), Database(sqlite_url).claim():
        pass


async def test_a_database_that_cannot_be_reached_is_told(postgresql_url: str) -> None:
    url = sa.make_url(postgresql_url).set(database="absent").render_as_string(hide_password=False)
    with pytest.raises(settings.ConfigurationError, match="cannot be reached"):
        async with Database(url).claim():
            pass


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://u:hush@h/d", "nonsense:hush"]
)
def test_other_databases_are_refused_without_repeating_the_url(url: str) -> None:
    with pytest.raises(settings.ConfigurationError) as raised:
        Database(url)
    assert "hush" not in str(raised.value)
