"""Plans of revisions and of uncommitted files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
import zstandard

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import ids, tables
from tests.support import manifests, repos, worlds


@pytest.fixture
async def world(sqlite: databases.Database, tmp_path: Path, clock: clocks.ManualClock) -> worlds.World:
    return worlds.World(sqlite, repos.Repo(tmp_path / "repo", bare=True), tmp_path / "state", clock)


async def plan(world: worlds.World, revision: str | None = None, files: dict[str, str] | None = None) -> Any:
    owner = await world.tenant()
    id_ = ids.new()
    request = zstandard.compress(orjson.dumps(files)) if files is not None else None
    row = {"id": id_, "tenant_id": owner.id, "head": revision, "request": request, "state": "pending"}
    async with world.db.write() as conn:
        made = {"requested_by": "key:test", "created_at": world.clock.now_us()}
        await conn.execute(tables.plan.insert(), {**row, **made})
    await world.settle()
    (answer,) = await world.rows(sa.select(tables.plan).where(tables.plan.c.id == id_))
    return answer


def changes(row: Any) -> dict[str, Any]:
    return {f"{one['kind']}/{one['name']}": one for one in orjson.loads(zstandard.decompress(row.changes))}


async def test_a_plan_of_a_branch_changes_nothing_and_says_what_would(world: worlds.World) -> None:
    await world.commit(manifests.small())
    before = await world.state()
    head = world.repo.head
    files = {
        "agents/greeter.yaml": manifests.agent("greeter", instructions="Be brief."),
        "agents/extra.yaml": manifests.agent("extra"),
        "workflows/hello.yaml": None,
    }
    world.repo.git.references.create("refs/heads/proposal", head)
    revision = world.repo.commit(files, branch="proposal")
    made = await plan(world, revision)
    assert (made.state, made.base_seq, made.head, made.error) == ("open", 1, revision, None)
    assert {name: one["action"] for name, one in changes(made).items()} == {
        "Agent/greeter": "changed",
        "Agent/extra": "created",
        "Workflow/hello": "deleted",
    }
    assert [field["path"] for field in changes(made)["Agent/greeter"]["fields"]] == ["instructions"]
    assert (made.summary["created"], made.summary["changed"], made.summary["deleted"]) == (1, 1, 1)
    assert await world.state() == before


async def test_a_plan_of_what_serves_is_empty(world: worlds.World) -> None:
    revision = await world.commit(manifests.small())
    assert changes(await plan(world, revision)) == {}
    assert changes(await plan(world, files={"agents/model.yaml": manifests.model()})) == {}


async def test_a_plan_of_files_shows_what_is_wrong(world: worlds.World) -> None:
    await world.commit(manifests.small())
    made = await plan(world, files={"agents/greeter.yaml": manifests.agent("greeter", model="nope")})
    assert changes(made) == {}
    assert [one["code"] for one in orjson.loads(zstandard.decompress(made.diagnostics))] == ["UnknownReference"]
    assert {one["name"]: one["reason"] for one in made.summary["stalled"]} == {
        "greeter": "UnknownReference",
        "hello": "DependencyStalled",
    }


async def test_a_plan_looks_through_a_hold(world: worlds.World) -> None:
    await world.commit(manifests.small())
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter", instructions="New.")})
    await world.command("rollback", {"generation": 1})
    made = await plan(world, world.repo.head)
    assert {name: one["action"] for name, one in changes(made).items()} == {
        "Agent/greeter": "changed",
        "Workflow/hello": "changed",
    }


async def test_a_revision_that_nobody_has(world: worlds.World) -> None:
    await world.commit(manifests.small())
    made = await plan(world, "1" * 40)
    assert (made.state, made.error) == ("failed", "no source of the tenant has the commit 111111111111")
