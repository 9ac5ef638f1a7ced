"""Agents: the model, its tools, its limits."""

from __future__ import annotations

from typing import Any

import pytest

from agentos_engine.runtime import errors, graphs
from tests.support import world as worlds

ANY = {"type": "object"}


def agent(*rules: Any, **more: Any) -> dict[str, Any]:
    return {
        "form": "agent", "name": "clerk", "description": "", "model": "fast", "instructions": "Help ${input.who}.",
        "models": {"fast": worlds.scripted(*rules)}, "input": None, "output": None, "tools": [], "limits": {},
        "effect": "read", "uses": {}, **more,
    }  # fmt: skip


def tool(name: str, type_: str = "workflow", **more: Any) -> dict[str, Any]:
    return {"name": name, "alias": name, "type": type_, "target": name, "description": name, "input": ANY, **more}


def calls(*names: str, **args: Any) -> list[dict[str, Any]]:
    return [{"name": name, "args": args} for name in names]


async def run(
    body: dict[str, Any], given: Any = None, *, here: worlds.World | None = None, record: worlds.Record | None = None
) -> Any:
    world = here or worlds.World()
    graph = await graphs.build(world.add(body), world, graphs=graphs.Graphs())
    answer = await graph.ainvoke({"input": given or {"who": "Bo"}}, worlds.config(world, record))
    assert answer["outcome"] == "done"
    return answer["output"]


async def fails(body: dict[str, Any], **more: Any) -> errors.RunError:
    with pytest.raises(errors.RunError) as raised:
        await run(body, **more)
    return raised.value


def with_tools(world: worlds.World, *rules: Any, **more: Any) -> dict[str, Any]:
    """An agent with the workflows ``double`` (of an integer n) and ``broken``."""
    number = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    double = world.add(
        worlds.workflow([{"id": "a", "type": "set"}], name="double", input=number, output="${input.n * 2}")
    )
    broken = world.add(worlds.workflow([{"id": "a", "type": "set"}], name="broken", output="${1 / input.none}"))
    tools = [tool("double", input=number), tool("broken")]
    return agent(*rules, **{"tools": tools, "uses": {"Workflow/double": double, "Workflow/broken": broken}, **more})


async def test_instructions_and_input_reach_the_model() -> None:
    record = worlds.Record()
    body = agent({"text": "${system} | ${input}"})
    assert await run(body, {"who": "Bo"}, record=record) == "Help Bo. | Bo"
    assert await run(body, {"who": "Bo", "n": 1}) == 'Help Bo. | {"who":"Bo","n":1}'
    assert record.states("model") == ["running", "succeeded"]
    assert record.last("model")["input"] == {"messages": [{"role": "human", "text": "Bo"}]}


async def test_input_is_validated() -> None:
    schema = {"type": "object", "required": ["n"]}
    assert (await fails(agent({"text": "x"}, input=schema))).class_ == "InvalidInput"


async def test_tools_asked_for_at_once_all_answer_in_order() -> None:
    here, record = worlds.World(), worlds.Record()
    body = with_tools(
        here,
        {"when": "turn == 0", "toolCalls": [{"name": "double", "args": {"n": n}} for n in (1, 2, 3)]},
        {"when": "turn == 1", "toolCalls": [{"name": "double", "args": {"n": "${results[2] + 1}"}}]},
        {"text": "${messages[2].text} ${messages[3].text} ${messages[4].text} ${results[0]}"},
    )
    assert await run(body, here=here, record=record) == "2 4 6 14"
    assert [record.last(path)["output"] for path in ("double", "double#2", "double#3", "double#4")] == [2, 4, 6, 14]
    assert record.states("model#3") == ["running", "succeeded"]
    assert record.states("double#4/a") == ["succeeded"]


async def test_what_goes_wrong_in_a_tool_is_told_to_the_model() -> None:
    here = worlds.World()
    body = with_tools(
        here,
        {"when": "turn == 0", "toolCalls": calls("double", "broken", "missing", n="x")},
        {"text": "${results[0]} | ${results[1]} | ${results[2]}"},
    )
    invalid, broken, missing = (await run(body, here=here)).split(" | ")
    assert invalid.startswith("InvalidInput: args.n")
    assert broken.startswith("Error: output:")
    assert missing == "NotFound: there is no tool missing; there are broken, double"


