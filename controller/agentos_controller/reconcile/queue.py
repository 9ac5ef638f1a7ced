"""A queue of keys: a key is in it at most once, and a key that failed comes back after a growing pause."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from agentos_controller import clock

FIRST_PAUSE = 0.5
MAX_PAUSE = 300.0


@dataclass(slots=True)
class _Entry:
    due: float = 0.0
    waiting: bool = True
    force: bool = False
    failures: int = 0


class Queue:
    """Keys that need a look. `force` travels with a key: what comes after it must not be skipped as unchanged."""

    def __init__(self, time: clock.Clock) -> None:
        self._time = time
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return sum(1 for entry in self._entries.values() if entry.waiting)

    def add(self, key: str, *, force: bool = False) -> None:
        """Look at `key` at once. A new reason to look ends the pause after a failure."""
        entry = self._entries.setdefault(key, _Entry())
        entry.waiting, entry.due = True, 0.0
        entry.force |= force

    def holds(self, key: str) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry.waiting

    def due(self) -> list[str]:
        """The keys to look at now, in the order in which they came."""
        now = self._time.monotonic()
        return [key for key, entry in self._entries.items() if entry.waiting and entry.due <= now]

    def take(self, keys: Iterable[str]) -> None:
        """Take keys out; a key added meanwhile stays for the next time."""
        for key in keys:
            self._entries[key].waiting = False

    def forced(self, key: str) -> bool:
        """Whether `key` was added with `force`, and no longer."""
        entry = self._entries.get(key)
        if entry is None:
            return False
        force, entry.force = entry.force, False
        return force

    def done(self, key: str) -> None:
        entry = self._entries.get(key)
        if entry is not None and not entry.waiting:
            del self._entries[key]

    def again(self, key: str, *, force: bool = False) -> None:
        """`key` failed: come back to it after a pause."""
        entry = self._entries.setdefault(key, _Entry())
        entry.force |= force
        if entry.waiting:
            return
        entry.waiting = True
        entry.due = self._time.monotonic() + min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(entry.failures, 12))
        entry.failures += 1

    def ready(self, key: str) -> bool:
        """Whether `key` is to be looked at now."""
        entry = self._entries.get(key)
        return entry is not None and entry.waiting and entry.due <= self._time.monotonic()

    def force(self, key: str, force: bool) -> None:
        """Give back what `forced` took."""
        self._entries.setdefault(key, _Entry(waiting=False)).force |= force

    def next_due(self, but: Set[str] = frozenset()) -> float:
        """Seconds until the next key is due, those in `but` left out; 0 or less: now."""
        now = self._time.monotonic()
        waiting = (entry.due - now for key, entry in self._entries.items() if entry.waiting and key not in but)
        return min(waiting, default=MAX_PAUSE)
