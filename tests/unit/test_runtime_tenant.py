"""What a tenant gives every run of its own: variables, and limits of which the tightest holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agentos_engine.runtime import errors, graphs
from tests.support import world as worlds

ECHO = worlds.scripted({"text": "x", "usage": {"input": 10, "output": 5}}, price={"input": 100.0, "output": 0.0})
SLOW = worlds.scripted({"text": "x", "delayMs": 60_000})
AGENT: dict[str, Any] = {
    "form": "agent", "name": "thinker", "description": "", "model": "fast", "models": {"fast": ECHO},
    "instructions": "", "input": None, "output": None, "tools": [], "effect": "read", "limits": {}, "uses": {},
}  # fmt: skip


def say(id_: str, model: str = "fast") -> dict[str, Any]:
    return {"id": id_, "type": "llm", "model": model, "prompt": "p"}


async def run(body: Mapping[str, Any], here: worlds.World, given: Any = None, **config: Any) -> dict[str, Any]:
    graph = await graphs.build(here.add(body), here, graphs=graphs.Graphs())
    answer: dict[str, Any] = await graph.ainvoke({"input": given or {}}, worlds.config(here, **config))
    return answer


async def test_expressions_see_the_tenants_vars() -> None:
    body = worlds.workflow([{"id": "only", "type": "set", "set": {}}], output="${vars.region}-${vars.size.small}")
    answer = await run(body, worlds.World(), vars={"region": "eu", "size": {"small": 3}})
    assert answer["output"] == "eu-3"


@pytest.mark.parametrize(
    ("own", "tenants", "class_", "message"),
    [
        ({}, {"steps": 2}, "LimitExceeded", "limits.steps of the run (2, set for the tenant) is used up"),
        ({"steps": 2}, {"steps": 9}, "LimitExceeded", "limits.steps of the run (2) is used up"),
        ({"tokens": 900}, {"tokens": 30}, "BudgetExceeded", "limits.tokens of the run (30, set for the tenant)"),
        ({"costUsd": 0.001}, {"costUsd": 5}, "BudgetExceeded", "limits.costUsd of the run (0.001) is used up"),
        ({}, {"costUsd": 0.002}, "BudgetExceeded", "limits.costUsd of the run (0.002, set for the tenant)"),
        ({"timeoutMs": 60_000}, {"timeoutMs": 1}, "LimitExceeded", "limits.timeout of the run (1 ms, set for"),
    ],
)
async def test_the_tightest_limit_holds(
    own: dict[str, Any], tenants: dict[str, Any], class_: str, message: str
) -> None:
    steps = [say("a"), say("b"), say("c")] if "timeoutMs" not in tenants else [say("a", "slow")]
    body = worlds.workflow(steps, limits=own, models={"fast": ECHO, "slow": SLOW})
    with pytest.raises(errors.RunError) as raised:
        await run(body, worlds.World(), limits=tenants)
    assert raised.value.class_ == class_
    assert message in raised.value.message


async def test_what_is_called_spends_of_the_tenants_limits() -> None:
    here = worlds.World()
    inner = here.add(worlds.workflow([say("a"), say("b")], models={"fast": ECHO}))
    steps = [{"id": f"sub{n}", "type": "workflow", "workflow": "flow"} for n in (1, 2)]
    body = worlds.workflow(steps, uses={"Workflow/flow": inner})
    assert (await run(body, here, limits={"tokens": 1_000}))["outcome"] == "done"
    with pytest.raises(errors.RunError) as raised:
        await run(body, here, limits={"tokens": 30})
    assert (raised.value.class_, raised.value.details) == ("BudgetExceeded", {"limit": "tokens"})


async def test_an_agent_run_is_limited_too() -> None:
    with pytest.raises(errors.RunError) as raised:
        await run(AGENT | {"limits": {"costUsd": 3}}, worlds.World(), {"message": "hi"}, limits={"costUsd": 0})
    assert raised.value.class_ == "BudgetExceeded"


@pytest.mark.parametrize(("own", "tenants"), [({}, {"depth": 2}), ({"depth": 2}, {}), ({"depth": 2}, {"depth": 5})])
async def test_nesting_is_limited_by_the_run_and_the_tenant(own: dict[str, Any], tenants: dict[str, Any]) -> None:
    here = worlds.World()
    body = worlds.workflow([{"id": "leaf", "type": "set", "set": {}}])
    sub = {"id": "sub", "type": "workflow", "workflow": "flow"}
    for _ in range(2):
        assert (await run(body | {"limits": own}, here, limits=tenants))["outcome"] == "done"
        body = worlds.workflow([sub], uses={"Workflow/flow": here.add(body)})
    with pytest.raises(errors.RunError) as raised:
        await run(body | {"limits": own}, here, limits=tenants)
    assert raised.value.details == {"limit": "depth"}
