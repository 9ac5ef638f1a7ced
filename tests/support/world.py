"""A run's world in memory: artifacts by digest, secrets, plain HTTP, a clock that stands still, a record of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from agentos_engine import artifacts
from agentos_engine.runtime import cassette, services

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


@dataclass
class World:
    """`services.Services` for tests. It remembers which hosts were asked for."""

    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    cassette: cassette.Cassette | None = None
    hosts: list[tuple[str, ...]] = field(default_factory=list)
    client: httpx.AsyncClient | None = None

    def add(self, body: Mapping[str, Any]) -> str:
        """Keep an artifact's body; its digest."""
        digest = artifacts.digest_of(body)
        self.bodies[digest] = dict(body)
        return digest

    async def artifact(self, digest: str) -> dict[str, Any]:
        return self.bodies[digest]

    async def secret(self, name: str, hosts: Sequence[str]) -> str:
        if name not in self.secrets:
            raise services.SecretNotSet(name)
        return self.secrets[name]

    def http(self, hosts: Sequence[str]) -> httpx.AsyncClient:
        self.hosts.append(tuple(hosts))
        if self.client is None:
            self.client = httpx.AsyncClient(trust_env=False)
        return self.client

    def now(self) -> datetime:
        return NOW


@dataclass
class Record:
    """`services.Recorder` that keeps everything."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[str, str, Any]] = field(default_factory=list)

    def step(self, path: str, type: str, state: str, **details: Any) -> None:  # noqa: A002
        self.rows.append({"path": path, "type": type, "state": state, **details})

    def emit(self, type: str, path: str, data: Any) -> None:  # noqa: A002
        self.events.append((type, path, data))

    def states(self, path: str) -> list[str]:
        return [row["state"] for row in self.rows if row["path"] == path]

    def last(self, path: str) -> dict[str, Any]:
        return [row for row in self.rows if row["path"] == path][-1]

    def total(self, column: str) -> int:
        return sum(row.get(column, 0) for row in self.rows)


def config(world: World, record: Record | None = None, **more: Any) -> dict[str, Any]:
    """A run's config, as the executor makes it."""
    return {
        "configurable": {
            "thread_id": "tenant-1/thread-1",
            "services": world,
            "run": {
                "id": "run-1",
                "startedAt": "2026-11-22T09:00:00Z",
                "revision": "abc",
                "trigger": None,
                "user": "ann",
            },
            "tenant": {"name": "default", "labels": {}},
            "recorder": record or Record(),
            "sleep": _at_once,
            "chance": lambda: 0.0,
            **more,
        }
    }


async def _at_once(seconds: float) -> None:
    return None


def workflow(steps: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """A workflow's body; steps without `next` fall through to the one below, as compiled bodies say explicitly."""
    ids = [step["id"] for step in steps]
    routed = []
    for step, following in zip(steps, [*ids[1:], "end"], strict=True):
        normal = "approved" if step["type"] == "approve" else "done"
        routes = {} if step["type"] == "end" else {normal: following, **step.get("next", {})}
        routed.append({"line": 1, **step, "next": routes})
    return {
        "form": "workflow",
        "name": "flow",
        "description": "",
        "input": {"type": "object"},
        "state": {},
        "entry": ids[0],
        "steps": routed,
        "output": None,
        "outcomes": ["done"],
        "limits": {},
        "models": {},
        "uses": {},
        "$defs": {},
        **more,
    }


def scripted(*rules: Mapping[str, Any], name: str = "fast", **more: Any) -> dict[str, Any]:
    """A folded model that answers by `rules`."""
    return {"name": name, "provider": "scripted", "model": "", "params": {}, "fallbacks": [], "script": rules, **more}
