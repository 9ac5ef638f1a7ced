"""Time as a value that is passed in, so that nothing reads a clock behind a test's back.

Durations are measured with `monotonic`, moments are epoch microseconds (`Time` columns). Sleeping is not here: loops
wait on signals with a timeout.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

SECOND = 1_000_000
"""Microseconds in a second."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Where the time comes from."""

    def now_us(self) -> int:
        """The moment, in microseconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is told to advance."""

    def __init__(self, start_us: int = 1_767_225_600 * SECOND) -> None:
        self._now = start_us
        self._monotonic = 0.0

    def now_us(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += round(seconds * SECOND)
        self._monotonic += seconds


def to_datetime(at_us: int) -> datetime:
    """The moment `at_us` as an aware datetime in UTC, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=at_us)


def from_datetime(at: datetime) -> int:
    """Epoch microseconds of an aware datetime."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def rfc3339(at_us: int) -> str:
    """RFC 3339 in UTC with microseconds, as every API answer has it: ``2026-11-22T16:14:51.000000Z``."""
    return to_datetime(at_us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
