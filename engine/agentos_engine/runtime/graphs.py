"""Digest to graph: builds once, keeps the most recently used.

An artifact's digest covers everything it calls, so a built graph can be shared by every run and every tenant that pins
it: nothing of either is inside. Callees are found when they are first called.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from agentos_engine.runtime import agent, building, connector, errors, lg, workflow
from agentos_engine.runtime import services as world

T = TypeVar("T")
CAPACITY = 512
"""Graphs kept; one is 30 to 400 KB."""


class _Recent(Generic[T]):
    """The last `capacity` things used."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: OrderedDict[Any, T] = OrderedDict()

    def get(self, key: Any) -> T | None:
        if (found := self._items.get(key)) is not None:
            self._items.move_to_end(key)
        return found

    def put(self, key: Any, item: T) -> T:
        self._items[key] = item
        self._items.move_to_end(key)
        while len(self._items) > self._capacity:
            self._items.popitem(last=False)
        return item


class Graphs:
    """Built graphs and connectors by digest. One per process, on its event loop."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._graphs: _Recent[building.Graph] = _Recent(capacity)
        self._connectors: _Recent[Mapping[str, Any]] = _Recent(capacity)
        self._operations: _Recent[connector.Operation] = _Recent(4 * capacity)

    async def graph(self, digest: str, services: world.Services) -> building.Graph:
        """The graph of an artifact; raises ``NotFound`` if these services have none of this digest."""
        if (found := self._graphs.get(digest)) is not None:
            return found
        body = await _artifact(digest, services)
        form = body.get("form")
        if form == "workflow":
            return self._graphs.put(digest, workflow.Workflow(body, self).graph)
        if form == "agent":
            return self._graphs.put(digest, agent.Agent(body, self).graph)
        raise errors.RunError("BadRequest", f"the artifact {digest} is no graph")

    async def operation(self, digest: str, name: str, services: world.Services) -> connector.Operation:
        """An operation of a connector's artifact."""
        if (found := self._operations.get((digest, name))) is not None:
            return found
        if (body := self._connectors.get(digest)) is None:
            body = self._connectors.put(digest, await _artifact(digest, services))
        if name not in body["operations"]:
            raise errors.RunError("NotFound", f"connector {body['name']} has no operation {name}")
        return self._operations.put((digest, name), connector.Operation(body, name))


async def _artifact(digest: str, services: world.Services) -> dict[str, Any]:
    try:
        return await services.artifact(digest)
    except LookupError:
        raise errors.RunError("NotFound", f"there is no artifact {digest}") from None


_GRAPHS = Graphs()


async def build(
    digest: str, services: world.Services, checkpointer: Any = None, graphs: Graphs = _GRAPHS
) -> lg.CompiledStateGraph[Any, Any, Any, Any]:
    """The graph of one run, keeping its state with `checkpointer` (without one it cannot wait for people).

    Call it with ``{"input": …}`` or ``Command(resume={interrupt id: answer})`` and the config described in `frame`; it
    answers ``{"output", "outcome"}``, with ``__interrupt__`` while it waits, or raises `errors.RunError`. It keeps the
    run's model clients, keys and all: build anew for another run, which costs microseconds.
    """
    built = await graphs.graph(digest, services)
    root = copy.copy(built.compiled)
    root.checkpointer = checkpointer
    root.config = {"recursion_limit": built.recursion_limit, "configurable": {"clients": {}, "depth": built.max_depth}}
    return root
