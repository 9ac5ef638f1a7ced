"""Rollback, hold and release; commands as rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import tables
from tests.support import manifests, repos, worlds

SCHEDULE = """apiVersion: agentos/v1
kind: Schedule
metadata: {name: daily}
spec: {cron: "0 7 * * *", run: {workflow: hello, with: {who: all}}}
"""


@pytest.fixture
async def world(database: databases.Database, tmp_path: Path, clock: clocks.ManualClock) -> worlds.World:
    return worlds.World(database, repos.Repo(tmp_path / "repo", bare=True), tmp_path / "state", clock)


async def test_a_rollback_serves_the_old_content_as_a_new_generation_and_holds(world: worlds.World) -> None:
    await world.commit(manifests.small())
    first = await world.generation()
    files = {"agents/greeter.yaml": manifests.agent("greeter", instructions="New."), "agents/more.yaml": SCHEDULE}
    await world.commit(files)
    second = await world.generation()
    blobs = world.reconciler.repositories.counters.blobs
    answer = await world.command("rollback", {"generation": 1, "reason": "too cold"})
    assert (answer.state, answer.result, answer.error) == ("done", {"generation": 3}, None)
    assert await world.generation() == first
    assert await world.generation(seq=2) == second
    assert world.reconciler.repositories.counters.blobs == blobs
    tenant = await world.tenant()
    assert (tenant.active_seq, tenant.hold["reason"], tenant.hold["by"]) == (3, "too cold", "key:test")
    assert tenant.ready == "False"
    reasons = await world.reasons()
    assert reasons["Agent/greeter"] == reasons["Schedule/daily"] == "Held"
    assert reasons["Model/fast"] == "Ready"
    states = {row.seq: row.state for row in await world.rows(sa.select(tables.generation))}
    assert states == {1: "superseded", 2: "rolledback", 3: "applied"}
    assert await world.rows(sa.select(tables.schedule_state)) == []

    # While it is held, commits are looked at, shown, and not applied.
    await world.commit(
        {"agents/greeter.yaml": manifests.agent("greeter", model="nope"), "agents/x.yaml": manifests.agent("x")}
    )
    reasons = await world.reasons()
    assert (reasons["Agent/greeter"], reasons["Agent/x"]) == ("UnknownReference", "Held")
    assert await world.generation() == first
    await world.commit(
        {"agents/greeter.yaml": manifests.agent("greeter", instructions="Newer."), "agents/model.yaml": None}
    )
    assert await world.generation() == first
    world.restart()
    await world.settle()
    assert await world.generation() == first

    await world.commit({"agents/model.yaml": manifests.model()})
    released = await world.command("release")
    assert (released.state, released.result["generation"]) == ("done", 4)
    assert set((await world.reasons()).values()) == {"Ready"}
    assert (await world.tenant()).hold is None
    assert set(await world.live()) == {"Model/fast", "Agent/greeter", "Workflow/hello", "Schedule/daily", "Agent/x"}
    assert await world.generation(seq=1) == await world.generation(seq=3) == first
    (state,) = await world.rows(sa.select(tables.schedule_state))
    assert state.artifact_digest == (await world.generation())["Schedule/daily"][1]


async def test_release_leaves_what_a_fresh_start_would(world: worlds.World) -> None:
    await world.commit(manifests.small())
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter", instructions="New.")})
    second = await world.generation()
    await world.command("rollback", {"generation": 1})
    await world.command("release")
    assert await world.generation() == second
    before = await world.state()
    await world.forget()
    await world.settle()
    assert await world.state() == before


async def test_what_was_deleted_since_comes_back_and_goes_again(world: worlds.World) -> None:
    await world.commit(manifests.small())
    first = await world.generation()
    await world.commit({"workflows/hello.yaml": None, "agents/greeter.yaml": None})
    assert set(await world.live()) == {"Model/fast"}
    await world.command("rollback", {"generation": 1})
    assert await world.generation() == first
    assert (await world.reasons())["Workflow/hello"] == "Held"
    await world.command("release")
    assert set(await world.live()) == {"Model/fast"}
    assert await world.reasons() == {"Model/fast": "Ready"}


async def test_commands_that_cannot_be_carried_out_say_why(world: worlds.World) -> None:
    await world.commit(manifests.small())
    refused = await world.command("rollback", {"generation": 9})
    assert (refused.state, refused.error) == ("failed", "there is no generation 9")
    refused = await world.command("release")
    assert (refused.state, refused.error) == ("failed", "the tenant is not held")
    refused = await world.command("reconcile", {"source": "nope"})
    assert (refused.state, refused.error) == ("failed", "there is no source nope")
    done = await world.command("reconcile", {}, tenant=None)
    assert done.state == "done"
    assert done.result["sources"][0]["revision"] == world.repo.head


async def test_a_command_left_by_a_process_that_died_is_carried_out(world: worlds.World) -> None:
    await world.commit(manifests.small())
    command = await world.command("reconcile")
    table = tables.command
    async with world.db.write() as conn:
        await conn.execute(table.update().where(table.c.id == command.id).values(state="running", done_at=None))
    world.restart()
    await world.settle()
    (row,) = await world.rows(sa.select(table))
    assert row.state == "done"
