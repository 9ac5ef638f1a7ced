"""Sources that something outside made due: the API writes when, the loop takes what has come due.

The time is cleared before the look begins: who writes one during the look is looked at again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import sqlalchemy as sa

from agentos_controller import tables
from agentos_controller.database import Database


class Taken(NamedTuple):
    """Ids of the sources that are due, and when the next one will be, in epoch microseconds."""

    sources: Collection[str]
    upcoming: int | None


async def take(db: Database, now: int) -> Taken:
    """Take the sources whose time has come."""
    source = tables.source
    async with db.read() as conn:
        rows = (await conn.execute(sa.select(source.c.id, source.c.next_at).where(source.c.next_at.is_not(None)))).all()
    due = [row.id for row in rows if row.next_at <= now]
    if due:
        async with db.write() as conn:
            taken = source.update().where(source.c.id.in_(due), source.c.next_at <= now)
            await conn.execute(taken.values(next_at=None))
    return Taken(due, min((row.next_at for row in rows if row.next_at > now), default=None))
