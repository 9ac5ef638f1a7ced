"""Holding still over real repositories and both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import ids, tables
from agentos_controller.reconcile import rounds
from tests.support import manifests, repos, worlds

HOUR = 3600


@pytest.fixture
async def world(database: databases.Database, tmp_path: Path, clock: clocks.ManualClock) -> worlds.World:
    return worlds.World(database, repos.Repo(tmp_path / "repo", bare=True), tmp_path / "state", clock)


# Suspending


async def test_a_suspended_tenant_looks_and_applies_nothing(world: worlds.World) -> None:
    await world.commit(manifests.small())
    before = await world.generation()
    done = await world.command("suspend", {"reason": "audit"})
    assert done.state == "done"
    tenant = await world.tenant()
    assert (tenant.suspended_by, tenant.suspended_reason, tenant.ready) == ("key:test", "audit", "False")
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter", model="nope"), **manifests.models(1)})
    assert await world.generation() == before
    reasons = await world.reasons()
    assert (reasons["Agent/greeter"], reasons["Model/m1"]) == ("UnknownReference", "Suspended")
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter", instructions="New.")})
    world.restart()
    await world.settle()
    assert await world.generation() == before
    assert (await world.command("resume")).state == "done"
    assert set((await world.reasons()).values()) == {"Ready"}
    assert "Model/m1" in await world.live()
    assert (await world.tenant()).ready == "True"
    assert (await world.command("resume")).error == "Tenant/default is not suspended"
    assert [row.action for row in await world.trail("tenant.resume")] == ["tenant.resume"]


async def test_a_suspension_ends_by_itself(world: worlds.World) -> None:
    await world.commit(manifests.small())
    await world.command("suspend", {"until": world.clock.now_us() + HOUR * clocks.SECOND})
    await world.commit(manifests.models(1))
    assert "Model/m1" not in await world.live()
    assert 0 < world.reconciler._expiry.due_in() <= HOUR
    world.clock.advance(HOUR)
    await world.settle()
    assert "Model/m1" in await world.live()
    (entry,) = await world.trail("tenant.resume")
    assert (entry.actor, entry.detail["cause"]) == ("controller", "expiry")


async def test_a_hold_ends_by_itself_also_over_a_restart(world: worlds.World) -> None:
    await world.commit(manifests.small())
    first = await world.generation()
    await world.commit(manifests.models(1))
    until = world.clock.now_us() + HOUR * clocks.SECOND
    await world.command("rollback", {"generation": 1, "until": until})
    assert (await world.tenant()).hold["until"] == until
    await world.commit(manifests.models(2))
    assert await world.generation() == first
    world.restart()
    await world.settle()
    assert await world.generation() == first
    world.clock.advance(HOUR)
    await world.settle()
    assert {"Model/m1", "Model/m2"} <= set(await world.live())
    assert (await world.tenant()).hold is None
    (entry,) = await world.trail("hold.release")
    assert (entry.actor, entry.detail["cause"]) == ("controller", "expiry")


async def test_a_suspended_source_stays_at_its_revision(world: worlds.World) -> None:
    first = await world.commit(manifests.small())
    (source,) = await world.rows(sa.select(tables.source))
    await world.command("suspend", {"source": source.id, "reason": "freeze", "until": None})
    await world.commit(manifests.models(1))
    assert "Model/m1" not in await world.live()
    (source,) = await world.rows(sa.select(tables.source))
    assert (source.head, source.suspended_by, source.suspended_reason) == (first, "key:test", "freeze")
    world.restart()
    await world.settle()
    assert "Model/m1" not in await world.live()
    await world.command("suspend", {"source": source.id, "until": world.clock.now_us() + HOUR * clocks.SECOND})
    world.clock.advance(HOUR)
    await world.settle()
    assert "Model/m1" in await world.live()
    (source,) = await world.rows(sa.select(tables.source))
    assert (source.head, source.suspended_by) == (world.repo.head, None)


async def test_a_suspended_resource_keeps_what_serves_and_others_build_on_that(world: worlds.World) -> None:
    await world.commit(manifests.small())
    before = await world.generation()
    fast = {"kind": "Model", "name": "fast"}
    assert (await world.command("suspend", {**fast, "reason": "trial"})).state == "done"
    assert await world.ready("Model/fast") == ("True", "Suspended")
    await world.commit(
        {
            "agents/model.yaml": manifests.model(text="other"),
            "agents/greeter.yaml": manifests.agent("greeter", instructions="New."),
        }
    )
    live = await world.generation()
    assert live["Model/fast"] == before["Model/fast"]
    assert live["Agent/greeter"] != before["Agent/greeter"]
    assert await world.ready("Model/fast") == ("True", "Suspended")
    assert await world.ready("Agent/greeter") == ("True", "Ready")
    state = await world.state()
    await world.forget()
    await world.settle()
    assert await world.state() == state
    # Broken at the head, and gone from it: it stays.
    await world.commit({"agents/model.yaml": "a: ["})
    assert await world.generation() == live
    assert (await world.ready("Model/fast"))[0] == "True"
    await world.commit({"agents/model.yaml": None})
    assert await world.generation() == live
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter", instructions="Newer.")})
    assert await world.ready("Agent/greeter") == ("True", "Ready")
    refused = await world.command("rollback", {"generation": 0})
    assert refused.state == "failed"
    await world.commit({"agents/model.yaml": manifests.model(text="other")})
    assert (await world.command("resume", fast)).state == "done"
    assert set((await world.reasons()).values()) == {"Ready"}
    assert (await world.generation())["Model/fast"] != before["Model/fast"]
    assert [reason for _type, reason in await world.events("Model/fast")].count("Resumed") == 1


async def test_a_rollback_moves_nothing_that_is_suspended(world: worlds.World) -> None:
    await world.commit(manifests.small())
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter", instructions="New.")})
    before = await world.generation()
    await world.command("suspend", {"kind": "Agent", "name": "greeter"})
    refused = await world.command("rollback", {"generation": 1})
    assert refused.error == "Agent/greeter is suspended by key:test, and is another one there: resume it"
    assert await world.generation() == before
    assert (await world.tenant()).hold is None


async def test_a_resource_that_was_not_ready_stays_so_while_it_is_suspended(world: worlds.World) -> None:
    await world.commit(manifests.small())
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter", model="nope")})
    assert await world.ready("Agent/greeter") == ("False", "UnknownReference")
    until = world.clock.now_us() + HOUR * clocks.SECOND
    await world.command("suspend", {"kind": "Agent", "name": "greeter", "until": until})
    assert await world.ready("Agent/greeter") == ("False", "Suspended")
    assert await world.ready("Workflow/hello") == ("True", "Ready"), "it builds on what serves"
    world.clock.advance(HOUR)
    await world.settle()
    assert await world.ready("Agent/greeter") == ("False", "UnknownReference")


# Accepting, and what came between


async def test_a_revision_is_accepted_for_a_source(world: worlds.World) -> None:
    await world.commit(manifests.small())
    (source,) = await world.rows(sa.select(tables.source))
    revision = "d" * 40
    done = await world.command("accept", {"source": source.id, "revision": revision, "reason": "meant"})
    assert (done.state, done.result["accepted"]) == ("done", revision)
    (source,) = await world.rows(sa.select(tables.source))
    assert (source.accepted, source.accepted_by) == (revision, "key:test")
    (entry,) = await world.trail("source.accept")
    assert (entry.revision, entry.detail["reason"]) == (revision, "meant")
    async with world.db.write() as conn:
        await conn.execute(tables.source.update().values(observed="e" * 40))
    assert (await world.command("accept", {"source": source.id})).result["accepted"] == "e" * 40
    assert (await world.command("accept", {"source": ids.new()})).error == "there is no such source"


async def test_an_order_between_gathering_and_writing_refuses_the_round(
    world: worlds.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a round decided before an order came is not written after it: the round is made anew."""
    await world.commit(manifests.models(*range(4)))
    before = await world.live()
    real = rounds.finish

    async def suspended_first(*given: Any) -> rounds.Outcome:
        monkeypatch.setattr(rounds, "finish", real)
        async with world.db.write() as conn:
            await conn.execute(tables.tenant.update().values(suspended_by="key:other"))
        return await real(*given)

    monkeypatch.setattr(rounds, "finish", suspended_first)
    await world.commit({"agents/m0.yaml": manifests.model("m0", "new")})
    assert await world.live() == before
    world.clock.advance(10)
    await world.settle()
    assert await world.live() == before
    assert (await world.reasons())["Model/m0"] == "Suspended"


