"""What creating, cancelling and answering write, on both databases and without any executor."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa

from agentos_controller import audit, clock, database, ids, tables
from agentos_controller.runs import approvals, events, queue, records, recovery, segments
from agentos_engine import errors
from tests.support import serving

NUMBERS = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
BODY = serving.workflow("adder", [{"id": "only", "type": "set", "set": {}}], takes=NUMBERS)


@dataclass(frozen=True)
class Person:
    subject: str = "key:1"
    name: str = "ann"
    roles: frozenset[str] = field(default_factory=frozenset)


class Place:
    """One tenant with one workflow."""

    def __init__(self, db: database.Database, source: clock.ManualClock, tenant_id: str) -> None:
        self.db = db
        self.clock = source
        self.tenant_id = tenant_id

    async def create(self, **given: Any) -> records.RunRow:
        wanted: dict[str, Any] = {
            "tenant_id": self.tenant_id,
            "kind": "Workflow",
            "name": "adder",
            "input": {"n": 1},
            "cause": {"type": "api"},
            "actor": "key:1",
            "interactive": False,
        }
        return await records.create_run(self.db, clock=self.clock, **(wanted | given))

    async def state(self, run_id: str) -> str:
        async with self.db.read() as conn:
            return str(await conn.scalar(sa.select(tables.run.c.state).where(tables.run.c.id == run_id)))

    async def all(self, table: sa.Table) -> list[Any]:
        async with self.db.read() as conn:
            return list((await conn.execute(sa.select(table))).all())

    async def ask(self, run_id: str, **given: Any) -> str:
        """Bring the run to where it waits for one answer; the approval's id."""
        begun = await segments.begin(self.db, run_id, 0, self.clock.now_us())
        assert begun is not None
        values: dict[str, Any] = {
            "interrupt_id": "i1",
            "step_path": "consent",
            "requested_of": ["role/lead"],
            "show": {"sum": 5},
            "edit": None,
            "quorum": 1,
            "expires_at": None,
        }
        question = segments.Question(**(values | given))
        assert await segments.wait(self.db, begun, [question], segments.Usage(), [], [], self.clock.now_us(), None)
        return str((await self.all(tables.approval))[-1].id)

    async def decide(self, approval_id: str, decision: str = "approved", **given: Any) -> dict[str, Any]:
        values: dict[str, Any] = {"value": None, "comment": None, "principal": Person(roles=frozenset({"lead"}))}
        return await approvals.decide(
            self.db, self.tenant_id, approval_id, decision=decision, clock=self.clock, **(values | given)
        )


@pytest.fixture
async def place(database: database.Database, clock: clock.ManualClock) -> Place:
    tenant_id = await serving.tenant(database)
    await serving.serve(database, tenant_id, {"Workflow/adder": BODY})
    return Place(database, clock, tenant_id)


async def test_a_run_is_pinned_to_the_live_generation(place: Place) -> None:
    first = await place.create()
    changed = serving.workflow("adder", [{"id": "other", "type": "set", "set": {}}], takes=NUMBERS)
    await serving.serve(place.db, place.tenant_id, {"Workflow/adder": changed})
    second = await place.create()
    assert (first.generation, second.generation) == (1, 2)
    assert first.digest == serving.digest_of("Workflow/adder", BODY)
    assert second.digest == serving.digest_of("Workflow/adder", changed)
    run, *_ = await place.all(tables.run)
    assert (run.state, run.queue, run.segment, run.fence, run.input) == ("pending", None, 0, 0, {"n": 1})
    assert [event.type for event in await place.all(tables.run_event)] == ["run.created"] * 2
    async with place.db.read() as conn:
        assert await audit.verify(conn, place.tenant_id) is None


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"input": {"n": "x"}}, "InvalidRequest"),
        ({"input": []}, "InvalidRequest"),
        ({"name": "nobody"}, "NotFound"),
        ({"kind": "Connector"}, "InvalidRequest"),
        ({"thread_id": "not a uuid"}, "InvalidRequest"),
    ],
)
async def test_what_cannot_run_is_refused_and_writes_nothing(place: Place, given: dict[str, Any], code: str) -> None:
    with pytest.raises(errors.Problem) as caught:
        await place.create(**given)
    assert caught.value.code == code
    assert await place.all(tables.run) == []
    assert await place.all(tables.thread) == []


