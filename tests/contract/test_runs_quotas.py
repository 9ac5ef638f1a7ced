"""A tenant's quota at the making of a run, on both databases."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from agentos_controller import clock, database, tables
from agentos_controller.runs import quotas, records
from agentos_controller.scheduling import loop
from agentos_engine import errors
from tests.support import apiworld, running, serving

BODY = serving.workflow("report", [{"id": "only", "type": "set", "set": {}}])
SCHEDULE = {
    "name": "minutely", "everyMs": 60_000, "timezone": "UTC", "run": {"kind": "Workflow", "name": "report"},
    "overlap": "allow", "catchUpMs": 0, "jitterMs": 0, "suspend": False, "uses": {},
}  # fmt: skip
DAY = 24 * 3600
UP_TO_2 = {"concurrentRuns": 2}


class Place:
    def __init__(self, db: database.Database, source: clock.ManualClock, tenant_id: str) -> None:
        self.db = db
        self.clock = source
        self.tenant_id = tenant_id

    async def quota(self, **quota: Any) -> None:
        table = tables.tenant
        async with self.db.write() as conn:
            await conn.execute(
                sa.update(table).where(table.c.id == self.tenant_id).values(spec={"quota": quota}, quota=quota)
            )

    async def create(self, **given: Any) -> records.RunRow:
        return await running.create(self.db, self.clock, self.tenant_id, "report", **({"interactive": False} | given))

    async def refused(self) -> errors.Problem:
        with pytest.raises(errors.Problem) as raised:
            await self.create()
        assert (raised.value.code, raised.value.status) == ("QuotaExceeded", 429)
        return raised.value

    async def set(self, run_id: str, **values: Any) -> None:
        async with self.db.write() as conn:
            await conn.execute(sa.update(tables.run).where(tables.run.c.id == run_id).values(**values))

    async def count(self, table: sa.Table) -> int:
        async with self.db.read() as conn:
            return int(await conn.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


@pytest.fixture
async def place(database: database.Database, clock: clock.ManualClock) -> Place:
    tenant_id = await serving.tenant(database)
    await serving.serve(database, tenant_id, {"Workflow/report": BODY, "Schedule/minutely": SCHEDULE}, clock.now_us())
    return Place(database, clock, tenant_id)


async def test_runs_at_work_are_counted(place: Place) -> None:
    await place.quota(**UP_TO_2)
    first, second = await place.create(), await place.create()
    problem = await place.refused()
    assert problem.extra == {"quota": "concurrentRuns", "limit": 2, "used": 2}
    assert "2 runs of the tenant are at work" in problem.detail
    for table in (tables.run, tables.thread, tables.run_event):
        assert await place.count(table) == 2, "a refused run leaves nothing"
    await place.set(first.id, state="waiting")
    third = await place.create()
    for state in ("running", "cancelling"):
        await place.set(third.id, state=state)
        await place.refused()
    await place.set(second.id, state="failed")
    await place.create()


async def test_the_quota_of_one_tenant_is_not_anothers(place: Place) -> None:
    await place.quota(concurrentRuns=1)
    await place.create()
    await place.refused()
    other = await serving.tenant(place.db, "other")
    await serving.serve(place.db, other, {"Workflow/report": BODY})
    for _ in range(2):
        await running.create(place.db, place.clock, other, "report", interactive=False)


async def test_a_repeated_request_gets_its_run_whatever_the_quota(place: Place) -> None:
    await place.quota(concurrentRuns=1)
    made = await place.create(key="api:1:x")
    again = await place.create(key="api:1:x")
    assert (again.id, again.existing) == (made.id, True)


async def test_requests_at_the_same_time_do_not_pass_it_together(place: Place) -> None:
    await place.quota(**UP_TO_2)
    tried = await asyncio.gather(*(place.create() for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, records.RunRow) for one in tried) == 2
    assert {one.code for one in tried if isinstance(one, errors.Problem)} == {"QuotaExceeded"}


@pytest.mark.parametrize(
    ("quota", "limit", "used", "spent", "resets"),
    [
        ("costUsdPerDay", 0.5, 0.5, {"cost": 500_000}, "2026-01-02T00:00:00.000000Z"),
        ("tokensPerDay", 100, 120, {"tokens_in": 90, "tokens_out": 30}, "2026-01-02T00:00:00.000000Z"),
        ("costUsdPerMonth", 2.5, 3.0, {"cost": 3_000_000}, "2026-02-01T00:00:00.000000Z"),
        ("tokensPerMonth", 100, 100, {"tokens_out": 100}, "2026-02-01T00:00:00.000000Z"),
    ],
)
async def test_what_runs_used_is_counted_by_day_and_month(
    place: Place, quota: str, limit: float, used: float, spent: dict[str, int], resets: str
) -> None:
    await place.quota(**{quota: limit})
    made = await place.create()
    await place.create()
    await place.set(made.id, state="succeeded", **spent)
    problem = await place.refused()
    assert problem.extra == {"quota": quota, "limit": limit, "used": used, "resetsAt": resets}
    assert type(problem.extra["used"]) in (int, float)
    place.clock.advance(DAY - 1)
    await place.refused()
    place.clock.advance(1)
    if quota.endswith("Month"):
        await place.refused()
        place.clock.advance(30 * DAY)
    await place.create()


async def test_a_month_ends_where_the_calendar_says(clock: clock.ManualClock) -> None:
    assert quotas._month(clock.now_us() - 1) == (1_764_547_200_000_000, 1_767_225_600_000_000)
    assert quotas._day(clock.now_us() - 1) == (1_767_139_200_000_000, 1_767_225_600_000_000)


async def test_a_tick_beyond_the_quota_is_logged_as_skipped(place: Place) -> None:
    await place.quota(concurrentRuns=1)
    scheduler = loop.Scheduler(place.db, place.clock)
    await scheduler.reload()
    for _ in range(2):
        place.clock.advance(60)
        await scheduler.handle()
    async with place.db.read() as conn:
        fires = (await conn.execute(sa.select(tables.fire).order_by(tables.fire.c.tick))).all()
    assert [(fire.decision, fire.run_id is None) for fire in fires] == [("started", False), ("skipped_quota", True)]
    assert await place.count(tables.run) == 1


async def test_counting_looks_into_an_index(place: Place) -> None:
    dialect = sqlite.dialect() if place.db.dialect == "sqlite" else postgresql.dialect()  # type: ignore[no-untyped-call]
    for statement in (quotas._working(place.tenant_id), quotas._spent(place.tenant_id, place.clock.now_us())):
        text = str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
        async with place.db.read() as conn:
            if place.db.dialect == "sqlite":
                steps = (await conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")).mappings()
                assert all("SEARCH run USING" in step["detail"] for step in steps)
            else:
                await conn.exec_driver_sql("SET LOCAL enable_seqscan = off")  # an empty table is scanned otherwise
                plan = await conn.exec_driver_sql(f"EXPLAIN {text}")
                shown = "\n".join(row[0] for row in plan)
                assert "Index" in shown
                assert "Seq Scan" not in shown


async def test_over_http_it_is_a_problem_that_says_when_to_come_back(
    database: database.Database, clock: clock.ManualClock, tmp_path: Path
) -> None:
    world = apiworld.World(database, clock, tmp_path)
    there = await world.populate("acme")
    await Place(database, clock, there.id).quota(tokensPerDay=1)
    path, body = "/v1/tenants/acme/runs", {"kind": "Workflow", "name": "flow"}
    async with world.client(await world.key(("run",), there.id)) as client:
        made = (await client.post(path, json=body)).json()
        async with database.write() as conn:
            await conn.execute(sa.update(tables.run).where(tables.run.c.id == made["id"]).values(tokens_out=7))
        for _ in range(2):  # the key of a refused request is free again
            answer = await client.post(path, json=body, headers={"idempotency-key": "k"})
            problem = apiworld.problem(answer, 429, "QuotaExceeded")
    assert (problem["quota"], problem["limit"], problem["used"]) == ("tokensPerDay", 1, 7)
    assert problem["resetsAt"] == "2026-01-02T00:00:00.000000Z"
