"""Bounds in time: how often something may happen, and what happened lately. Both take the time as it is given."""

from __future__ import annotations

from collections import OrderedDict


class Bucket:
    """Lets `size` through at once, and `per_second` over time."""

    __slots__ = ("_at", "_left", "_per_second", "_size")

    def __init__(self, size: float, per_second: float, now: float) -> None:
        self._size, self._per_second = size, per_second
        self._left, self._at = size, now

    def left(self, now: float) -> bool:
        """Whether one more may come."""
        self._left = min(self._size, self._left + (now - self._at) * self._per_second)
        self._at = now
        return self._left >= 1

    def take(self, now: float) -> bool:
        """Count one, if one more may come."""
        if not self.left(now):
            return False
        self._left -= 1
        return True


class Lately:
    """Which keys were seen in the last `window` seconds; of more than `most` the oldest are forgotten."""

    def __init__(self, window: float, most: int) -> None:
        self._window, self._most = window, most
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        return key in self._seen

    def __len__(self) -> int:
        return len(self._seen)

    def forget(self, now: float) -> None:
        """Drop what is older than the window."""
        while self._seen and next(iter(self._seen.values())) < now - self._window:
            self._seen.popitem(last=False)

    def add(self, key: bytes, now: float) -> None:
        self._seen[key] = now
        self._seen.move_to_end(key)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)
