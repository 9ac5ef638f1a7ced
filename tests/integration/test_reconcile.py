"""Reconciling real repositories: from a commit to a generation, its statuses, and what a broken commit leaves alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import tables
from agentos_controller.reconcile import loop
from tests.support import manifests, repos


class World:
    """One controller over one repository, driven round by round."""

    def __init__(self, db: databases.Database, repo: repos.Repo, state: Path, clock: clocks.ManualClock) -> None:
        self.db = db
        self.repo = repo
        self.clock = clock
        self.options = loop.Options(source=str(repo.folder), state_dir=state)
        self.reconciler = loop.Reconciler(db, self.options, clock)

    def restart(self) -> None:
        self.reconciler = loop.Reconciler(self.db, self.options, self.clock)

    async def commit(self, files: Mapping[str, str | None], message: str = "Change") -> str:
        self.clock.advance(1)
        revision = self.repo.commit(files, message)
        await self.reconciler.settle()
        return revision

    async def rows(self, query: sa.Select[Any]) -> list[Any]:
        async with self.db.read() as conn:
            return list((await conn.execute(query)).all())

    async def tenant(self, name: str = "default") -> Any:
        table = tables.tenant
        (row,) = await self.rows(sa.select(table).where(table.c.name == name, table.c.deleted_at.is_(None)))
        return row

    async def resources(self, tenant: str = "default") -> dict[str, Any]:
        owner = await self.tenant(tenant)
        table = tables.resource
        rows = await self.rows(sa.select(table).where(table.c.tenant_id == owner.id))
        return {f"{row.kind}/{row.name}": row for row in rows}

    async def live(self, tenant: str = "default") -> dict[str, str]:
        """What serves: name to digest."""
        owner = await self.tenant(tenant)
        table = tables.generation_item
        rows = await self.rows(sa.select(table).where(table.c.tenant_id == owner.id, table.c.to_seq.is_(None)))
        return {f"{row.kind}/{row.name}": row.digest for row in rows}

    async def diagnostics(self) -> list[tuple[str, str, int]]:
        table = tables.diagnostic
        return sorted((row.code, row.path, row.line) for row in await self.rows(sa.select(table)))

    async def command(self, type_: str, args: dict[str, Any], tenant: str = "default") -> Any:
        from agentos_controller import ids

        owner = await self.tenant(tenant)
        id_ = ids.new()
        row = {"id": id_, "tenant_id": owner.id, "type": type_, "args": args, "state": "pending", "actor": "key:test"}
        async with self.db.write() as conn:
            await conn.execute(tables.command.insert(), {**row, "created_at": self.clock.now_us()})
        await self.reconciler.settle()
        (answer,) = await self.rows(sa.select(tables.command).where(tables.command.c.id == id_))
        return answer


@pytest.fixture
async def world(sqlite: databases.Database, tmp_path: Path, clock: clocks.ManualClock) -> AsyncIterator[World]:
    yield World(sqlite, repos.Repo(tmp_path / "repo", bare=True), tmp_path / "state", clock)


async def test_a_commit_becomes_a_generation(world: World) -> None:
    revision = await world.commit(manifests.small())
    resources = await world.resources()
    assert {name: row.ready for name, row in resources.items()} == {
        "Model/fast": "True",
        "Agent/greeter": "True",
        "Workflow/hello": "True",
    }
    row = resources["Workflow/hello"]
    assert row.applied_digest == row.desired_digest == (await world.live())["Workflow/hello"]
    assert row.applied_revision == revision
    assert row.applied_seq == 1
    assert {condition[0]: condition[1] for condition in row.conditions}["Stalled"] == "False"
    tenant = await world.tenant()
    assert (tenant.active_seq, tenant.ready, tenant.platform) == (1, "True", True)
    (source,) = await world.rows(sa.select(tables.source))
    assert (source.head, source.ready) == (revision, "True")


async def test_a_commit_that_changes_nothing_makes_no_generation(world: World) -> None:
    await world.commit(manifests.small())
    before = await world.resources()
    revision = await world.commit({"README.md": "hello"})
    assert (await world.tenant()).active_seq == 1
    (source,) = await world.rows(sa.select(tables.source))
    assert source.head == revision
    assert await world.resources() == before
    await world.commit({"agents/model.yaml": "# a comment\n" + manifests.small()["agents/model.yaml"]})
    assert (await world.tenant()).active_seq == 1
    assert (await world.resources())["Model/fast"].line == 2


async def test_what_is_broken_keeps_serving_and_names_its_place(world: World) -> None:
    await world.commit(manifests.small())
    before = await world.live()
    broken = manifests.agent("greeter", model="fsat")
    revision = await world.commit({"agents/greeter.yaml": broken, "agents/new.yaml": manifests.agent("other")})
    resources = await world.resources()
    assert resources["Agent/greeter"].reason == "UnknownReference"
    assert "agents/greeter.yaml:" in resources["Agent/greeter"].message
    assert resources["Workflow/hello"].reason == "DependencyStalled"
    assert resources["Agent/other"].ready == "True"
    assert await world.live() == {**before, "Agent/other": resources["Agent/other"].applied_digest}
    assert resources["Agent/greeter"].desired_revision == revision
    assert ("UnknownReference", "agents/greeter.yaml", 6) in await world.diagnostics()
    assert (await world.tenant()).ready == "False"
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter")})
    assert all(row.ready == "True" for row in (await world.resources()).values())
    assert await world.diagnostics() == []
