"""How a token walks a workflow: order, routing, state, errors, limits, map."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from agentos_engine.runtime import cassette, errors, graphs
from tests.support import world as worlds

ECHO = worlds.scripted(
    {"when": "input.startsWith('wait')", "text": "late", "delayMs": 60_000},
    {"when": "input.startsWith('bad')", "output": {"wrong": True}},
    {"when": "input.startsWith('none')", "text": "${messages[7].text}"},
    {"text": "${input}", "usage": {"input": 10, "output": 5}},
    price={"input": 100.0, "output": 0.0},
)


def llm(id_: str, prompt: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "type": "llm", "model": "fast", "prompt": prompt, **more}


def put(id_: str, **fields: str) -> dict[str, Any]:
    return {"id": id_, "type": "set", "set": fields}


async def run(
    steps: Sequence[Mapping[str, Any]],
    given: Any = None,
    *,
    world: worlds.World | None = None,
    record: worlds.Record | None = None,
    **more: Any,
) -> dict[str, Any]:
    here = world or worlds.World()
    body = worlds.workflow(steps, **{"models": {"fast": ECHO}, **more})
    graph = await graphs.build(here.add(body), here, graphs=graphs.Graphs())
    answer: dict[str, Any] = await graph.ainvoke({"input": given or {}}, worlds.config(here, record))
    return answer


async def fails(*args: Any, **kwargs: Any) -> errors.RunError:
    with pytest.raises(errors.RunError) as raised:
        await run(*args, **kwargs)
    return raised.value


async def test_input_is_checked_filled_and_typed() -> None:
    schema = {
        "type": "object",
        "required": ["n"],
        "properties": {"n": {"type": "number"}, "more": {"type": "integer", "default": 2}, "none": {"type": "string"}},
    }
    answer = await run([put("a")], {"n": 1, "none": None}, input=schema, output="${input}")
    assert answer == {"output": {"n": 1.0, "more": 2, "none": None}, "outcome": "done"}
    error = await fails([put("a")], {"n": "x"}, input=schema)
    assert (error.class_, "input.n" in error.message) == ("InvalidInput", True)


async def test_steps_run_in_order_and_see_what_went_before() -> None:
    record = worlds.Record()
    answer = await run(
        [llm("one", "${input.x}"), llm("two", "${steps.one.output}+${steps.one.status}")],
        {"x": "hi"}, record=record, output="${steps.two.output} ${steps.two.visits}",
    )  # fmt: skip
    assert answer["output"] == "hi+done 1"
    assert [(row["path"], row["state"]) for row in record.rows] == [
        ("one", "running"), ("one", "succeeded"), ("two", "running"), ("two", "succeeded"),
    ]  # fmt: skip


async def test_a_skipped_step_has_no_output_and_no_set() -> None:
    record = worlds.Record()
    answer = await run(
        [llm("a", "x", when="input.go", set={"f": "${output}"}), llm("b", "${steps.a.status}")],
        {"go": False}, record=record, state={"f": {"schema": {"type": "string"}, "default": "kept"}},
        output=["${state.f}", "${steps.a.output}", "${steps.b.output}"],
    )  # fmt: skip
    assert answer["output"] == ["kept", None, "skipped"]
    assert record.states("a") == ["skipped"]


async def test_set_is_evaluated_against_the_state_before_it() -> None:
    number = {"schema": {"type": "integer"}}
    answer = await run(
        [put("swap", a="${state.b}", b="${state.a}")],
        state={"a": {**number, "default": 1}, "b": {**number, "default": 2}}, output="${state}",
    )  # fmt: skip
    assert answer["output"] == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("reduce", "default", "value", "expected"),
    [
        ("replace", 1, "${2}", 2), ("append", [[0]], "${[1]}", [[0], [1]]), ("extend", [0], "${[1, 2]}", [0, 1, 2]),
        ("merge", {"a": 1}, "${{'b': 2}}", {"a": 1, "b": 2}), ("sum", 1, "${2}", 3), ("min", 3, "${2}", 2),
        ("max", 3, "${2}", 3), ("union", [1], "${[1, 2]}", [1, 2]), ({"cel": "old * 10 + new"}, 1, "${2}", 12),
        ("append", None, "${1}", [1]), ("sum", None, "${1}", 1),
    ],
)  # fmt: skip
async def test_reducers(reduce: Any, default: Any, value: str, expected: Any) -> None:
    field = {"schema": True, "reduce": reduce, "default": default}
    answer = await run([put("write", f=value), llm("later", "x")], state={"f": field}, output="${state.f}")
    assert answer["output"] == expected


async def test_state_keeps_its_declared_types() -> None:
    field = {"schema": {"type": "array", "items": {"type": "number"}}, "reduce": "append", "default": []}
    answer = await run([put("a", f="${input.n}")], {"n": 1}, state={"f": field}, output="${state.f}")
    assert answer["output"] == [1.0]
    assert isinstance(answer["output"][0], float)
    error = await fails([put("a", f="text")], state={"f": field})
    assert (error.class_, error.step) == ("InvalidOutput", "a")


async def test_branch_takes_the_first_case_that_holds() -> None:
    steps = [
        {"id": "pick", "type": "branch", "cases": [
            {"when": "input.n > 10", "next": "big"}, {"when": "input.n > 5", "next": "end"}]},
        {"id": "small", "type": "end", "outcome": "small", "output": "${input.n}"},
        {"id": "big", "type": "end", "outcome": "big"},
    ]  # fmt: skip
    assert await run(steps, {"n": 20}, output="whole") == {"output": "whole", "outcome": "big"}
    assert await run(steps, {"n": 7}, output="whole") == {"output": "whole", "outcome": "done"}
    assert await run(steps, {"n": 1}, output="whole") == {"output": 1, "outcome": "small"}


async def test_cycles_are_bounded_by_visits_and_by_limits() -> None:
    cycle = [
        llm("again", "${steps.again.visits}"),
        {"id": "more", "type": "branch", "cases": [{"when": "steps.again.visits < 3", "next": "again"}]},
    ]
    record = worlds.Record()
    assert (await run(cycle, record=record, output="${steps.again.visits}"))["output"] == 3
    assert [row["path"] for row in record.rows if row["state"] == "running"] == ["again", "again#2", "again#3"]
    endless = [put("a"), {"id": "b", "type": "branch", "cases": [{"when": "true", "next": "a"}]}]
    error = await fails(endless)
    assert (error.class_, error.details) == ("LimitExceeded", {"limit": "steps"})
    assert "(1000)" in error.message
    assert (await fails(cycle, limits={"steps": 3})).class_ == "LimitExceeded"


async def test_the_graphs_own_limits_cannot_be_caught() -> None:
    forever = [llm("a", "x", onError={"Error": "a"}, next={"done": "a"})]
    assert (await fails(forever, limits={"steps": 20})).class_ == "LimitExceeded"
    error = await fails([llm("a", "x"), llm("b", "x", onError={"Error": "continue"})], limits={"costUsd": 0.001})
    assert (error.class_, error.step) == ("BudgetExceeded", "b")


async def test_a_steps_own_limits_can_be_caught() -> None:
    inner = worlds.World()
    called = inner.add(worlds.workflow([llm("a", "x"), llm("b", "x")], models={"fast": ECHO}))
    sub = {"id": "sub", "type": "workflow", "workflow": "flow", "limits": {"tokens": 15}}
    more: dict[str, Any] = {"uses": {"Workflow/flow": called}, "world": inner}
    assert (await fails([sub], **more)).class_ == "BudgetExceeded"
    caught = await run([{**sub, "onError": {"LimitExceeded": "continue"}}], output="${steps.sub.error.step}", **more)
    assert caught["output"] == "sub/b"


async def test_errors_are_routed_by_the_most_specific_class() -> None:
    bad = llm("a", "bad", output={"type": "object", "required": ["right"]})
    handler = llm("handler", "${steps.a.error.class} at ${steps.a.error.step}", next={"done": "end"})
    for on_error in ({"InvalidOutput": "handler", "Error": "fail"}, {"Error": "handler"}):
        steps = [{**bad, "onError": on_error}, put("next"), handler]
        assert (await run(steps, output="${steps.handler.output}"))["output"] == "InvalidOutput at a"
    kept = await run([{**bad, "onError": {"Error": "continue"}}], output=["${steps.a.status}", "${steps.a.output}"])
    assert kept["output"] == ["failed", None]
    assert (await fails([{**bad, "onError": {"InvalidOutput": "fail", "Error": "continue"}}])).class_ == "InvalidOutput"


async def test_expressions_that_fail_are_errors_of_their_step() -> None:
    for step in (
        put("x", f="${1 / (input.n - input.n)}"),
        llm("x", "${input.none.deeper}"),
        llm("x", "y", when="input.n > 'a'"),
    ):
        error = await fails([put("first"), step], {"n": 1}, state={"f": {"schema": {"type": "integer"}}})
        assert (error.class_, error.step) == ("Error", "x")
    assert (await fails([put("x")], output="${input.none}")).message.startswith("output:")


async def test_a_step_that_fails_in_anothers_node_runs_again_by_itself() -> None:
    record = worlds.Record()
    steps = [
        llm("paid", "x"),
        {**put("broken", f="${1 / input.zero}"), "onError": {"Error": "continue"}},
        llm("on", "y"),
    ]
    answer = await run(
        steps, {"zero": 0}, record=record, state={"f": {"schema": True, "default": 7}},
        output=["${state.f}", "${steps.broken.status}"],
    )  # fmt: skip
    assert answer["output"] == [7, "failed"]
    assert record.states("paid") == ["running", "succeeded"]
    assert record.states("broken") == ["failed"]


async def test_timeouts_of_a_step_and_of_the_run() -> None:
    error = await fails([llm("slow", "wait", limits={"timeoutMs": 20})])
    assert (error.class_, error.step) == ("Timeout", "slow")
    caught = await run([llm("slow", "wait", limits={"timeoutMs": 20}, onError={"Timeout": "continue"})], output="on")
    assert caught["output"] == "on"
    error = await fails([llm("slow", "wait", onError={"Error": "continue"})], limits={"timeoutMs": 20})
    assert (error.class_, error.details) == ("LimitExceeded", {"limit": "timeout"})


async def test_workflows_call_workflows() -> None:
    here, record = worlds.World(), worlds.Record()
    inner = here.add(
        worlds.workflow(
            [
                llm("think", "${input.n}"),
                {"id": "odd", "type": "branch", "cases": [{"when": "input.n % 2 == 1", "next": "end"}]},
                {"id": "even", "type": "end", "outcome": "even", "output": "${input.n * 10}"},
            ],
            models={"fast": ECHO}, output="${input.n}",
            input={"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}},
        )
    )  # fmt: skip
    sub = {"id": "sub", "type": "workflow", "workflow": "flow", "with": {"n": "${input.n}"}}
    steps = [{**sub, "next": {"even": "wasEven"}}, llm("wasOdd", "odd"), llm("wasEven", "${steps.sub.outcome}")]
    more: dict[str, Any] = {
        "world": here,
        "uses": {"Workflow/flow": inner},
        "output": ["${steps.sub.output}", "${steps.wasOdd.output}"],
    }
    assert (await run(steps, {"n": 4}, record=record, **more))["output"] == [40, None]
    assert record.states("sub/think") == ["running", "succeeded"]
    assert (await run(steps, {"n": 3}, **more))["output"] == [3, "odd"]
    error = await fails(steps, {"n": "x"}, **more)
    assert (error.class_, error.step) == ("InvalidInput", "sub")


async def test_nesting_has_a_limit() -> None:
    here = worlds.World()
    digest = here.add(worlds.workflow([put("leaf")]))
    for _ in range(8):
        sub = {"id": "sub", "type": "workflow", "workflow": "flow"}
        digest = here.add(worlds.workflow([sub], uses={"Workflow/flow": digest}))
    graph = await graphs.build(digest, here, graphs=graphs.Graphs())
    with pytest.raises(errors.RunError) as raised:
        await graph.ainvoke({"input": {}}, worlds.config(here))
    assert raised.value.details == {"limit": "depth"}


def mapped(id_: str = "each", **more: Any) -> dict[str, Any]:
    return {**llm(id_, "${item}"), "map": {"over": "${input.items}", **more}}


async def test_map_keeps_the_order_of_its_items() -> None:
    record = worlds.Record()
    step = {**mapped(concurrency=3), "set": {"seen": "${output}-${index}"}}
    answer = await run(
        [step], {"items": list("abcdefg")}, record=record, output=["${steps.each.output}", "${state.seen}"],
        state={"seen": {"schema": {"type": "array"}, "reduce": "append", "default": []}},
    )  # fmt: skip
    assert answer["output"] == [list("abcdefg"), [f"{letter}-{index}" for index, letter in enumerate("abcdefg")]]
    assert record.last("each[3]")["tokens_in"] == 10
    assert record.total("tokens_in") == 70
    assert (await run([mapped()], {"items": []}, output="${steps.each.output}"))["output"] == []


async def test_map_names_its_items() -> None:
    step = {**llm("each", "${at}:${it}"), "map": {"over": "${input.items}", "as": "it", "at": "at"}}
    assert (await run([step], {"items": ["x"]}, output="${steps.each.output}"))["output"] == ["0:x"]


async def test_map_over_what_is_no_list_or_too_long() -> None:
    assert (await fails([mapped()], {"items": "x"})).class_ == "InvalidInput"
    error = await fails([mapped(max=2)], {"items": [1, 2, 3]})
    assert (error.class_, error.step) == ("InvalidInput", "each")


FLAKY = {"items": ["a", "none", "c"]}


async def test_map_collects_drops_or_fails() -> None:
    collected = await run([mapped(errors="collect")], FLAKY, output="${steps.each}")
    assert collected["output"]["output"] == ["a", None, "c"]
    (failure,) = collected["output"]["errors"]
    assert (failure["index"], failure["error"]["step"]) == (1, "each[1]")
    dropped = await run([mapped(errors="drop")], FLAKY, output="${steps.each.output}")
    assert dropped["output"] == ["a", "c"]
    error = await fails([mapped()], FLAKY)
    assert (error.class_, error.step) == ("BadRequest", "each[1]")
    caught = await run([{**mapped(), "onError": {"BadRequest": "continue"}}], FLAKY, output="${steps.each.status}")
    assert caught["output"] == "failed"


async def test_the_first_failing_item_stops_the_others() -> None:
    record = worlds.Record()
    step = mapped(concurrency=2)
    async with asyncio.timeout(30):
        await fails([step], {"items": ["wait", "none", "never"]}, record=record)
    assert record.states("each[2]") == []


async def test_items_count_as_steps() -> None:
    error = await fails([mapped(errors="collect")], {"items": list("abcde")}, limits={"steps": 4})
    assert error.class_ == "LimitExceeded"


async def test_budgets_end_a_map_whatever_it_does_with_errors() -> None:
    error = await fails([mapped(errors="drop", concurrency=1)], {"items": list("abcde")}, limits={"tokens": 30})
    assert (error.class_, error.step) == ("BudgetExceeded", "each[2]")


async def test_now_is_when_the_step_before_was_done() -> None:
    answer = await run([put("a", t="${now}"), llm("b", "${now}")], output=["${state.t}", "${steps.b.output}"],
                       state={"t": {"schema": {"type": "string"}}})  # fmt: skip
    assert answer["output"] == ["2026-11-22T09:00:00Z", "2026-11-22T09:30:00Z"]


async def test_expressions_see_the_run_and_nothing_of_the_services() -> None:
    answer = await run([put("a")], output=["${run.user}", "${tenant.name}", "${thread.id}", "${run.startedAt}"])
    assert answer["output"] == ["ann", "default", "thread-1", "2026-11-22T09:00:00Z"]


async def test_one_built_graph_serves_many_runs_at_once() -> None:
    here = worlds.World()
    body = worlds.workflow([llm("a", "${input.n}")], models={"fast": ECHO}, output="${steps.a.output}")
    built = graphs.Graphs()
    digest = here.add(body)
    first = await graphs.build(digest, here, graphs=built)
    here.bodies.clear()
    second = await graphs.build(digest, here, graphs=built)
    answers = await asyncio.gather(
        *[graph.ainvoke({"input": {"n": n}}, worlds.config(here)) for n, graph in enumerate([first, second] * 20)]
    )
    assert [answer["output"] for answer in answers] == [str(n) for n in range(40)]


async def test_a_digest_nobody_has_is_not_found() -> None:
    with pytest.raises(errors.RunError) as raised:
        await graphs.build("sha256:0", worlds.World(), graphs=graphs.Graphs())
    assert raised.value.class_ == "NotFound"


async def test_a_recording_is_answered_in_order_within_a_run_and_anew_in_the_next() -> None:
    asked = {"system": "", "messages": [{"role": "human", "text": "x"}], "tools": []}
    tape = cassette.dump(cassette.Exchange("model", "fast", asked, {"text": text}) for text in ("first", "second"))
    replaying = {"name": "fast", "provider": "replay", "model": "", "cassette": tape}
    here = worlds.World()
    for _ in range(2):
        answer = await run(
            [llm("a", "x"), llm("b", "x")], world=here, models={"fast": replaying},
            output=["${steps.a.output}", "${steps.b.output}"],
        )  # fmt: skip
        assert answer["output"] == ["first", "second"]
