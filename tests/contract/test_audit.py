"""The trail holds, and shows when it was touched."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from agentos_controller import audit, bulk, ids, redaction, tables
from agentos_controller.database import Database

TENANT = "0199a1b2-0000-7000-8000-000000000001"
OTHER = "0199a1b2-0000-7000-8000-000000000002"


async def add(database: Database, tenant_id: str | None = TENANT, **detail: Any) -> int:
    async with database.write() as conn:
        return await audit.append(conn, tenant_id, "key:1", "run.create", "Run/1", "abc", "done", detail, at=5)


async def verify(database: Database, tenant_id: str | None = TENANT) -> audit.Break | None:
    async with database.read() as conn:
        return await audit.verify(conn, tenant_id)


async def test_rows_are_numbered_per_tenant(database: Database) -> None:
    assert [await add(database), await add(database), await add(database, OTHER), await add(database, None)] == [
        1,
        2,
        1,
        1,
    ]
    async with database.read() as conn:
        rows = (await conn.execute(sa.select(tables.audit).where(tables.audit.c.tenant_id == ids.NIL))).all()
    assert [(row.actor, row.action, row.object, row.revision, row.outcome, row.at) for row in rows] == [
        ("key:1", "run.create", "Run/1", "abc", "done", 5)
    ]
    for tenant in (TENANT, OTHER, None):
        assert await verify(database, tenant) is None


async def test_a_rolled_back_change_leaves_no_row(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.write() as conn:
            await audit.append(conn, TENANT, "key:1", "run.create", "Run/1", None, "done")
            raise ZeroDivisionError
    assert await add(database) == 1
    assert await verify(database) is None


async def test_appends_at_once_make_one_chain(database: Database) -> None:
    assert sorted(await asyncio.gather(*(add(database, number=number) for number in range(20)))) == list(range(1, 21))
    assert await verify(database) is None


@pytest.mark.parametrize("change", [{"actor": "key:2"}, {"detail": {"n": 9}}, {"at": 6}, {"hash": "sha256:0"}])
async def test_an_altered_row_shows(database: Database, change: dict[str, Any]) -> None:
    for number in range(3):
        await add(database, n=number)
    async with database.write() as conn:
        await conn.execute(tables.audit.update().where(tables.audit.c.seq == 2).values(**change))
    found = await verify(database)
    assert found is not None
    assert (found.seq, found.reason) == (2, "the row was altered")


@pytest.mark.parametrize("gone", [1, 2, 3])
async def test_a_missing_row_shows(database: Database, gone: int) -> None:
    for number in range(3):
        await add(database, n=number)
    async with database.write() as conn:
        await conn.execute(tables.audit.delete().where(tables.audit.c.seq == gone))
    found = await verify(database)
    assert found is not None
    assert found.seq == gone


async def test_swapped_rows_show(database: Database) -> None:
    for number in range(2):
        await add(database, n=number)
    async with database.write() as conn:
        for old, new in ((1, 99), (2, 1), (99, 2)):
            await conn.execute(tables.audit.update().where(tables.audit.c.seq == old).values(seq=new))
    found = await verify(database)
    assert found is not None
    assert found.seq == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner),
    max_leaves=8,
)  # fmt: skip


@profile(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(detail=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), JSON, max_size=4))
async def test_any_detail_survives_the_database(database: Database, detail: dict[str, Any]) -> None:
    await add(database, **{f"k{key}": value for key, value in detail.items()})
    assert await verify(database) is None


async def test_known_secrets_are_taken_out(database: Database) -> None:
    redaction.redactor.add("hush-hush-audit")
    await add(database, said="it is hush-hush-audit")
    async with database.read() as conn:
        assert await conn.scalar(sa.select(tables.audit.c.detail)) == {"said": "it is [redacted]"}


async def test_the_head_is_locked_only_by_its_tenant(postgresql_url: str) -> None:
    opened = Database(postgresql_url)
    async with opened.write() as first:
        await audit.append(first, TENANT, "a", "b.c", "d", None, "done")
        async with opened.write() as second:
            assert await audit.append(second, OTHER, "a", "b.c", "d", None, "done") == 1
    async with opened.write() as conn:
        await bulk.delete_many(conn, tables.audit_head, [{"tenant_id": TENANT}], ["tenant_id"])
    found = await verify(opened)
    assert found is not None
    await opened.close()
