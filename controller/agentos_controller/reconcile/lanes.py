"""Where rounds run: one per tenant at a time, small ones beside bulk, so that a burden of one tenant is its own.

A *small* round builds in this process. *Bulk* has a lane of its own, with worker processes that live as long as there
is any. Which tenants need a round, and what a round is, is the loop's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from agentos_controller.reconcile import workers

log = logging.getLogger(__name__)


class Lanes:
    """Two lanes for `size` worker processes. `done` is called whenever a round has ended."""

    def __init__(self, size: int, done: Callable[[], None]) -> None:
        self._pool = workers.Pool(size)
        self._done = done
        self._small = asyncio.Semaphore(2 * size)
        self._bulk = asyncio.Semaphore(2 * size)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._open: workers.Open | None = None
        self.heavy = 0
        """Rounds in the lane of bulk, the waiting ones too."""

    @property
    def busy(self) -> frozenset[str]:
        """The tenants whose rounds are under way."""
        return frozenset(self._tasks)

    def start(self, key: str, work: Callable[[], Awaitable[None]]) -> None:
        """Begin the round of `key`, which is not busy."""

        def ended(task: asyncio.Task[None]) -> None:
            del self._tasks[key]
            if not task.cancelled() and task.exception() is not None:
                log.error("round ended with an error", exc_info=task.exception())
            self._done()

        self._tasks[key] = task = asyncio.ensure_future(work())
        task.add_done_callback(ended)

    def small(self) -> asyncio.Semaphore:
        """The lane of small rounds."""
        return self._small

    @contextlib.asynccontextmanager
    async def bulk(self) -> AsyncIterator[None]:
        """The lane of bulk. Meanwhile garbage is not collected: bulk makes many long-lived objects and little garbage,
        and collecting doubles its cost."""
        self.heavy += 1
        gc.disable()
        try:
            async with self._bulk:
                yield
        finally:
            self.heavy -= 1
            if not self.heavy:
                gc.enable()
                if self._open is not None:
                    self._open.close()
                    self._open = None

    def pool(self) -> workers.Open:
        """Worker processes for a build in the lane of bulk; they start with the first one."""
        if self._open is None:
            self._open = self._pool.take()
        return self._open

    def warm(self) -> None:
        """Start worker processes now: bulk is about to come."""
        self._pool.warm()

    def cool(self) -> None:
        """End what `warm` started, if nothing came."""
        if not self.heavy:
            self._pool.cool()

    async def ended(self) -> None:
        """Wait until a round has ended, if any is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)

    async def drained(self) -> None:
        """Wait until no round is under way."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def stop(self) -> None:
        """Cancel every round. Nothing is lost: what a round does is one transaction."""
        for task in list(self._tasks.values()):
            task.cancel()
        await self.drained()
        self._pool.cool()
