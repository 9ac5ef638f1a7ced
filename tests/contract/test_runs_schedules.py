"""What ticks do to the database, on both databases, by a clock that is told the time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from agentos_controller import clock, database, tables
from agentos_controller.runs import records
from agentos_controller.scheduling import loop
from tests.support import serving

BODY = serving.workflow("report", [{"id": "only", "type": "set", "set": {}}])
MINUTE = 60 * clock.SECOND


def schedule(**given: Any) -> dict[str, Any]:
    return {
        "name": "minutely",
        "everyMs": 60_000,
        "timezone": "UTC",
        "run": {"kind": "Workflow", "name": "report", "with": {"day": "x"}},
        "overlap": "skip",
        "catchUpMs": 0,
        "jitterMs": 0,
        "suspend": False,
        "uses": {},
        **given,
    }


class Place:
    def __init__(self, db: database.Database, source: clock.ManualClock, tenant_id: str) -> None:
        self.db = db
        self.clock = source
        self.tenant_id = tenant_id
        self.scheduler = loop.Scheduler(db, source)

    async def serve(self, **given: Any) -> None:
        bodies = {"Workflow/report": BODY, "Schedule/minutely": schedule(**given)}
        await serving.serve(self.db, self.tenant_id, bodies, self.clock.now_us())
        await self.scheduler.reload()

    async def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.scheduler.handle()

    async def rows(self, table: sa.Table) -> list[Any]:
        async with self.db.read() as conn:
            return list((await conn.execute(sa.select(table).order_by(*table.primary_key.columns))).all())

    async def decisions(self) -> list[str]:
        return [row.decision for row in await self.rows(tables.fire)]

    async def end(self, run_id: str) -> None:
        await records.request_cancel(self.db, self.tenant_id, run_id, "key:1", self.clock)


@pytest.fixture
async def place(database: database.Database, clock: clock.ManualClock) -> Place:
    return Place(database, clock, await serving.tenant(database))


async def test_a_tick_makes_one_run_and_says_so(place: Place) -> None:
    await place.serve()
    (state,) = await place.rows(tables.schedule_state)
    assert (state.last_tick, state.next_tick) == (place.clock.now_us(), place.clock.now_us() + MINUTE)
    await place.passes(59)
    assert await place.rows(tables.run) == []
    await place.passes(1)
    (run,) = await place.rows(tables.run)
    (fire,) = await place.rows(tables.fire)
    assert (run.input, run.interactive, run.actor) == ({"day": "x"}, False, "schedule:minutely")
    assert run.cause == {"type": "schedule", "schedule": "minutely", "tick": clock.rfc3339(fire.tick)}
    assert (fire.decision, fire.run_id, fire.lateness, fire.tick) == ("started", run.id, 0, place.clock.now_us())
    assert run.idempotency_key == f"sched:Schedule/minutely:{fire.tick}"
    (state,) = await place.rows(tables.schedule_state)
    assert (state.last_tick, state.next_tick) == (fire.tick, fire.tick + MINUTE)


async def test_two_schedulers_make_one_run(place: Place) -> None:
    await place.serve()
    others = [loop.Scheduler(place.db, place.clock) for _ in range(3)]
    for other in others:
        await other.reload()
    place.clock.advance(60)
    await asyncio.gather(place.scheduler.handle(), *(other.handle() for other in others))
    assert len(await place.rows(tables.run)) == 1
    assert await place.decisions() == ["started"]


@pytest.mark.parametrize(
    ("overlap", "decisions", "queues"),
    [
        ("skip", ["started", "skipped_overlap"], [None]),
        ("allow", ["started", "started"], [None, None]),
        ("queue", ["started", "started"], [None, "after"]),
    ],
)
async def test_overlap(place: Place, overlap: str, decisions: list[str], queues: list[str | None]) -> None:
    await place.serve(overlap=overlap)
    await place.passes(60)
    await place.passes(60)
    assert await place.decisions() == decisions
    runs = await place.rows(tables.run)
    assert [run.queue and run.queue.partition(":")[0] for run in runs] == queues
    await place.end(runs[0].id)
    assert [run.queue for run in await place.rows(tables.run)] == [None] * len(runs)
    if overlap == "skip":
        await place.passes(60)
        assert await place.decisions() == [*decisions, "started"]


async def test_a_missed_tick_is_passed_over_unless_it_may_be_caught_up(place: Place) -> None:
    await place.serve(everyMs=600_000)
    await place.passes(3600)
    assert await place.decisions() == ["skipped_late"] * 5 + ["started"]
    (state,) = await place.rows(tables.schedule_state)
    assert state.misses == 5


async def test_ticks_within_catch_up_run(place: Place) -> None:
    await place.serve(everyMs=600_000, catchUpMs=1_500_000, overlap="allow")
    await place.passes(3600)
    assert await place.decisions() == ["skipped_late"] * 3 + ["started"] * 3
    fires = await place.rows(tables.fire)
    assert [fire.lateness for fire in fires[-3:]] == [20 * MINUTE, 10 * MINUTE, 0]


@pytest.mark.parametrize("what", ["Schedule/minutely", "Workflow/report"])
async def test_what_somebody_stopped_does_not_fire(place: Place, what: str) -> None:
    """A schedule suspended as a resource, and one whose workflow is removed and drains."""
    await place.serve()
    kind, _, name = what.partition("/")
    columns = {"suspended_by": "key:ada"} if kind == "Schedule" else {"drain_until": place.clock.now_us() + 60 * MINUTE}
    table = tables.resource
    async with place.db.write() as conn:
        changed = await conn.execute(
            sa.update(table).where(table.c.kind == kind, table.c.name == name).values(**columns)
        )
        if changed.rowcount == 0:
            row = {"tenant_id": place.tenant_id, "kind": kind, "name": name, "path": "x.yaml", "line": 1}
            await conn.execute(table.insert().values(**row, document=0, ready="True", updated_at=1, **columns))
    await place.passes(60)
    assert await place.decisions() == ["suspended"]
    assert await place.rows(tables.run) == []


async def test_a_suspended_schedule_only_logs(place: Place) -> None:
    await place.serve(suspend=True)
    await place.passes(60)
    assert await place.decisions() == ["suspended"]
    assert await place.rows(tables.run) == []


async def test_until_ends_a_schedule(place: Place) -> None:
    await place.serve(until=clock.rfc3339(place.clock.now_us() + 2 * MINUTE))
    await place.passes(60)
    await place.passes(600)
    assert await place.decisions() == ["started"]


async def test_jitter_moves_the_run_and_not_the_tick(place: Place) -> None:
    await place.serve(jitterMs=30_000)
    await place.passes(60 + 30)
    (fire,) = await place.rows(tables.fire)
    assert fire.tick % MINUTE == 0
    assert fire.decision == "started"


async def test_a_changed_schedule_goes_on_from_where_it_was(place: Place) -> None:
    await place.serve()
    await place.passes(60)
    await place.serve(run={"kind": "Workflow", "name": "report", "with": {"day": "y"}}, overlap="allow")
    await place.scheduler.handle()
    assert await place.decisions() == ["started"]
    await place.passes(60)
    assert [run.input["day"] for run in await place.rows(tables.run)] == ["x", "y"]


async def test_a_restart_goes_on_from_the_rows(place: Place) -> None:
    await place.serve(overlap="allow")
    await place.passes(60)
    place.clock.advance(60)
    again = loop.Scheduler(place.db, place.clock)
    await again.reload()
    await again.handle()
    assert await place.decisions() == ["started", "started"]


async def test_a_named_thread_is_the_same_for_every_tick(place: Place) -> None:
    named = {"kind": "Workflow", "name": "report", "with": {}, "thread": "daily"}
    await place.serve(run=named, overlap="allow")
    await place.passes(60)
    await place.end((await place.rows(tables.run))[0].id)
    await place.passes(60)
    first, second = await place.rows(tables.run)
    assert first.thread_id == second.thread_id
    await place.passes(60)
    assert (await place.decisions())[-1] == "skipped_overlap"


async def test_a_schedule_that_cannot_run_does_not_hold_up_others(place: Place) -> None:
    broken = schedule(name="broken", run={"kind": "Workflow", "name": "missing", "with": {}})
    bodies = {"Workflow/report": BODY, "Schedule/broken": broken, "Schedule/minutely": schedule()}
    await serving.serve(place.db, place.tenant_id, bodies, place.clock.now_us())
    await place.scheduler.reload()
    await place.passes(60)
    assert [run.target_name for run in await place.rows(tables.run)] == ["report"]
