"""What building one graph looks at: its artifact body, its models, and the way to what it calls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agentos_engine.runtime import connector, lg, limits, values
from agentos_engine.runtime import models as language_models
from agentos_engine.runtime import services as world


@dataclass(frozen=True, slots=True)
class Graph:
    """A built graph. `recursion_limit` counts LangGraph's supersteps and lies above its own limit of steps."""

    name: str
    compiled: lg.CompiledStateGraph[Any, Any, Any, Any]
    recursion_limit: int
    max_depth: int | None


class Loader(Protocol):
    """Finds what a graph calls, by the digests in its ``uses``."""

    async def graph(self, digest: str, services: world.Services) -> Graph: ...

    async def operation(self, digest: str, name: str, services: world.Services) -> connector.Operation: ...


@dataclass(frozen=True, slots=True)
class Build:
    """One graph body under construction."""

    body: Mapping[str, Any]
    models: Mapping[str, language_models.Model]
    loader: Loader

    @classmethod
    def of(cls, body: Mapping[str, Any], loader: Loader) -> Build:
        named = body.get("models") or {}
        return cls(body, {key: language_models.Model(model) for key, model in named.items()}, loader)

    @property
    def defs(self) -> Mapping[str, Any]:
        defs: Mapping[str, Any] = self.body.get("$defs") or {}
        return defs

    @property
    def limits(self) -> Mapping[str, Any]:
        return self.body.get("limits") or {}

    def schema(self, source: Any) -> values.Schema:
        return values.schema_of(source, self.defs)

    def callee(self, kind: str, name: str) -> str:
        """Artifact digest of a direct callee."""
        digest: str = self.body["uses"][f"{kind}/{name}"]
        return digest

    def model(self, key: str) -> language_models.Model:
        return self.models[key]


def caps_of(body: Mapping[str, Any], default_steps: int) -> Sequence[float]:
    """A graph's caps, with `default_steps` where it names none."""
    caps = list(limits.caps(body.get("limits") or {}))
    if caps[limits.STEPS] == math.inf:
        caps[limits.STEPS] = default_steps
    return tuple(caps)
