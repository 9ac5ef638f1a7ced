"""Wake-ups inside one process: who waits on a channel is woken.

Several wake-ups fold into one: the waiter reads the database. One that knows the end of what is waited for may tell it
and spare the reading; nobody may rely on being told. Between processes a slow poll does the same until PostgreSQL's
LISTEN stands behind `notify`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any


class Subscription:
    """One waiter. A wake-up that comes while nobody waits is kept for the next `wait`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self.told: Any = None
        """What the last one who told something told."""

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for a wake-up, at most `timeout` seconds; whether one came."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True

    def wake(self) -> None:
        """From any thread."""
        if self._loop.is_closed():
            return
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            self._event.set()
        else:
            self._loop.call_soon_threadsafe(self._event.set)


class Hub:
    """Channels by name, made by the first who subscribes."""

    def __init__(self) -> None:
        self._channels: dict[str, set[Subscription]] = {}

    def notify(self, channel: str, told: Any = None) -> None:
        """Wake every subscriber of `channel`; without one it does nothing."""
        for subscription in tuple(self._channels.get(channel, ())):
            if told is not None:
                subscription.told = told
            subscription.wake()

    @contextlib.contextmanager
    def subscribe(self, *channels: str) -> Iterator[Subscription]:
        """A subscription to `channels` while the block lasts, on the running loop."""
        subscription = Subscription(asyncio.get_running_loop())
        for channel in channels:
            self._channels.setdefault(channel, set()).add(subscription)
        try:
            yield subscription
        finally:
            for channel in channels:
                subscribers = self._channels[channel]
                subscribers.discard(subscription)
                if not subscribers:
                    del self._channels[channel]
