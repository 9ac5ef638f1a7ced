"""`connector`: one operation of a connector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import actions, building, retry


def prepare(step: Mapping[str, Any], build: building.Build) -> actions.Action:
    digest = build.callee("Connector", step["connector"])
    name: str = step["operation"]
    arguments = evaluate.prepare_value(step.get("with") or {})
    policy = retry.Policy.of(step["retry"]) if step.get("retry") is not None else None

    async def act(call: actions.Call) -> actions.Result:
        operation = await build.loader.operation(digest, name, call.frame.services)
        given = call.given = arguments(call.names)
        output = await call.attempts(policy or operation.retry, lambda _: operation.call(given, call.frame, call.path))
        return actions.Result(output)

    return act
