"""Runs worked off by DBOS and LangGraph on both databases, without a server and without a model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from langgraph.checkpoint.base import empty_checkpoint

from agentos_controller import clock, database, redaction, tables
from agentos_controller.runs import approvals, events, executor, records, savers
from tests.support import running, serving

MODEL = {
    "name": "fast",
    "provider": "scripted",
    "model": "script",
    "params": {},
    "fallbacks": [],
    "price": {"input": 1.0, "output": 2.0},
    "script": [{"text": "hello ${input}", "usage": {"input": 10, "output": 5}}],
}
HELLO = serving.workflow(
    "hello",
    [{"id": "say", "type": "llm", "model": "fast", "prompt": "${input.name}"}],
    takes={"type": "object", "properties": {"name": {"type": "string", "default": "you"}}},
    models={"fast": MODEL},
    output="${steps.say.output}",
)
ASK = serving.workflow(
    "ask",
    [
        {"id": "before", "type": "llm", "model": "fast", "prompt": "x", "next": {"done": "consent"}},
        {
            "id": "consent",
            "type": "approve",
            "by": ["role/lead"],
            "show": "${steps.before.output}",
            "quorum": 1,
            "expiresMs": 3_600_000,
            "next": {"approved": "after", "rejected": "no", "expired": "late"},
        },
        {"id": "after", "type": "llm", "model": "fast", "prompt": "y", "next": {"done": "end"}},
        {"id": "no", "type": "end", "outcome": "refused", "next": {}},
        {"id": "late", "type": "end", "outcome": "tooLate", "next": {}},
    ],
    models={"fast": MODEL},
    outcomes=["done", "refused", "tooLate"],
    output={"said": "${steps.after.output}", "by": "${steps.consent.output.by}"},
)
SLOW = serving.workflow(
    "slow",
    [{"id": "wait", "type": "llm", "model": "slow", "prompt": "x"}],
    models={"slow": {**MODEL, "name": "slow", "script": [{"text": "done", "delayMs": 60_000}]}},
)
BROKEN = serving.workflow(
    "broken",
    [{"id": "say", "type": "llm", "model": "mute", "prompt": "x"}],
    models={"mute": {**MODEL, "name": "mute", "script": []}},
)


class Place:
    def __init__(self, db: database.Database, source: clock.Clock, tenant_id: str, works: executor.Executor) -> None:
        self.db = db
        self.clock = source
        self.tenant_id = tenant_id
        self.executor = works

    async def start(self, name: str, **given: Any) -> str:
        row = await running.create(self.db, self.clock, self.tenant_id, name, starter=self.executor, **given)
        if given.get("interactive", True):
            self.executor.start(row.id)
        return row.id

    async def events(self, run_id: str, after: int = 0) -> list[events.Event]:
        return [event async for event in events.stream(self.db, self.tenant_id, run_id, after)]

    async def rows(self, table: sa.Table, run_id: str) -> list[Any]:
        async with self.db.read() as conn:
            return list((await conn.execute(sa.select(table).where(table.c.run_id == run_id))).all())

    async def decide(self, run_id: str, decision: str = "approved") -> None:
        (approval,) = [row for row in await self.rows(tables.approval, run_id) if row.state == "open"]
        await self.answer(approval.id, decision)

    async def answer(self, approval_id: str, decision: str) -> None:
        await approvals.decide(
            self.db,
            self.tenant_id,
            approval_id,
            decision=decision,
            value=None,
            comment=None,
            principal=Person(),
            clock=self.clock,
            starter=self.executor,
        )


class Person:
    subject = "key:7"
    name = "ann"
    roles = frozenset({"lead"})


@pytest.fixture
async def place(database: database.Database, tmp_path: Path) -> AsyncIterator[Place]:
    source = clock.SystemClock()
    tenant_id = await serving.tenant(database)
    bodies = {f"Workflow/{body['name']}": body for body in (HELLO, ASK, SLOW, BROKEN)}
    await serving.serve(database, tenant_id, bodies)
    async with running.executing(database, source, tmp_path / "key", grace=1.0) as works:
        yield Place(database, source, tenant_id, works)


async def test_it_comes_up_while_others_write(database: database.Database, tmp_path: Path) -> None:
    """What it writes first keeps the loop waiting: a transaction of ours that is open then would never end."""

    async def write() -> None:
        while True:
            async with database.write() as conn:
                for _ in range(3):
                    await conn.execute(tables.tenant.update().values(ready="Unknown"))

    writing = asyncio.create_task(write())
    async with running.executing(database, clock.SystemClock(), tmp_path / "key", grace=1.0):
        assert not writing.done()
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing


async def test_an_interactive_run_runs_and_tells_everything(place: Place) -> None:
    run_id = await place.start("hello", input={"name": "world"})
    row = await running.until(place.db, run_id)
    assert (row.state, row.outcome, row.output, row.error) == ("succeeded", "done", "hello world", None)
    assert (row.tokens_in, row.tokens_out, row.cost, row.attempts) == (10, 5, 20, 1)
    told = await place.events(run_id)
    types = [event.type for event in told if event.type != "token"]
    assert types == ["run.created", "run.started", "step.started", "step.succeeded", "run.succeeded"]
    assert [event.seq for event in told] == list(range(1, len(told) + 1))
    assert [event.seq for event in await place.events(run_id, after=2)] == [event.seq for event in told[2:]]
    (step,) = await place.rows(tables.run_step, run_id)
    assert (step.path, step.state, step.output, step.tokens_in, step.cost) == (
        "say",
        "succeeded",
        "hello world",
        10,
        20,
    )


async def test_a_queued_run_is_woken(place: Place) -> None:
    run_ids = [await place.start("hello", interactive=False) for _ in range(5)]
    for run_id in run_ids:
        assert (await running.until(place.db, run_id)).output == "hello you"


async def test_a_run_made_where_no_executor_was_is_found(place: Place) -> None:
    row = await running.create(place.db, place.clock, place.tenant_id, "hello", interactive=False)
    assert (await running.until(place.db, row.id)).state == "succeeded"


async def test_a_failed_run_says_why(place: Place) -> None:
    run_id = await place.start("broken")
    row = await running.until(place.db, run_id)
    assert row.state == "failed"
    assert row.error["class"] == row.reason == "BadRequest"
    assert row.error["step"] == "say"
    assert (await place.events(run_id))[-1].type == "run.failed"


@pytest.mark.parametrize(
    ("decision", "outcome", "output"),
    [("approved", "done", {"said": "hello y", "by": "ann"}), ("rejected", "refused", None)],
)
async def test_a_run_waits_for_its_approval(place: Place, decision: str, outcome: str, output: Any) -> None:
    run_id = await place.start("ask")
    await running.until(place.db, run_id, "waiting")
    (approval,) = await place.rows(tables.approval, run_id)
    assert (approval.state, approval.step_path, approval.show) == ("open", "consent", "hello x")
    assert approval.requested_of == ["role/lead"]
    await place.decide(run_id, decision)
    row = await running.until(place.db, run_id)
    assert (row.state, row.outcome, row.segment, row.attempts) == ("succeeded", outcome, 1, 2)
    if output is not None:
        assert row.output == output
    types = [event.type for event in await place.events(run_id) if not event.type.startswith(("step", "token"))]
    assert types == [
        "run.created",
        "run.started",
        "run.waiting",
        "approval.decided",
        "run.resumed",
        "run.succeeded",
    ]


async def test_a_working_run_is_cancelled_at_once(place: Place) -> None:
    run_id = await place.start("slow")
    await running.until(place.db, run_id, "running")
    await records.request_cancel(place.db, place.tenant_id, run_id, "key:1", place.clock)
    row = await running.until(place.db, run_id)
    assert (row.state, row.reason) == ("cancelled", "Cancelled")
    assert (await place.events(run_id))[-1].type == "run.cancelled"
    thread = await running.create(place.db, place.clock, place.tenant_id, "hello", thread_id=row.thread_id)
    assert thread.thread_id == row.thread_id


async def test_the_next_run_of_a_thread_begins_fresh(place: Place) -> None:
    first = await place.start("hello", input={"name": "one"})
    row = await running.until(place.db, first)
    second = await place.start("hello", input={"name": "two"}, thread_id=row.thread_id)
    row = await running.until(place.db, second)
    assert (row.output, row.thread_id) == ("hello two", row.thread_id)


async def test_a_stream_follows_a_run_to_its_end(place: Place) -> None:
    run_id = await place.start("ask")
    seen: list[str] = []
    async for event in events.stream(place.db, place.tenant_id, run_id):
        seen.append(event.type)
        if event.type == "run.waiting":
            await place.decide(run_id)
    assert seen[-1] == "run.succeeded"


async def test_questions_asked_at_once_are_answered_in_any_order(place: Place) -> None:
    consent = {"by": ["role/lead"], "show": "${item}", "quorum": 1, "next": {"approved": "end", "rejected": "end"}}
    over = {"over": "${[1, 2, 3]}", "as": "item", "at": "index", "concurrency": 3, "errors": "fail", "max": 10}
    many = serving.workflow(
        "many",
        [{"id": "each", "type": "approve", "map": over, **consent}],
        output="${steps.each.output.map(answer, answer.decision)}",
    )
    await serving.serve(place.db, place.tenant_id, {"Workflow/many": many})
    run_id = await place.start("many")
    await running.until(place.db, run_id, "waiting")
    asked = {row.show: row.id for row in await place.rows(tables.approval, run_id)}
    assert set(asked) == {1, 2, 3}
    for item, decision in ((3, "approved"), (1, "rejected"), (2, "approved")):
        await place.answer(asked[item], decision)
    row = await running.until(place.db, run_id)
    assert (row.state, row.output) == ("succeeded", ["rejected", "approved", "approved"])
    assert len(await place.rows(tables.approval, run_id)) == 3


async def test_many_runs_at_once(place: Place) -> None:
    names = [f"n{number}" for number in range(40)]
    run_ids = await asyncio.gather(
        *(place.start("hello", input={"name": name}, interactive=name[-1] in "13579") for name in names)
    )
    rows = await asyncio.gather(*(running.until(place.db, run_id, timeout=60) for run_id in run_ids))
    assert [row.output for row in rows] == [f"hello {name}" for name in names]
    for run_id in run_ids:
        told = await place.rows(tables.run_event, run_id)
        assert sorted(event.seq for event in told) == list(range(1, len(told) + 1))


async def test_a_secret_in_what_a_run_says_is_taken_out(place: Place) -> None:
    redaction.redactor.add("s3cret-value", place.tenant_id)
    told = serving.workflow(
        "leak",
        [{"id": "say", "type": "llm", "model": "fast", "prompt": "my s3cret-value"}],
        models={"fast": MODEL},
        output="${steps.say.output}",
    )
    await serving.serve(place.db, place.tenant_id, {"Workflow/leak": told})
    run_id = await place.start("leak")
    row = await running.until(place.db, run_id)
    assert row.output == "hello my [redacted]"
    for table in (tables.run_event, tables.run_step):
        assert "s3cret-value" not in str(await place.rows(table, run_id))


async def test_checkpoints_are_written_only_under_the_fence(place: Place) -> None:
    run_id = await place.start("slow")
    await running.until(place.db, run_id, "running")
    async with place.db.write() as conn:
        await conn.execute(sa.update(tables.run).where(tables.run.c.id == run_id).values(fence=tables.run.c.fence + 1))
    holds = savers.Holds()
    async with savers.opened(place.db, holds) as saver:
        config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c0"}}
        for fence, fenced in ((1, True), (2, False)):
            hold = savers.Hold(run_id, fence, Told(), fresh=False)
            with holds.hold("t", hold), contextlib.ExitStack() as stack:
                if fenced:
                    stack.enter_context(pytest.raises(savers.Fenced))
                await saver.aput_writes(config, [("x", fence)], "task")
            with holds.hold("t", hold), contextlib.ExitStack() as stack:
                if fenced:
                    stack.enter_context(pytest.raises(savers.Fenced))
                checkpoint = {**empty_checkpoint(), "id": f"c{fence}"}
                await saver.aput(config, checkpoint, {}, {})
        with pytest.raises(savers.Fenced):
            await saver.aput_writes(config, [("x", 1)], "task")
        saved = [item.checkpoint["id"] async for item in saver.alist({"configurable": {"thread_id": "t"}})]
    assert saved == ["c2"]


class Told:
    def task_saved(self, task_id: str) -> None:
        return

    def superstep_saved(self, namespace: str) -> None:
        return


async def test_an_executor_that_is_not_launched_yet_is_well(database: database.Database) -> None:
    time = clock.ManualClock()
    waiting = executor.Executor(database, time, lambda: pytest.fail("not launched"))
    time.advance(3600)
    assert waiting.progress() | {"secondsSinceSweep": 0} == {
        "ok": True,
        "launched": False,
        "secondsSinceSweep": 0,
        "running": 0,
    }