async def test_an_invalid_input_names_every_place(place: Place) -> None:
    with pytest.raises(errors.Problem) as caught:
        await place.create(input={"n": "x"})
    assert [error["path"] for error in caught.value.extra["errors"]] == ["/input/n"]


@pytest.mark.parametrize("interactive", [False, True])
async def test_a_run_that_nobody_works_on_yet_wakes_who_would(place: Place, interactive: bool) -> None:
    with place.db.subscribe(queue.QUEUE) as news:
        await place.create(interactive=interactive)
        assert await news.wait(1)


async def test_a_key_makes_one_run(place: Place) -> None:
    rows = await asyncio.gather(*(place.create(key="api:1:abc") for _ in range(5)))
    assert len({row.id for row in rows}) == 1
    assert sorted(row.existing for row in rows) == [False, True, True, True, True]
    assert len(await place.all(tables.run)) == 1


async def test_a_busy_thread_takes_no_second_run_until_the_first_ended(place: Place) -> None:
    thread = ids.new()
    first = await place.create(thread_id=thread)
    with pytest.raises(errors.Problem) as caught:
        await place.create(thread_id=thread)
    assert caught.value.code == "Conflict"
    await records.request_cancel(place.db, place.tenant_id, first.id, "key:1", place.clock)
    second = await place.create(thread_id=thread)
    assert second.thread_id == thread
    assert (await place.all(tables.thread))[0].active_run_id == second.id


async def test_two_tenants_may_use_the_same_thread_id(place: Place) -> None:
    other = await serving.tenant(place.db, "other")
    await serving.serve(place.db, other, {"Workflow/adder": BODY})
    thread = ids.new()
    await place.create(thread_id=thread)
    await place.create(thread_id=thread, tenant_id=other)
    assert len(await place.all(tables.thread)) == 2


async def test_a_suspended_tenant_takes_no_runs(place: Place) -> None:
    async with place.db.write() as conn:
        await conn.execute(sa.update(tables.tenant).values(state="suspended"))
    with pytest.raises(errors.Problem) as caught:
        await place.create()
    assert caught.value.code == "Conflict"


async def test_a_segment_is_taken_once(place: Place) -> None:
    run = await place.create()
    first, second = await asyncio.gather(*(segments.begin(place.db, run.id, 0, 1) for _ in range(2)))
    assert [first is None, second is None].count(True) == 1
    begun = first or second
    assert begun is not None
    assert (begun.fence, begun.delivery, begun.next_seq, begun.tenant_name) == (1, 1, 2, "default")
    assert await segments.begin(place.db, run.id, 1, 1) is None


async def test_a_stale_executor_cannot_end_a_run(place: Place) -> None:
    run = await place.create()
    stale = await segments.begin(place.db, run.id, 0, 1)
    assert stale is not None
    assert await recovery.redeliver(place.db, 2) == [(run.id, 0)]
    holder = await segments.begin(place.db, run.id, 0, 3)
    assert holder is not None
    assert holder.delivery == 2
    end = segments.End("succeeded", {"x": 1}, "done")
    assert await segments.finish(place.db, stale, end, segments.Usage(), [], [_event(stale)], 4) is None
    assert await place.state(run.id) == "running"
    assert (
        await segments.finish(place.db, holder, end, segments.Usage(3, 2, 7, 1), [], [_event(holder)], 5) == "succeeded"
    )
    (row,) = await place.all(tables.run)
    assert (row.state, row.output, row.tokens_in, row.tokens_out, row.cost, row.steps) == (
        "succeeded",
        {"x": 1},
        3,
        2,
        7,
        1,
    )
    assert (await place.all(tables.thread))[0].active_run_id is None


async def test_a_run_that_kills_its_process_again_and_again_is_dead(place: Place) -> None:
    run = await place.create()
    for _ in range(recovery.MAX_DELIVERIES):
        assert await segments.begin(place.db, run.id, 0, 1) is not None
        await recovery.redeliver(place.db, 2)
    assert await place.state(run.id) == "dead"
    assert (await place.all(tables.run_event))[-1].type == "run.dead"


