"""`transform`: a value made of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import actions, building


def prepare(step: Mapping[str, Any], build: building.Build) -> actions.Action:
    value = evaluate.prepare_value(step["value"])

    async def act(call: actions.Call) -> actions.Result:
        return actions.Result(value(call.names))

    return act
