"""`agent`: an agent as a step. It sees its input and nothing else of the workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.runtime import actions, building
from agentos_engine.runtime.nodes import workflow


def prepare(step: Mapping[str, Any], build: building.Build) -> actions.Action:
    return workflow.called("Agent", step["agent"], step, build)
