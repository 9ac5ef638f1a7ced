"""Row ids: UUIDv7 (RFC 9562) as lower-case text, made by us and never by a database default.

Time-ordered, so an index stays local and a keyset cursor is an id. Within one process ids strictly grow, also when
the clock stands still or goes back.
"""

from __future__ import annotations

import os
import threading

from agentos_controller import clock

NIL = "00000000-0000-0000-0000-000000000000"
"""Stands for the platform where a key column needs a tenant."""

_COUNTER_BITS = 74
_RANDOM_MASK = (1 << (_COUNTER_BITS - 1)) - 1


class Ids:
    """A source of ids. Thread-safe; two sources are independent and collide with probability 2⁻⁷³ per millisecond."""

    def __init__(self, source: clock.Clock) -> None:
        self._clock = source
        self._lock = threading.Lock()
        self._millisecond = -1
        self._counter = 0

    def new(self) -> str:
        """A new id, greater than every one this source made before."""
        with self._lock:
            millisecond = self._clock.now_us() // 1_000
            if millisecond > self._millisecond:
                self._millisecond = millisecond
                # The top bit stays free, so that a burst in one millisecond has room to count.
                self._counter = int.from_bytes(os.urandom(10)) & _RANDOM_MASK
            else:
                self._counter += 1 + (os.urandom(1)[0])
                if self._counter >> _COUNTER_BITS:
                    self._millisecond += 1
                    self._counter = 0
            return _text(self._millisecond, self._counter)


def _text(millisecond: int, counter: int) -> str:
    high = counter >> 62
    low = counter & ((1 << 62) - 1)
    value = (millisecond & ((1 << 48) - 1)) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def floor(at_us: int) -> str:
    """The smallest id of the moment `at_us`: a bound for "everything before" and for partitions."""
    return _text(at_us // 1_000, 0)


def time_us(id_: str) -> int:
    """The moment an id was made, in epoch microseconds, exact to the millisecond."""
    return int(id_[:8] + id_[9:13], 16) * 1_000


_default = Ids(clock.SystemClock())


def new() -> str:
    """A new id by the system clock, for callers in which order matters and the moment does not."""
    return _default.new()
