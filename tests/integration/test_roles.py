"""Roles from a commit to a caller: what a Role in the platform's source gives, and when it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import keys, tables
from agentos_controller.api import roles
from agentos_controller.reconcile import heal
from agentos_controller.views import blobs
from tests.support import manifests, repos, worlds

ROLE = (
    manifests.HEAD
    + """\
kind: Role
metadata: {name: ops}
spec:
  members: [key/ci]
  rules:
    look: {permissions: [operate]}
    one: {permissions: [run], kinds: [Workflow], names: [hello]}
"""
)
CI = keys.Principal("key:1", "ci", None, frozenset())


@pytest.fixture
async def world(database: databases.Database, tmp_path: Path, clock: clocks.ManualClock) -> worlds.World:
    return worlds.World(database, repos.Repo(tmp_path / "repo", bare=True), tmp_path / "state", clock)


async def test_a_role_is_in_force_as_long_as_it_serves(world: worlds.World, clock: clocks.ManualClock) -> None:
    known = roles.Roles(clock.monotonic)

    async def standing() -> roles.Standing:
        clock.advance(1.1)
        return await known.standing(world.db, CI)

    assert await standing() == roles.Standing(CI)
    await world.commit(manifests.small() | {"agents/ops.yaml": ROLE})
    before = await standing()
    assert (before.principal.permissions, before.principal.roles) == ({"operate", "read"}, {"ops"})
    assert before.may("run", "Workflow", "hello")
    assert not before.may("run", "Workflow", "other")
    assert not before.may("operate", "Workflow", "hello"), "what is given everywhere is not among the limited"
    # Nothing is lost when the platform's own resources move to their own tenant.
    tenant = {"agents/tenants.yaml": manifests.tenant("acme", "tenants/acme")}
    await world.commit(tenant | {f"tenants/acme/{path}": text for path, text in manifests.small().items()})
    assert await standing() == before
    await world.commit({"agents/ops.yaml": None})
    assert await standing() == roles.Standing(CI)


async def test_a_role_that_somebody_altered_gives_nothing_until_it_is_healed(
    world: worlds.World, clock: clocks.ManualClock
) -> None:
    await world.commit(manifests.small() | {"agents/ops.yaml": ROLE})
    rows = await world.rows(sa.select(tables.artifact).where(tables.artifact.c.name == "Role/ops"))
    evil = {"members": ["key/ci"], "rules": {"all": {"permissions": ["admin"], "kinds": [], "names": []}}}
    async with world.db.write() as conn:
        where = tables.artifact.c.digest == rows[0].digest
        await conn.execute(tables.artifact.update().where(where).values(body=blobs.pack(evil)))
    known = roles.Roles(clock.monotonic)
    assert await known.standing(world.db, CI) == roles.Standing(CI)
    clock.advance(heal.INTERVAL)
    await world.settle()
    assert (await known.standing(world.db, CI)).principal.permissions == {"operate", "read"}
