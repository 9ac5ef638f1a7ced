"""Who a key stands for, and for how long."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa

from agentos_controller import clock as clocks
from agentos_controller import ids, keys, settings, tables
from agentos_controller.database import Database
from agentos_engine.errors import Problem

TENANT = "0199a1b2-0000-7000-8000-000000000001"
OTHER = "0199a1b2-0000-7000-8000-000000000002"
BOOTSTRAP = "a-long-and-random-bootstrap-key"


@pytest.fixture
def made(database: Database, clock: clocks.ManualClock) -> keys.Keys:
    return keys.Keys(database, clock, BOOTSTRAP)


async def create(database: Database, made: keys.Keys, **more: Any) -> keys.Created:
    wanted = {"tenant_id": TENANT, "name": "ci", "permissions": ["run"], "created_by": "key:bootstrap"} | more
    async with database.write() as conn:
        return await made.create(conn, **wanted)


async def used_at(database: Database) -> int | None:
    async with database.read() as conn:
        found: int | None = await conn.scalar(sa.select(tables.api_key.c.last_used_at))
        return found


async def test_a_key_authenticates_its_principal(database: Database, made: keys.Keys) -> None:
    created = await create(database, made, roles=["marketing-lead"])
    assert re.fullmatch(rf"aos_{created.prefix}_[\w-]{{43}}", created.text)
    principal = await made.authenticate(created.text)
    assert principal == keys.Principal(
        f"key:{created.id}", "ci", TENANT, frozenset({"run", "read"}), frozenset({"marketing-lead"}), created.id
    )
    assert principal == await made.authenticate(f"Bearer {created.text}")
    assert created.text not in repr(created)


async def test_the_database_holds_no_key(database: Database, made: keys.Keys) -> None:
    created = await create(database, made)
    async with database.read() as conn:
        row = (await conn.execute(sa.select(tables.api_key))).mappings().one()
        listed = await made.listed(conn, TENANT)
        assert await made.listed(conn, OTHER) == []
    assert created.text[13:] not in str(dict(row))
    assert [each["name"] for each in listed] == ["ci"]
    assert "hash" not in listed[0]


@pytest.mark.parametrize(
    ("given", "implied"),
    [(["read"], {"read"}), (["run"], {"run", "read"}), (["operate"], {"operate", "read"}),
     (["admin"], {"read", "run", "operate", "admin"}), (["run", "operate"], {"run", "operate", "read"})],
)  # fmt: skip
async def test_permissions_imply(database: Database, made: keys.Keys, given: list[str], implied: set[str]) -> None:
    principal = await made.authenticate((await create(database, made, permissions=given)).text)
    assert principal is not None
    assert {each for each in keys.PERMISSIONS if principal.may(each)} == implied


async def test_wrong_texts_are_nobody(database: Database, made: keys.Keys) -> None:
    text = (await create(database, made)).text
    other = (await create(database, made)).text
    wrong = [None, "", "Bearer ", text[:-1], text[:-1] + ("A" if text[-1] != "A" else "B"), text + "x", text.upper()]
    wrong += [text[:13] + other[13:], "aos_", "x" * 10_000, "aos_é", f"aos_zzzzzzzz_{'a' * 43}", BOOTSTRAP[:-1]]
    for each in wrong:
        assert await made.authenticate(each) is None


async def test_a_revoked_key_is_refused_at_once(database: Database, made: keys.Keys) -> None:
    created = await create(database, made)
    assert await made.authenticate(created.text) is not None
    async with database.write() as conn:
        assert await made.revoke(conn, created.id, OTHER) is False
        assert await made.revoke(conn, created.id, TENANT) is True
        assert await made.revoke(conn, created.id) is False
    assert await made.authenticate(created.text) is None


async def test_another_process_learns_of_it_in_seconds(
    database: Database, made: keys.Keys, clock: clocks.ManualClock
) -> None:
    created = await create(database, made)
    there = keys.Keys(database, clock)
    assert await there.authenticate(created.text) is not None
    async with database.write() as conn:
        await made.revoke(conn, created.id)
    clock.advance(6)
    assert await there.authenticate(created.text) is None


async def test_a_key_expires(database: Database, made: keys.Keys, clock: clocks.ManualClock) -> None:
    created = await create(database, made, expires_at=clock.now_us() + 2 * clocks.SECOND)
    assert await made.authenticate(created.text) is not None
    clock.advance(2)
    assert await made.authenticate(created.text) is None


async def test_use_is_written_once_a_minute(database: Database, made: keys.Keys, clock: clocks.ManualClock) -> None:
    text = (await create(database, made)).text
    first = clock.now_us()
    for seconds, expected in ((0, 0), (30, 0), (29, 0), (1, 60), (10, 60)):
        clock.advance(seconds)
        await made.authenticate(text)
        assert await used_at(database) == first + expected * clocks.SECOND


async def test_the_bootstrap_key_is_an_admin_that_is_not_stored(database: Database, made: keys.Keys) -> None:
    principal = await made.authenticate(BOOTSTRAP)
    assert principal is not None
    assert (principal.tenant_id, principal.may("admin"), principal.subject) == (None, True, "key:bootstrap")
    async with database.read() as conn:
        assert await made.listed(conn) == []


def test_a_short_bootstrap_key_is_refused(database: Database, clock: clocks.ManualClock) -> None:
    with pytest.raises(settings.ConfigurationError, match="AGENTOS_BOOTSTRAP_KEY"):
        keys.Keys(database, clock, "short")


@pytest.mark.parametrize(
    ("wrong", "path"),
    [({"permissions": []}, "permissions"), ({"permissions": ["root"]}, "permissions"), ({"name": ""}, "name"),
     ({"name": "a\nb"}, "name"), ({"roles": ["Lead!"]}, "roles"), ({"expires_at": 1}, "expiresAt")],
)  # fmt: skip
async def test_a_wrong_wish_is_answered(database: Database, made: keys.Keys, wrong: dict[str, Any], path: str) -> None:
    with pytest.raises(Problem) as raised:
        await create(database, made, **wrong)
    assert raised.value.code == "InvalidRequest"
    assert [error["path"] for error in raised.value.extra["errors"]] == [path]


async def test_many_keys_are_not_all_kept_in_memory(database: Database, made: keys.Keys) -> None:
    for _ in range(3):
        assert await made.authenticate(f"aos_{ids.new()[:8]}_{'a' * 43}") is None
    assert made._cache == {}
