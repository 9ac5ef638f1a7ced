"""What a run needs from whoever runs it, as protocols; nothing here does anything.

A run's config is ``{"configurable": {"thread_id", "services", "run", "tenant", "recorder", …}}``, see `frame.Frame.of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import httpx

from agentos_engine.runtime import cassette as cassettes


class SecretNotSet(LookupError):
    """The tenant has no secret of this name."""


class Services(Protocol):
    """The world of one run. All of it belongs to the run's tenant."""

    @property
    def cassette(self) -> cassettes.Cassette | None:
        """Recording in use, or None. Each run has a `Cassette.session` of its own, which answers from the beginning."""
        ...

    async def artifact(self, digest: str) -> dict[str, Any]:
        """Body of an artifact of this tenant; LookupError if there is none."""
        ...

    async def secret(self, name: str, hosts: Sequence[str]) -> str:
        """Value of a secret for a client that reaches only `hosts`, the same that `http` is given.

        Raises `SecretNotSet` (or another LookupError) if there is none, `errors.RunError` of class ``Denied`` if it may
        not go to one of them.
        """
        ...

    def http(self, hosts: Sequence[str]) -> httpx.AsyncClient:
        """A guarded client that reaches only `hosts`. It belongs to the services: nobody here closes it."""
        ...

    def now(self) -> datetime:
        """The current time, with a timezone."""
        ...


class Recorder(Protocol):
    """Where a run tells what happens. Synchronous and in memory: the executor flushes it after a checkpoint.

    `state` is running, succeeded, failed, skipped or waiting. Tokens and cost stand on exactly one row, the one of the
    model call, so totals are plain sums. `path` is stable over redelivery: ``consent``, ``analyse[3]``, ``sub/pull``,
    ``draft#2`` for the second visit.
    """

    def step(
        self,
        path: str,
        type: str,  # noqa: A002
        state: str,
        *,
        input: Any = None,  # noqa: A002
        output: Any = None,
        error: Any = None,
        tokens_in: int = 0,
        tokens_out: int = 0,
        cost_micros: int = 0,
        attempt: int = 1,
    ) -> None: ...

    def emit(self, type: str, path: str, data: Any) -> None: ...  # noqa: A002


class NullRecorder:
    """Records nothing."""

    def step(self, path: str, type: str, state: str, **details: Any) -> None:  # noqa: A002
        return

    def emit(self, type: str, path: str, data: Any) -> None:  # noqa: A002
        return
