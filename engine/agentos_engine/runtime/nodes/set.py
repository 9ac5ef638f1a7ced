"""`set` alone: the step's modifier does the work, there is nothing to act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.runtime import actions, building


def prepare(step: Mapping[str, Any], build: building.Build) -> actions.Action:
    nothing = actions.Result()

    async def act(call: actions.Call) -> actions.Result:
        return nothing

    return act
