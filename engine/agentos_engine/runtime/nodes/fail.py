"""`fail`: raises an error of the author's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import actions, building, errors


def prepare(step: Mapping[str, Any], build: building.Build) -> actions.Action:
    class_: str = step["error"]
    message, details = evaluate.prepare_value(step["message"]), evaluate.prepare_value(step.get("details"))

    async def act(call: actions.Call) -> actions.Result:
        raise errors.RunError(class_, evaluate.text(message(call.names)), call.path, details(call.names))

    return act
