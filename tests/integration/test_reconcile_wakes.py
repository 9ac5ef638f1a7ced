"""What a delivery does in the loop: the time in a source's row becomes one look at its repository."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import tables
from agentos_controller.reconcile import loop, wakes
from tests.support import manifests, repos, worlds


@pytest.fixture
async def world(database: databases.Database, tmp_path: Path, clock: clocks.ManualClock) -> worlds.World:
    made = worlds.World(
        database, repos.Repo(tmp_path / "repo", bare=True), tmp_path / "state", clock, local_interval=3600
    )
    await made.commit(manifests.small())
    return made


async def plan(world: worlds.World, at: int) -> None:
    async with world.db.write() as conn:
        await conn.execute(tables.source.update().values(next_at=at))


async def times(world: worlds.World) -> list[int | None]:
    return [row.next_at for row in await world.rows(sa.select(tables.source.c.next_at))]


async def rest(world: worlds.World) -> None:
    """Let the loop come to rest, and let the time come at which it looks for rows without having been woken."""
    await world.reconciler.round()
    world.clock.advance(loop.SLOW_POLL)


async def test_a_source_that_is_due_is_looked_at_once(world: worlds.World) -> None:
    await rest(world)
    pushed = world.repo.commit({"agents/model.yaml": manifests.model(text="new")})
    await world.reconciler.round()
    assert (await world.tenant()).active_seq == 1, "nobody has told of it, and the next look is far"
    world.clock.advance(loop.SLOW_POLL)
    await plan(world, world.clock.now_us())
    await world.reconciler.round()
    assert (await world.tenant()).active_seq == 2
    assert [row.head for row in await world.rows(sa.select(tables.source.c.head))] == [pushed]
    assert await times(world) == [None]


async def test_what_lies_ahead_is_waited_for_and_no_longer(world: worlds.World) -> None:
    await rest(world)
    at = world.clock.now_us() + clocks.SECOND
    await plan(world, at)
    world.repo.commit({"agents/model.yaml": manifests.model(text="new")})
    await world.reconciler.round()
    assert await times(world) == [at]
    assert (await world.tenant()).active_seq == 1
    world.clock.advance(1)
    await world.reconciler.round()
    assert await times(world) == [None]
    assert (await world.tenant()).active_seq == 2


async def test_a_time_written_meanwhile_stays(world: worlds.World) -> None:
    now = world.clock.now_us()
    await plan(world, now)
    taken = await wakes.take(world.db, now)
    assert (len(taken.sources), taken.upcoming) == (1, None)
    await plan(world, now + clocks.SECOND)
    assert await wakes.take(world.db, now) == ([], now + clocks.SECOND)
    assert await times(world) == [now + clocks.SECOND]
