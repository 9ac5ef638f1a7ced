"""Rotating the key of the secrets, and verifying the audit trail, over the API."""

from __future__ import annotations

import httpx
import pytest
import sqlalchemy as sa

from agentos_controller import ids, tables
from tests.support.apiworld import Tenant, World, problem


async def test_rotation_wraps_every_secret_with_a_new_key(
    world: World, acme: Tenant, client: httpx.AsyncClient
) -> None:
    await client.put("/v1/tenants/acme/secrets/first", json={"value": "first-value"})
    before = world.secrets.key
    told = (await client.post("/v1/secrets/rotate", headers={"idempotency-key": "once"})).json()
    assert told["key"] == world.secrets.key != before
    async with world.db.read() as conn:
        assert set(await conn.scalars(sa.select(tables.secret.c.kek_id))) == {told["key"]}
        count = await conn.scalar(sa.select(sa.func.count()).select_from(tables.secret))
    assert told["rewrapped"] == count
    assert await world.secrets.resolve(acme.id, "first", ["api.example.com"]) == "first-value"
    again = await client.post("/v1/secrets/rotate", headers={"idempotency-key": "once"})
    assert again.json() == told
    assert world.secrets.key == told["key"]
    entry = (await client.get("/v1/audit", params={"limit": 1})).json()["items"][0]
    assert (entry["tenant"], entry["action"], entry["object"]) == (None, "secret.rotate", f"SecretKey/{told['key']}")
    assert entry["detail"] == {"rewrapped": count}


async def test_rotation_names_the_secret_that_does_not_decrypt(
    world: World, acme: Tenant, client: httpx.AsyncClient
) -> None:
    await client.put("/v1/tenants/acme/secrets/torn", json={"value": "some-value"})
    async with world.db.write() as conn:
        torn = sa.update(tables.secret).where(tables.secret.c.name == "torn").values(wrapped_key=b"x" * 60)
        await conn.execute(torn)
    answer = await client.post("/v1/secrets/rotate")
    assert "secret torn, version 1" in problem(answer, 409, "Conflict")["detail"]
    async with world.db.write() as conn:
        await conn.execute(sa.delete(tables.secret).where(tables.secret.c.name == "torn"))
    assert (await client.post("/v1/secrets/rotate")).status_code == 200


async def test_rotation_takes_a_key_of_the_platform(world: World, acme: Tenant) -> None:
    async with world.client(await world.key(("admin",), acme.id)) as client:
        assert problem(await client.post("/v1/secrets/rotate"), 403, "Forbidden")["permission"] == "admin"


async def test_a_whole_trail_is_intact(world: World, acme: Tenant, client: httpx.AsyncClient) -> None:
    await client.put("/v1/tenants/acme/secrets/some", json={"value": "some-value"})
    await client.post("/v1/keys", json={"name": "some", "permissions": ["read"]})
    first = (await client.get("/v1/audit/verify", params={"limit": 1})).json()
    rest = (await client.get("/v1/audit/verify", params={"cursor": first["nextCursor"]})).json()
    chains = {chain["tenant"]: chain for chain in first["items"] + rest["items"]}
    assert set(chains) == {None, "acme"}
    assert all(chain["intact"] and chain["entries"] for chain in chains.values())
    one = (await client.get("/v1/audit/verify", params={"tenant": "acme"})).json()["items"]
    assert one == [chains["acme"]]
    problem(await client.get("/v1/audit/verify", params={"tenant": "nobody"}), 404, "NotFound")


@pytest.mark.parametrize("head", ["kept", "gone"])
async def test_what_was_altered_shows_where(world: World, acme: Tenant, client: httpx.AsyncClient, head: str) -> None:
    await client.put("/v1/tenants/acme/secrets/some", json={"value": "some-value"})
    async with world.db.write() as conn:
        mine = tables.audit.c.tenant_id == acme.id
        last = await conn.scalar(sa.select(sa.func.max(tables.audit.c.seq)).where(mine))
        await conn.execute(sa.update(tables.audit).where(mine, tables.audit.c.seq == last).values(actor="nobody"))
        if head == "gone":
            await conn.execute(sa.delete(tables.audit_head).where(tables.audit_head.c.tenant_id == acme.id))
    chains = {chain["tenant"]: chain for chain in (await client.get("/v1/audit/verify")).json()["items"]}
    assert chains[None]["intact"]
    assert (chains["acme"]["intact"], chains["acme"]["brokenAt"]) == (False, last)
    assert chains["acme"]["reason"] == "the row was altered"
    assert ids.NIL not in str(chains)