class Running:
    """A reconciler that runs by itself, over a repository that somebody else pushes to."""

    def __init__(self, world: worlds.World) -> None:
        self.world = world
        self.pushes = 0

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        with self.world.db.subscribe("commands:done", "changes", "generations") as news:
            while not await holds():
                await news.wait(0.1)

    async def push(self, files: Mapping[str, str | None]) -> None:
        """Commit, and wait until the loop has seen it."""
        self.pushes += 1
        revision = await asyncio.to_thread(self.world.repo.commit, files, f"Push {self.pushes}")

        async def seen() -> bool:
            return bool(await self.world.rows(sa.select(tables.source.c.id).where(tables.source.c.head == revision)))

        await self.until(seen)

    async def order(self, type_: str, **args: Any) -> Any:
        """Write a command as the API does, and wait for its answer."""
        id_ = ids.new()
        row = {"id": id_, "tenant_id": (await self.world.tenant()).id, "type": type_, "args": args, "state": "pending"}
        async with self.world.db.write() as conn:
            await conn.execute(tables.command.insert(), {**row, "actor": "key:test", "created_at": 1})
        self.world.db.notify("commands")
        found: list[Any] = []

        async def done() -> bool:
            found[:] = await self.world.rows(sa.select(tables.command).where(tables.command.c.id == id_))
            return found[0].state in ("done", "failed")

        await self.until(done)
        return found[0]

    async def pushed(self, more: int = 3) -> None:
        """Wait for so many further pushes."""
        enough = self.pushes + more

        async def there() -> bool:
            return self.pushes > enough

        await self.until(there)