async def test_cancelling_what_nobody_works_on_is_immediate(place: Place) -> None:
    run = await place.create()
    approval = await place.ask(run.id)
    answer = await records.request_cancel(place.db, place.tenant_id, run.id, "key:1", place.clock)
    assert answer["state"] == "cancelled"
    assert (await place.all(tables.approval))[0].state == "cancelled"
    with pytest.raises(errors.Problem) as caught:
        await place.decide(approval)
    assert caught.value.code == "Conflict"
    with pytest.raises(errors.Problem) as caught:
        await records.request_cancel(place.db, place.tenant_id, run.id, "key:1", place.clock)
    assert caught.value.code == "Conflict"


async def test_a_run_that_works_is_asked_to_stop_and_ends_cancelled(place: Place) -> None:
    run = await place.create()
    begun = await segments.begin(place.db, run.id, 0, 1)
    assert begun is not None
    answer = await records.request_cancel(place.db, place.tenant_id, run.id, "key:1", place.clock)
    assert answer["state"] == "cancelling"
    end = segments.End("succeeded", 1, "done")
    assert await segments.finish(place.db, begun, end, segments.Usage(), [], [_event(begun)], 4) == "cancelled"
    assert (await place.all(tables.run_event))[-1].type == "run.cancelled"


async def test_another_tenants_runs_and_approvals_do_not_exist(place: Place) -> None:
    run = await place.create()
    approval = await place.ask(run.id)
    other = await serving.tenant(place.db, "other")
    with pytest.raises(errors.Problem) as caught:
        await records.request_cancel(place.db, other, run.id, "key:1", place.clock)
    assert caught.value.code == "NotFound"
    place.tenant_id = other
    with pytest.raises(errors.Problem) as caught:
        await place.decide(approval)
    assert caught.value.code == "NotFound"
    with pytest.raises(errors.Problem) as caught:
        await anext(events.stream(place.db, other, run.id))
    assert caught.value.code == "NotFound"


async def test_an_approval_resumes_its_run(place: Place) -> None:
    run = await place.create()
    approval = await place.ask(run.id)
    assert await place.state(run.id) == "waiting"
    done = await place.decide(approval, comment="fine")
    assert done == {"id": approval, "runId": run.id, "state": "approved", "votes": 1}
    (row,) = await place.all(tables.run)
    assert (row.state, row.segment) == ("pending", 1)
    answer = (await approvals.answers(place.db, run.id))["i1"]
    assert (answer["decision"], answer["value"], answer["by"], answer["comment"]) == (
        "approved",
        {"sum": 5},
        "ann",
        "fine",
    )
    begun = await segments.begin(place.db, run.id, 1, 9)
    assert begun is not None
    assert begun.delivery == 1


async def test_the_first_decision_wins(place: Place) -> None:
    run = await place.create()
    approval = await place.ask(run.id)
    done = await asyncio.gather(
        *(place.decide(approval, decision) for decision in ("approved", "rejected", "approved")), return_exceptions=True
    )
    assert sum(isinstance(result, dict) for result in done) == 1
    assert {result.code for result in done if isinstance(result, errors.Problem)} == {"Conflict"}
    (row,) = await place.all(tables.run)
    assert row.segment == 1


@pytest.mark.parametrize(
    ("asked_of", "person", "allowed"),
    [
        ("role/lead", Person(roles=frozenset({"lead"})), True),
        ("role/lead", Person(roles=frozenset({"other"})), False),
        ("user/ann", Person(), True),
        ("user/key:1", Person(), True),
        ("user/bob", Person(), False),
        ("user", Person(subject="key:1"), True),
        ("user", Person(subject="key:2"), False),
    ],
)
async def test_only_who_was_asked_may_answer(place: Place, asked_of: str, person: Person, allowed: bool) -> None:
    run = await place.create()
    approval = await place.ask(run.id, requested_of=[asked_of])
    if allowed:
        assert (await place.decide(approval, principal=person))["state"] == "approved"
        return
    with pytest.raises(errors.Problem) as caught:
        await place.decide(approval, principal=person)
    assert caught.value.code == "Forbidden"
    assert await place.state(run.id) == "waiting"


