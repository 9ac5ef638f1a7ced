"""Where rounds run: one per tenant at a time, small ones beside bulk, so that a burden of one tenant is its own.

A *small* round builds in a worker process that stays. *Bulk* has a lane of its own, with processes that live as long as
there is any. Which tenants need a round, and what a round is, is the loop's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from agentos_controller import clock
from agentos_controller.reconcile import isolation, workers
from agentos_controller.source import snapshot

log = logging.getLogger(__name__)


class Lanes:
    """Two lanes, each for `size` worker processes; with 0 everything is built in this process.

    `done` is called whenever a round has ended.
    """

    def __init__(self, size: int, done: Callable[[], None], time: clock.Clock, limits: workers.Limits) -> None:
        self._size = size
        self._resident = workers.Workers(size, limits, keep=1)
        self._passing = workers.Workers(size, limits)
        self.isolated = isolation.Isolation(self._resident if size else None, time)
        """Where small builds are made."""
        self.bulky = isolation.Isolation(self._passing if size else None, time)
        """Where builds in the lane of bulk are made."""
        self._done = done
        self._small = asyncio.Semaphore(2 * max(1, size))
        self._bulk = asyncio.Semaphore(2 * max(1, size))
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.heavy = 0
        """Rounds in the lane of bulk, the waiting ones too."""

    @property
    def counters(self) -> tuple[snapshot.Counters, ...]:
        """What was read in worker processes."""
        return self.isolated.counters, self.bulky.counters

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
                self._passing.close()

    def begin(self) -> None:
        """Start the process for small builds: there will be one."""
        self._resident.start(min(1, self._size))

    def warm(self) -> None:
        """Start worker processes now: bulk is about to come."""
        self._passing.start(self._size)

    def cool(self) -> None:
        """End what `warm` started, if nothing came."""
        if not self.heavy:
            self._passing.close()

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
        await self._passing.closed()
        await self._resident.closed()
