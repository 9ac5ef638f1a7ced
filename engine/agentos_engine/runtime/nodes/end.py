"""`end`: the workflow ends with a named outcome, and with an output of its own where one is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import actions, building


def prepare(step: Mapping[str, Any], build: building.Build) -> actions.Action:
    outcome: str = step["outcome"]
    output = evaluate.prepare_value(step["output"] if "output" in step else build.body.get("output"))

    async def act(call: actions.Call) -> actions.Result:
        return actions.Result(ends=(outcome, output(call.names)))

    return act