async def test_arguments_fixed_in_the_manifest_win() -> None:
    here = worlds.World()
    body = with_tools(here, {"when": "turn == 0", "toolCalls": calls("double", n=1)}, {"text": "${results[0]}"})
    body["tools"][0]["with"] = {"n": "${input.n}"}
    assert await run(body, {"who": "Bo", "n": 21}, here=here) == "42"


async def test_delegates_get_their_arguments_and_return_their_output() -> None:
    here, record = worlds.World(), worlds.Record()
    expert = here.add(agent({"text": "expert on ${input}"}, name="expert", instructions="Be one."))
    body = agent(
        {"when": "turn == 0", "toolCalls": [{"name": "expert", "args": {"topic": "tea"}}]}, {"text": "${results[0]}!"},
        tools=[tool("expert", "agent")], uses={"Agent/expert": expert},
    )  # fmt: skip
    assert await run(body, here=here, record=record) == "expert on tea!"
    assert record.states("expert/model") == ["running", "succeeded"]


async def test_objects_are_validated_and_repaired_once() -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "number"}}}
    body = agent({"when": "input.startsWith('That answer')", "output": {"n": "${1}"}}, {"text": "one"}, output=schema)
    record = worlds.Record()
    assert await run(body, record=record) == {"n": 1.0}
    assert record.states("model#2") == ["running", "succeeded"]
    error = await fails(agent({"text": "one"}, output=schema))
    assert (error.class_, error.step) == ("InvalidOutput", "model#2")


@pytest.mark.parametrize(
    ("limits", "class_", "limit"),
    [
        ({"steps": 3}, "LimitExceeded", "steps"), ({"toolCalls": 4}, "LimitExceeded", "toolCalls"),
        ({"tokens": 100}, "BudgetExceeded", "tokens"), ({"costUsd": 0.0001}, "BudgetExceeded", "costUsd"),
    ],
)  # fmt: skip
async def test_limits_end_an_agent_that_goes_on(limits: Any, class_: str, limit: str) -> None:
    here = worlds.World()
    rule = {"toolCalls": calls("double", "broken", n=1), "usage": {"input": 30, "output": 20}}
    body = with_tools(here, rule, limits=limits)
    body["models"]["fast"]["price"] = {"input": 1.0, "output": 1.0}
    error = await fails(body, here=here)
    assert (error.class_, error.details) == (class_, {"limit": limit})


async def test_a_tools_own_limits_are_told_and_the_agents_end_it() -> None:
    here = worlds.World()
    expert = agent({"text": "x", "usage": {"input": 10}}, name="expert")
    expert["input"], expert["limits"] = None, {"tokens": 1}
    expert["output"] = {"type": "object", "required": ["never"]}
    uses = {"Agent/expert": here.add(expert)}
    rules = ({"when": "turn == 0", "toolCalls": calls("expert", who="x")}, {"text": "${results[0]}"})
    told = await run(agent(*rules, tools=[tool("expert", "agent")], uses=uses), here=here)
    assert told.startswith("BudgetExceeded: limits.tokens of expert/")
    uses = {"Agent/expert": here.add({**expert, "limits": {}})}
    body = agent(*rules, tools=[tool("expert", "agent")], uses=uses, limits={"tokens": 5})
    error = await fails(body, here=here)
    assert (error.class_, error.step) == ("BudgetExceeded", "expert/model#2")


async def test_time_is_limited() -> None:
    body = agent({"text": "late", "delayMs": 60_000}, limits={"timeoutMs": 20})
    error = await fails(body)
    assert (error.class_, error.details) == ("LimitExceeded", {"limit": "timeout"})


async def test_as_a_step_it_spends_the_workflows_money() -> None:
    here, record = worlds.World(), worlds.Record()
    clerk = agent({"text": "${input}", "usage": {"input": 7, "output": 3}})
    uses = {"Agent/clerk": here.add(clerk)}
    steps = [
        {"id": "each", "type": "agent", "agent": "clerk", "with": {"who": "${item}"}, "map": {"over": "${input.who}"}},
        {"id": "more", "type": "agent", "agent": "clerk", "with": {"who": "x"}},
    ]
    flow = worlds.workflow(steps, uses=uses, output="${steps.each.output}")
    assert await run(flow, {"who": ["a", "b"]}, here=here, record=record) == ["a", "b"]
    assert (record.total("tokens_in"), record.last("each[1]/model")["tokens_out"]) == (21, 3)
    error = await fails({**flow, "limits": {"tokens": 20}}, given={"who": ["a", "b"]}, here=here)
    assert (error.class_, error.step) == ("BudgetExceeded", "more/model")
