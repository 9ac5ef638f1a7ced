"""Which tenant a path means, remembered for a moment: every request asks, and the answer hardly ever changes.

Only id and name are remembered. What a request decides by (state, live generation, hold) it reads itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agentos_controller import database
from agentos_controller.views import tenants

FRESH_S = 1.0
"""A tenant that is gone is found no longer than this."""
_REMEMBERED = 1_024


@dataclass(frozen=True, slots=True)
class Entry:
    """A living tenant."""

    id: str
    name: str


class Directory:
    """Tenants by name. `monotonic` gives seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, Entry]] = {}

    async def find(self, db: database.Database, name: str) -> Entry | None:
        """The living tenant called `name`."""
        now = self._monotonic()
        known = self._known.get(name)
        if known is not None and now - known[0] <= FRESH_S:
            return known[1]
        async with db.read() as conn:
            row = await tenants.named(conn, name)
        if row is None:
            self._known.pop(name, None)
            return None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        entry = Entry(row.id, row.name)
        self._known[name] = (now, entry)
        return entry
