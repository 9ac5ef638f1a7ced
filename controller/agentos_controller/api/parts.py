"""What the API is made of: handed in by `wiring`, or by a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentos_controller import clock, database, keys, secrets
from agentos_controller.runs import queue

Progress = Callable[[], Mapping[str, Any]]
"""What a loop says of itself: ``ok`` (it made progress in time) and whatever else helps, as plain JSON."""
Counters = Callable[[], Mapping[str, float]]
"""Numbers that only grow, by name, for `/metrics`."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the routes need.

    `starter` is None where no executor runs in this process: runs are then queued for another. `loops` are asked by
    `/readyz`, `counters` by `/metrics`. Setting `stopping` ends every open stream, so that the server can close.
    `platform_webhook` names the secret of deliveries about the platform's own source.
    """

    database: database.Database
    clock: clock.Clock
    keys: keys.Keys
    secrets: secrets.Secrets
    starter: queue.Starter | None = None
    loops: Mapping[str, Progress] = field(default_factory=dict)
    counters: Mapping[str, Counters] = field(default_factory=dict)
    platform_webhook: str | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