async def test_orders_hold_while_others_push(database: databases.Database, tmp_path: Path) -> None:
    """Nothing moves between a stop and its end, however many commits come; in the end the newest head serves."""
    repo = repos.Repo(tmp_path / "repo", bare=True)
    world = worlds.World(database, repo, tmp_path / "state", clocks.SystemClock(), local_interval=0.01)  # type: ignore[arg-type]
    running = Running(world)
    over = asyncio.Event()

    async def pushing() -> None:
        number = 0
        while not over.is_set():
            number += 1
            await running.push(manifests.models(0, text=f"push {number}"))

    async def stays(but: str = "") -> None:
        before = await world.live()
        await running.pushed()
        after = await world.live()
        assert {name: after[name] for name in after if name != but} == {
            name: before[name] for name in before if name != but
        }

    loop = asyncio.create_task(world.reconciler.run())
    try:
        await running.push(manifests.models(*range(8)))
        others = asyncio.create_task(pushing())
        assert (await running.order("rollback", generation=1)).state == "done"
        first = await world.live()
        await running.pushed()
        assert await world.live() == first
        assert (await running.order("release")).state == "done"
        await running.pushed()
        assert (await world.live())["Model/m0"] != first["Model/m0"]

        assert (await running.order("suspend", reason="audit")).state == "done"
        await stays()
        assert (await running.order("resume")).state == "done"
        assert (await running.order("suspend", kind="Model", name="m0")).state == "done"
        await stays()
        assert (await running.order("resume", kind="Model", name="m0")).state == "done"

        over.set()
        await others
        over.clear()
        await running.push(manifests.gone(1, 2, 3, 4, 5))
        others = asyncio.create_task(pushing())
        await stays(but="Model/m0")
        shown = (await world.tenant()).prune["digest"]
        over.set()
        await others
        await running.push(manifests.gone(6))
        stale = await running.order("approve-prune", digest=shown)
        assert stale.state == "failed"
        assert len(await world.live()) == 8
        over.clear()
        others = asyncio.create_task(pushing())
        asked = (await world.tenant()).prune
        assert asked["count"] == 6
        assert (await running.order("approve-prune", digest=asked["digest"])).state == "done"
        assert set(await world.live()) == {"Model/m0", "Model/m7"}
        over.set()
        await others
    finally:
        loop.cancel()
        await asyncio.wait([loop])
    fresh = worlds.World(database, repo, tmp_path / "state", clocks.ManualClock(world.clock.now_us()))
    before = await fresh.state()
    await fresh.forget()
    await fresh.settle()
    assert await fresh.state() == before
    assert set((await fresh.reasons()).values()) == {"Ready"}