async def test_a_quorum_takes_different_people(place: Place) -> None:
    run = await place.create()
    approval = await place.ask(run.id, quorum=2)
    roles = frozenset({"lead"})
    assert (await place.decide(approval, principal=Person("key:1", "ann", roles)))["state"] == "open"
    with pytest.raises(errors.Problem) as caught:
        await place.decide(approval, principal=Person("key:1", "ann", roles))
    assert caught.value.code == "Conflict"
    assert await place.state(run.id) == "waiting"
    assert (await place.decide(approval, principal=Person("key:2", "bob", roles)))["state"] == "approved"
    assert await place.state(run.id) == "pending"


async def test_an_edit_is_allowed_only_where_asked_and_only_as_asked(place: Place) -> None:
    run = await place.create()
    approval = await place.ask(run.id)
    with pytest.raises(errors.Problem) as caught:
        await place.decide(approval, value={"sum": 6})
    assert caught.value.code == "InvalidRequest"
    other = await place.create()
    edit = {"type": "object", "properties": {"sum": {"type": "integer"}}}
    editable = await place.ask(other.id, interrupt_id="i2", edit=edit)
    with pytest.raises(errors.Problem) as caught:
        await place.decide(editable, value={"sum": "x"})
    assert caught.value.extra["errors"][0]["path"] == "/value/sum"
    await place.decide(editable, value={"sum": 6})
    assert (await approvals.answers(place.db, other.id))["i2"]["value"] == {"sum": 6}


async def test_nobody_answering_in_time_is_an_answer(place: Place) -> None:
    run = await place.create()
    now = place.clock.now_us()
    await place.ask(run.id, expires_at=now + 10)
    assert await approvals.next_expiry(place.db) == now + 10
    assert await approvals.expire(place.db, now + 9, None) == 0
    assert await approvals.expire(place.db, now + 10, None) == 1
    assert await place.state(run.id) == "pending"
    assert (await approvals.answers(place.db, run.id))["i1"]["decision"] == "expired"
    assert await approvals.next_expiry(place.db) is None


async def test_an_answer_that_came_while_the_run_worked_is_taken_up(place: Place) -> None:
    run = await place.create()
    begun = await segments.begin(place.db, run.id, 0, 1)
    assert begun is not None
    both = [segments.Question(name, name, ["role/lead"], None, None, 1, None) for name in ("i1", "i2")]
    await segments.wait(place.db, begun, both, segments.Usage(), [], [], 2, None)
    first, second = await place.all(tables.approval)
    await place.decide(first.id)
    working = await segments.begin(place.db, run.id, 1, 3)
    assert working is not None
    await place.decide(second.id)
    assert await place.state(run.id) == "running"
    await segments.wait(place.db, working, both[1:], segments.Usage(), [], [], 4, None)
    (row,) = await place.all(tables.run)
    assert (row.state, row.segment) == ("pending", 2)


async def test_a_run_made_without_a_queue_is_found(place: Place) -> None:
    queued, interactive = await place.create(), await place.create(interactive=True)
    waits = records.Wanted(
        place.tenant_id, "Workflow", "adder", {"n": 1}, {"type": "schedule"}, "system", after=queued.id
    )
    now = place.clock.now_us()
    async with place.db.write() as conn:
        third = await records.create(conn, waits, now)
    async with place.db.read() as conn:
        assert await recovery.unqueued(conn, now - 1) == [(queued.id, 0)]
        assert await recovery.unqueued(conn, now) == [(queued.id, 0), (interactive.id, 0)]
    await records.request_cancel(place.db, place.tenant_id, queued.id, "key:1", place.clock)
    async with place.db.read() as conn:
        assert (third.id, 0) in await recovery.unqueued(conn, now)


async def test_the_checkpoint_thread_begins_with_the_tenant(place: Place) -> None:
    run = await place.create()
    assert queue.checkpoint_thread(run.tenant_id, run.thread_id, run.id).startswith(f"{place.tenant_id}/")
    assert queue.segment_id(run.id, 3) == f"{run.id}:3"


def _event(begun: segments.Begun) -> dict[str, Any]:
    return {
        "run_id": begun.run_id,
        "seq": begun.next_seq,
        "tenant_id": begun.tenant_id,
        "type": "run.succeeded",
        "step_path": None,
        "data": {},
        "at": 1,
    }
