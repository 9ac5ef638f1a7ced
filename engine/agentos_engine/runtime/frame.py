"""Where an execution stands: whose run it is, what it may use, how deep it is, what it has spent.

One `Frame` belongs to one graph of a run; a called graph gets a child. It travels in the run's config and is never
checkpointed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from agentos_engine.expressions import library
from agentos_engine.runtime import errors, lg, limits
from agentos_engine.runtime import services as world

KEY = "frame"


@dataclass(frozen=True, slots=True)
class Frame:
    """`names` are what expressions see of the run: ``run``, ``thread``, ``tenant``, ``vars``.

    `prefix` begins the path of every step inside (``sub/``). `clients` holds this run's model clients by secret and
    settings. `tokens` asks models to stream and emits ``token`` events. `outer` are caps on the run as a whole, besides
    those of its own graph; only the run's own graph has them.
    """

    services: world.Services
    recorder: world.Recorder
    names: Mapping[str, Any]
    meter: limits.Meter | None = None
    prefix: str = ""
    depth: int = 1
    max_depth: int = limits.DEFAULT_DEPTH
    outer: Sequence[float] | None = None
    tokens: bool = False
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    clients: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, config: lg.RunnableConfig) -> Frame:
        """The frame in `config`, or that of a run's own graph.

        Of ``configurable`` it reads ``services``, ``run`` and ``tenant``; ``thread_id`` (``<tenant id>/<thread id>``)
        or ``thread``; and where given ``recorder``, ``vars``, ``limits`` (the tenant's: ``{steps, tokens, costUsd,
        timeoutMs, depth}``), ``tokens`` (stream), ``sleep`` and ``chance``. ``clients`` and ``depth``, the graph's own
        limit, come from `graphs.build`.
        """
        given: Mapping[str, Any] = config["configurable"]
        if (frame := given.get(KEY)) is not None:
            assert isinstance(frame, Frame)
            return frame
        run: dict[str, Any] = {"id": "", "startedAt": None, "revision": None, "trigger": None, "user": None} | dict(
            given.get("run", {})
        )
        started = run["startedAt"] or given["services"].now()
        run["startedAt"] = library.time_text(datetime.fromisoformat(started) if isinstance(started, str) else started)
        thread = given.get("thread") or {"id": str(given.get("thread_id", "")).rpartition("/")[2], "turns": 0}
        tenant = given.get("tenant") or {"name": "", "labels": {}}
        tenants: Mapping[str, Any] = given.get("limits") or {}
        own_depth = given.get("depth") or limits.DEFAULT_DEPTH
        optional = {name: given[name] for name in ("sleep", "chance", "clients") if name in given}
        return cls(
            services=given["services"],
            recorder=given.get("recorder") or world.NullRecorder(),
            names={"run": run, "thread": thread, "tenant": tenant, "vars": given.get("vars", {})},
            max_depth=min(own_depth, tenants.get("depth") or own_depth),
            outer=limits.caps(tenants) if tenants else None,
            tokens=bool(given.get("tokens", False)),
            **optional,
        )

    @property
    def run_id(self) -> str:
        return str(self.names["run"]["id"])

    def inside(self, path: str, meter: limits.Meter, max_depth: int | None = None) -> Frame:
        """The frame of a graph called by the step at `path`. Raises ``LimitExceeded`` when nested too deeply."""
        if self.depth >= self.max_depth:
            raise errors.RunError(
                "LimitExceeded", f"limits.depth ({self.max_depth}) is used up", path, {"limit": "depth"}, limit=meter
            )
        deepest = self.max_depth if max_depth is None else min(self.max_depth, self.depth + max_depth)
        return replace(self, meter=meter, prefix=f"{path}/", depth=self.depth + 1, max_depth=deepest, outer=None)


def configured(config: lg.RunnableConfig, frame: Frame, recursion_limit: int) -> lg.RunnableConfig:
    """`config` for a graph called with `frame`."""
    configurable = {**config["configurable"], KEY: frame}
    return {**config, "configurable": configurable, "recursion_limit": recursion_limit}
