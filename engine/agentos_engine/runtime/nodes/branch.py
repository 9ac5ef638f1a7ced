"""`branch`: the first case that holds decides where the flow goes; without one, the step's own `next`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import actions, building


def prepare(step: Mapping[str, Any], build: building.Build) -> actions.Action:
    cases = [(case["when"], case["next"]) for case in step["cases"]]

    async def act(call: actions.Call) -> actions.Result:
        return actions.Result(target=next((target for when, target in cases if evaluate.truth(when, call.names)), None))

    return act
