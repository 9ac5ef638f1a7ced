"""Runs that stop and go on: over a real SQLite file, with everything in memory made anew in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agentos_engine.runtime import errors, graphs, lg
from tests.support import world as worlds

# The first import above makes LangGraph's decoder strict.
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # isort: skip

Open = Callable[[worlds.World, str], AbstractAsyncContextManager[Any]]
PEOPLE = {"by": ["role/lead"], "show": "${input}"}


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """A run's graph over the test's file, as a process that has just started would build it."""

    @asynccontextmanager
    async def open_(world: worlds.World, digest: str) -> AsyncIterator[Any]:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "run.db")) as saver:
            yield await graphs.build(digest, world, saver, graphs.Graphs())

    return open_


def resume(*answers: tuple[Any, dict[str, Any]]) -> lg.Command[Any]:
    return lg.Command(resume={question.id: answer for question, answer in answers})


def decided(decision: str, **more: Any) -> dict[str, Any]:
    return {"decision": decision, "value": None, "by": "ann", "at": "2026-11-22T10:00:00Z", "comment": None, **more}


async def test_approval_survives_a_restart(opened: Open) -> None:
    world, record = worlds.World(), worlds.Record()
    digest = world.add(
        worlds.workflow(
            [
                {"id": "draft", "type": "llm", "model": "fast", "prompt": "${input.topic}"},
                {"id": "consent", "type": "approve", **PEOPLE, "show": "${steps.draft.output}", "expiresMs": 1000},
                {"id": "finish", "type": "llm", "model": "fast", "prompt": "${steps.consent.output.value}!"},
            ],
            models={"fast": worlds.scripted({"text": "<${input}>"})},
            output={"text": "${steps.finish.output}", "who": "${steps.consent.output.by}"},
        )
    )
    async with opened(world, digest) as graph:
        paused = await graph.ainvoke({"input": {"topic": "x"}}, worlds.config(world, record))
    (question,) = paused["__interrupt__"]
    assert question.value == {
        "type": "approve", "step": "consent", "by": ["role/lead"], "show": "<x>", "edit": None, "expiresMs": 1000,
        "quorum": 1,
    }  # fmt: skip
    assert record.states("consent") == ["running", "waiting"]

    async with opened(world, digest) as graph:
        done = await graph.ainvoke(resume((question, decided("approved"))), worlds.config(world, record))
    assert done == {"output": {"text": "<<x>!>", "who": "ann"}, "outcome": "done"}
    assert record.states("draft") == ["running", "succeeded"]
    assert record.states("consent")[-1] == "succeeded"


async def test_an_edited_value_is_validated_and_used(opened: Open) -> None:
    world = worlds.World()
    edit = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}}
    digest = world.add(
        worlds.workflow(
            [{"id": "consent", "type": "approve", **PEOPLE, "edit": edit}],
            output="${steps.consent.output.value.amount}",
        )
    )
    async with opened(world, digest) as graph:
        (question,) = (await graph.ainvoke({"input": {"amount": 5}}, worlds.config(world)))["__interrupt__"]
        assert question.value["edit"] == edit
        done = await graph.ainvoke(resume((question, decided("approved", value={"amount": 7}))), worlds.config(world))
    assert done["output"] == 7.0


@pytest.mark.parametrize(("decision", "class_"), [("rejected", "Rejected"), ("expired", "Expired")])
async def test_unrouted_decisions_raise(opened: Open, decision: str, class_: str) -> None:
    world = worlds.World()
    digest = world.add(worlds.workflow([{"id": "consent", "type": "approve", **PEOPLE}]))
    async with opened(world, digest) as graph:
        (question,) = (await graph.ainvoke({"input": {}}, worlds.config(world)))["__interrupt__"]
        with pytest.raises(errors.RunError) as raised:
            await graph.ainvoke(resume((question, decided(decision, comment="no"))), worlds.config(world))
    assert raised.value.class_ == class_
    assert raised.value.step == "consent"
    assert raised.value.details == {"by": "ann", "comment": "no"}


async def test_routed_decisions_lead_on(opened: Open) -> None:
    world = worlds.World()
    digest = world.add(
        worlds.workflow(
            [
                {"id": "consent", "type": "approve", **PEOPLE, "next": {"rejected": "refused"}},
                {"id": "granted", "type": "end", "outcome": "granted"},
                {"id": "refused", "type": "end", "outcome": "refused", "output": "${steps.consent.output.comment}"},
            ]
        )
    )
    async with opened(world, digest) as graph:
        (question,) = (await graph.ainvoke({"input": {}}, worlds.config(world)))["__interrupt__"]
        done = await graph.ainvoke(resume((question, decided("rejected", comment="not now"))), worlds.config(world))
    assert done == {"output": "not now", "outcome": "refused"}


async def test_approvals_of_items_are_asked_at_once_and_finished_items_never_run_again(opened: Open) -> None:
    world, record = worlds.World(), worlds.Record()
    inner = world.add(
        worlds.workflow(
            [
                {"id": "think", "type": "llm", "model": "fast", "prompt": "${input.n}"},
                {"id": "need", "type": "branch", "cases": [{"when": "int(input.n) % 2 == 0", "next": "end"}]},
                {"id": "consent", "type": "approve", **PEOPLE},
            ],
            models={"fast": worlds.scripted({"text": "${input}"})},
            output={"thought": "${steps.think.output}", "value": "${steps.consent.output}"},
        )
    )
    digest = world.add(
        worlds.workflow(
            [
                {
                    "id": "each", "type": "workflow", "workflow": "flow", "with": {"n": "${item}"},
                    "map": {"over": "${input.items}", "concurrency": 2}, "set": {"seen": "${output.thought}"},
                }
            ],
            uses={"Workflow/flow": inner},
            state={"seen": {"schema": {"type": "array"}, "reduce": "append", "default": []}},
            output={"seen": "${state.seen}", "count": "${size(steps.each.output)}"},
        )
    )  # fmt: skip
    async with opened(world, digest) as graph:
        paused = await graph.ainvoke({"input": {"items": [1, 2, 3, 4, 5]}}, worlds.config(world, record))
    questions = {question.value["step"]: question for question in paused["__interrupt__"]}
    assert sorted(questions) == ["each[0]/consent", "each[2]/consent", "each[4]/consent"]
    assert len({question.id for question in questions.values()}) == 3

    async with opened(world, digest) as graph:
        again = await graph.ainvoke(
            resume((questions["each[4]/consent"], decided("approved"))), worlds.config(world, record)
        )
    assert sorted(question.value["step"] for question in again["__interrupt__"]) == [
        "each[0]/consent",
        "each[2]/consent",
    ]

    async with opened(world, digest) as graph:
        done = await graph.ainvoke(
            resume(*[(question, decided("approved")) for question in again["__interrupt__"]]),
            worlds.config(world, record),
        )
    assert done["output"] == {"seen": ["1", "2", "3", "4", "5"], "count": 5}
    for index in range(5):
        assert record.states(f"each[{index}]/think") == ["running", "succeeded"]


async def test_spending_counts_over_restarts(opened: Open) -> None:
    world = worlds.World()
    inner = world.add(
        worlds.workflow(
            [
                {"id": "think", "type": "llm", "model": "fast", "prompt": "x"},
                {"id": "consent", "type": "approve", **PEOPLE},
                {"id": "again", "type": "llm", "model": "fast", "prompt": "x"},
            ],
            models={"fast": worlds.scripted({"text": "y", "usage": {"input": 10, "output": 0}})},
        )
    )
    digest = world.add(
        worlds.workflow(
            [{"id": "sub", "type": "workflow", "workflow": "flow"}],
            uses={"Workflow/flow": inner},
            limits={"tokens": 10},
        )
    )
    async with opened(world, digest) as graph:
        (question,) = (await graph.ainvoke({"input": {}}, worlds.config(world)))["__interrupt__"]
    async with opened(world, digest) as graph:
        with pytest.raises(errors.RunError) as raised:
            await graph.ainvoke(resume((question, decided("approved"))), worlds.config(world))
    assert (raised.value.class_, raised.value.step) == ("BudgetExceeded", "sub/again")


async def test_an_agents_tool_may_wait_for_people(opened: Open) -> None:
    world, record = worlds.World(), worlds.Record()
    refund = world.add(
        worlds.workflow([{"id": "consent", "type": "approve", **PEOPLE}], name="refund", output="refunded")
    )
    lookup = world.add(worlds.workflow([{"id": "nothing", "type": "set"}], name="lookup", output="found"))
    agent = {
        "form": "agent", "name": "clerk", "model": "m", "instructions": "Help.", "input": None, "output": None,
        "models": {
            "m": worlds.scripted(
                {"when": "turn == 0", "toolCalls": [{"name": "lookup", "args": {}}, {"name": "refund", "args": {}}]},
                {"text": "done: ${results[0]} and ${results[1]}"},
            )
        },
        "tools": [
            {"name": name, "alias": name, "type": "workflow", "target": name, "input": {"type": "object"}}
            for name in ("lookup", "refund")
        ],
        "limits": {}, "uses": {"Workflow/refund": refund, "Workflow/lookup": lookup},
    }  # fmt: skip
    digest = world.add(agent)
    async with opened(world, digest) as graph:
        (question,) = (await graph.ainvoke({"input": {"q": "please"}}, worlds.config(world, record)))["__interrupt__"]
    assert question.value["step"] == "refund/consent"
    async with opened(world, digest) as graph:
        done = await graph.ainvoke(resume((question, decided("approved"))), worlds.config(world, record))
    assert done["output"] == "done: found and refunded"
    assert record.states("lookup") == ["running", "succeeded"]
    assert record.states("model") == ["running", "succeeded"]


async def test_a_run_cancelled_amid_a_map_goes_on_where_it_was(opened: Open) -> None:
    world, record = worlds.World(), worlds.Record()
    slow = worlds.scripted({"when": "input == 'wait'", "text": "late", "delayMs": 60_000}, {"text": "${input}"})
    body = worlds.workflow(
        [
            {
                "id": "each", "type": "llm", "model": "fast", "prompt": "${item}",
                "map": {"over": "${input.items}", "concurrency": 3},
            }
        ],
        output="${steps.each.output}",
        models={"fast": slow},
    )  # fmt: skip
    digest = world.add(body)
    started = asyncio.Event()

    class Watching(worlds.Record):
        def step(self, path: str, type: str, state: str, **details: Any) -> None:  # noqa: A002
            super().step(path, type, state, **details)
            if len(self.states("each[0]")) == 2 and len(self.states("each[2]")) == 2 and self.states("each[1]"):
                started.set()

    watching = Watching()
    async with opened(world, digest) as graph:
        run = asyncio.create_task(
            graph.ainvoke({"input": {"items": ["a", "wait", "c"]}}, worlds.config(world, watching), durability="sync")
        )
        await started.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    # The same artifact, whose model answers by now.
    quick = {**body, "models": {"fast": worlds.scripted({"text": "${input}"})}}
    async with opened(world, world.add(quick)) as graph:
        done = await graph.ainvoke(None, worlds.config(world, record))
    assert done["output"] == ["a", "wait", "c"]
    assert record.states("each[0]") == []
    assert record.states("each[1]") == ["running", "succeeded"]
