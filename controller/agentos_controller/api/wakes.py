"""Waking the loop for a source: a time in the source's row, and a wake-up for who waits for such rows.

A storm coalesces: the first delivery about a repository makes it due at once, what comes shortly after that makes it
due once more, and while the storm lasts the pauses double, up to two seconds. Whatever was delivered is therefore
looked at after it was delivered. Deliveries about several sources of one repository count together. What is planned
stands in the row, so it survives a restart, and the loop may be in another process.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import sqlalchemy as sa

from agentos_controller import clock, database, tables

CHANNEL = "sources"
"""Notified when a source is due."""
SHORTEST_US = clock.SECOND // 10
LONGEST_US = 2 * clock.SECOND
_REPOSITORIES = 4_096


@dataclass(slots=True)
class _Window:
    """The last look that was asked for, when, and the pause after it; `planned`: it lay ahead when it was asked for."""

    at: int
    pause: int
    planned: bool


class Wakes:
    """What this process has asked for, by repository."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    async def wake(self, db: database.Database, source_id: str, url: str, now: int) -> None:
        """Let the repository at `url` be looked at, in the name of one of its sources, after `now`."""
        due = self._due(url, now)
        if due is None:
            return
        source = tables.source
        later = sa.or_(source.c.next_at.is_(None), source.c.next_at > due)
        try:
            async with db.write() as conn:
                await conn.execute(source.update().where(source.c.id == source_id, later).values(next_at=due))
        except BaseException:
            self._windows.pop(url, None)
            raise
        db.notify(CHANNEL)

    def _due(self, url: str, now: int) -> int | None:
        """When the next look has to be, None if one that lies ahead is asked for already."""
        last = self._windows.get(url)
        if last is None or not last.at - LONGEST_US <= now < last.at + last.pause:
            return self._open(url, _Window(now, SHORTEST_US, planned=False))
        if last.planned and now < last.at:
            return None
        return self._open(url, _Window(last.at + last.pause, min(LONGEST_US, 2 * last.pause), planned=True))

    def _open(self, url: str, window: _Window) -> int:
        self._windows[url] = window
        self._windows.move_to_end(url)
        if len(self._windows) > _REPOSITORIES:
            self._windows.popitem(last=False)
        return window.at
