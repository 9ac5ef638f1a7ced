"""`workflow`: another workflow as a step. Its outcomes are the step's, and it spends the caller's limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import actions, building, retry
from agentos_engine.runtime import services as world


def prepare(step: Mapping[str, Any], build: building.Build) -> actions.Action:
    return called("Workflow", step["workflow"], step, build)


def called(kind: str, name: str, step: Mapping[str, Any], build: building.Build) -> actions.Action:
    """The action that calls the graph of a resource with the step's `with`."""
    digest = build.callee(kind, name)
    return calling(lambda services: build.loader.graph(digest, services), step)


def calling(find: Callable[[world.Services], Awaitable[building.Graph]], step: Mapping[str, Any]) -> actions.Action:
    """The action that calls the graph `find` gives."""
    arguments = evaluate.prepare_value(step.get("with") or {})
    policy = retry.Policy.of(step.get("retry"))

    async def act(call: actions.Call) -> actions.Result:
        graph = await find(call.frame.services)
        given = call.given = arguments(call.names)
        result = await call.attempts(policy, lambda _: call.invoke(graph, given))
        return actions.Result(result.get("output"), result.get("outcome") or "done")

    return act
