"""A secret goes to the hosts of its first use, or to those an admin names, and to no others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from agentos_controller import bulk, clock, redaction, secrets, tables, wiring
from agentos_controller.database import Database
from agentos_controller.secrets import binding
from agentos_controller.source import address
from agentos_engine import errors

TENANT = "0199a1b2-0000-7000-8000-000000000001"
OTHER = "0199a1b2-0000-7000-8000-000000000002"
VALUE = "bound-7f3a9c-value"
HERE = ("api.example.com",)
THERE = ("elsewhere.example.com:8443",)


@pytest.fixture
async def store(database: Database, clock: clock.ManualClock, tmp_path: Path) -> secrets.Secrets:
    """Two tenants with a secret `key`; one has another one mounted."""
    folder = tmp_path / "mount" / "acme"
    folder.mkdir(parents=True)
    (folder / "mounted").write_text(VALUE)
    ring = secrets.KeyRing.open(tmp_path / "secrets.key")
    mount = secrets.Mounted(folder.parent)
    made = secrets.Secrets(database, ring, clock, mount=mount, redactor=redaction.Redactor())
    row = {"id": TENANT, "name": "acme", "created_at": 1}
    async with database.write() as conn:
        await bulk.insert_many(conn, tables.tenant, [row, row | {"id": OTHER, "name": "other"}])
        for tenant in (TENANT, OTHER):
            await made.put(conn, tenant, "key", VALUE, "key:1")
    return made


async def bindings(database: Database) -> list[tuple[Any, ...]]:
    table = tables.secret_binding
    async with database.read() as conn:
        rows = await conn.execute(sa.select(table.c.name, table.c.hosts, table.c.bound_by).order_by(table.c.name))
        return [tuple(row) for row in rows]


async def trail(database: Database) -> list[tuple[Any, ...]]:
    table = tables.audit
    async with database.read() as conn:
        rows = await conn.execute(sa.select(table.c.actor, table.c.action, table.c.object, table.c.detail))
        return [tuple(row) for row in rows]


@pytest.mark.parametrize("name", ["key", "mounted"])
async def test_the_first_use_binds(database: Database, store: secrets.Secrets, name: str) -> None:
    assert await store.resolve(TENANT, name, ("B.example.com", "a.example.com:80", "b.example.com")) == VALUE
    hosts = ["a.example.com:80", "b.example.com"]
    assert await bindings(database) == [(name, hosts, "system")]
    assert await trail(database) == [("system", "secret.bind", f"Secret/{name}", {"hosts": hosts, "firstUse": True})]
    assert await store.resolve(TENANT, name, ["a.example.com:80"]) == VALUE
    with pytest.raises(secrets.SecretBound) as refused:
        await store.resolve(TENANT, name, ["b.example.com", *THERE])
    assert str(refused.value) == (
        f"secret {name} is bound to a.example.com:80, b.example.com, and {THERE[0]} is not among them: an admin may "
        f"bind it anew with `agentos secret set {name} --host …`"
    )
    assert len(await trail(database)) == 1
    async with database.read() as conn:
        assert {one.name: one.hosts for one in await store.listed(conn, TENANT)}[name] == tuple(hosts)


@pytest.mark.parametrize("name", ["key", "mounted"])
async def test_an_admin_binds_anew(database: Database, store: secrets.Secrets, name: str) -> None:
    await store.resolve(TENANT, name, HERE)
    async with database.write() as conn:
        await store.bind(conn, TENANT, name, THERE, "key:1")
    assert await store.resolve(TENANT, name, THERE) == VALUE
    with pytest.raises(secrets.SecretBound):
        await store.resolve(TENANT, name, HERE)
    assert await bindings(database) == [(name, list(THERE), "key:1")]


async def test_a_new_value_keeps_the_hosts_and_removing_forgets_them(
    database: Database, store: secrets.Secrets
) -> None:
    await store.resolve(TENANT, "key", HERE)
    async with database.write() as conn:
        await store.put(conn, TENANT, "key", "another-value", "key:1")
    with pytest.raises(secrets.SecretBound):
        await store.resolve(TENANT, "key", THERE)
    async with database.write() as conn:
        assert await store.remove(conn, TENANT, "key")
    assert await bindings(database) == []
    # Under a mounted value of the same name, what is bound stays: that value is still in force.
    async with database.write() as conn:
        await store.put(conn, TENANT, "mounted", "shadowed-value", "key:1")
    await store.resolve(TENANT, "mounted", HERE)
    async with database.write() as conn:
        assert await store.remove(conn, TENANT, "mounted")
    with pytest.raises(secrets.SecretBound):
        await store.resolve(TENANT, "mounted", THERE)


async def test_tenants_are_bound_apart_and_what_is_not_set_is_not_bound(
    database: Database, store: secrets.Secrets
) -> None:
    with pytest.raises(secrets.store.SecretMissing):
        await store.resolve(TENANT, "unset", THERE)
    assert await bindings(database) == []
    assert await store.resolve(TENANT, "key", HERE) == VALUE
    assert await store.resolve(OTHER, "key", THERE) == VALUE
    with pytest.raises(secrets.SecretBound):
        await store.resolve(OTHER, "key", HERE)
    with pytest.raises(ValueError, match="the hosts it goes to"):
        await store.resolve(TENANT, "key", ())


async def test_of_two_first_uses_one_wins(database: Database, store: secrets.Secrets) -> None:
    uses = [store.resolve(TENANT, "key", (f"host{number}.example.com",)) for number in range(8)]
    ends = await asyncio.gather(*uses, return_exceptions=True)
    won = [number for number, end in enumerate(ends) if end == VALUE]
    assert len(won) == 1
    assert all(isinstance(end, secrets.SecretBound) for number, end in enumerate(ends) if number not in won)
    assert await bindings(database) == [("key", [f"host{won[0]}.example.com"], "system")]
    assert len(await trail(database)) == 1


async def test_the_token_of_a_source_goes_to_its_host(store: secrets.Secrets) -> None:
    token = wiring._tokens(store)
    where, elsewhere = (address.parse(f"https://git{number}.example.com/a") for number in (1, 2))
    assert await token(TENANT, "key", where.host) == VALUE
    assert await token(TENANT, "key", where.host) == VALUE
    with pytest.raises(errors.Stall, match=r"bound to git1\.example\.com") as refused:
        await token(TENANT, "key", elsewhere.host)
    assert refused.value.code == "SourceUnavailable"


@pytest.mark.parametrize(
    ("bound", "asked", "covered"),
    [
        ("api.example.com", "api.example.com", True),
        ("api.example.com", "API.Example.com", True),
        ("api.example.com", "api.example.com:8443", True),
        ("api.example.com:8443", "api.example.com:8443", True),
        ("api.example.com:8443", "api.example.com", False),
        ("api.example.com:8443", "api.example.com:443", False),
        ("api.example.com", "evil-api.example.com", False),
        ("api.example.com", "api.example.com.evil.org", False),
        ("api.example.com", "api.example.com:80.evil.org", False),
        ("*.example.com", "api.example.com", True),
        ("*.example.com", "a.b.example.com:8443", True),
        ("*.example.com", "*.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "evilexample.com", False),
        ("api.example.com", "*.example.com", False),
        ("*.0.0.1", "127.0.0.1", False),
        ("127.0.0.1:80", "127.0.0.1:8080", False),
        ("[::1]", "[::1]:8700", True),
        ("fe80::1", "fe80::1:80", False),
    ],
)
def test_what_a_bound_host_covers(bound: str, asked: str, covered: bool) -> None:
    if covered:
        binding.check("key", [bound], binding.canonical([asked]))
    else:
        with pytest.raises(secrets.SecretBound):
            binding.check("key", [bound], binding.canonical([asked]))
