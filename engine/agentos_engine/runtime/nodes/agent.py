"""`agent`: an agent as a step, by name or written in place. It sees its input and nothing else of the workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.runtime import actions, agent, building
from agentos_engine.runtime import services as world
from agentos_engine.runtime.nodes import workflow


def prepare(step: Mapping[str, Any], build: building.Build) -> actions.Action:
    if step.get("inline") is None:
        return workflow.called("Agent", step["agent"], step, build)
    graph = agent.Agent(step["inline"], build.loader).graph

    async def find(services: world.Services) -> building.Graph:
        return graph

    return workflow.calling(find, step)
