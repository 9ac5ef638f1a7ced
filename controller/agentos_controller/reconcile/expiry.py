"""Ends what ends by itself: holds and suspensions whose time is over, drains with nothing in flight any more, and
quarantines.

Keeps in memory when the next one is due, so that a look without anything due costs nothing. What follows from an end
is found out by the round of its tenant.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import clock, tables
from agentos_controller.database import Database
from agentos_controller.reconcile import estate, gather, holding, orders, rollback, standing
from agentos_engine.model import ResourceRef

DRAIN_POLL_US = 5 * clock.SECOND
"""How often is looked whether what a drain waits for has ended."""
NEVER = 300.0


@dataclass(slots=True)
class Ended:
    """The tenants that need a round, and whether a source is among what ended."""

    tenants: set[str] = field(default_factory=set)
    sources: bool = False


class Watch:
    """One per reconciler."""

    def __init__(self, db: Database, time: clock.Clock) -> None:
        self._db = db
        self._time = time
        self._due: int | None = 0
        """Epoch microseconds of the next look; None: nothing ends by itself."""

    def changed(self) -> None:
        """Something may end by itself that did not before."""
        self._due = 0

    def due_in(self) -> float:
        """Seconds until the next look; 0 or less: now."""
        if self._due is None:
            return NEVER
        return (self._due - self._time.now_us()) / clock.SECOND

    async def end(self) -> Ended:
        """End everything whose time is over."""
        ended = Ended()
        now = self._time.now_us()
        if self._due is None or self._due > now:
            return ended
        async with self._db.read(snapshot=True) as conn:
            over, later = await _pauses(conn, now)
            drained, draining = await _drains(conn, now)
            tried, quarantined = await _quarantines(conn, now)
        if over:
            async with self._db.write() as conn:
                for what, pause, held in over:
                    if held:
                        await rollback.release(conn, what.tenant_id, actor=estate.ACTOR, cause=orders.EXPIRY)
                    else:
                        await orders.end(conn, what, pause, actor=estate.ACTOR, now=now, cause=orders.EXPIRY)
                    ended.tenants.add(what.tenant_id)
                    ended.sources |= what.table is tables.source
        ended.tenants |= drained | tried
        looked = min(draining, now + DRAIN_POLL_US) if draining is not None else None
        self._due = holding.earliest([*later, looked, quarantined])
        return ended


Paused = tuple[orders.Target, holding.Pause, bool]


async def _pauses(conn: AsyncConnection, now: int) -> tuple[list[Paused], list[int | None]]:
    """What is held (True) or suspended and is over, and when the others end."""
    tenant, source, resource = tables.tenant, tables.source, tables.resource
    found: list[Paused] = []
    query = sa.select(tenant).where(
        tenant.c.deleted_at.is_(None), sa.or_(tenant.c.hold.is_not(None), tenant.c.suspended_until.is_not(None))
    )
    for row in await conn.execute(query):
        stands = standing.of(row)
        what = orders.of_tenant(row.id, row.name)
        found += [(what, pause, pause is stands.hold) for pause in (stands.hold, stands.suspended) if pause is not None]
    for row in await conn.execute(sa.select(source).where(source.c.suspended_until.is_not(None))):
        if (pause := standing.suspended(row)) is not None:
            found.append((orders.of_source(row.tenant_id, row.id, row.name), pause, False))
    for row in await conn.execute(sa.select(resource).where(resource.c.suspended_until.is_not(None))):
        if (pause := standing.suspended(row)) is not None:
            found.append((orders.of_resource(row.tenant_id, row.kind, row.name), pause, False))
    return [one for one in found if one[1].over(now)], [one[1].until for one in found if not one[1].over(now)]


async def _drains(conn: AsyncConnection, now: int) -> tuple[set[str], int | None]:
    """The tenants in which a drain is over, and when the first of the others ends at the latest.

    What is held or suspended is left out: its drains do not end. What is over and still needed waits for who needs it.
    """
    tenant, resource = tables.tenant, tables.resource
    query = (
        sa.select(resource.c.tenant_id, resource.c.kind, resource.c.name, resource.c.drain_until)
        .join(tenant, tenant.c.id == resource.c.tenant_id)
        .where(
            resource.c.drain_until.is_not(None),
            resource.c.reason == "Draining",
            resource.c.suspended_by.is_(None),
            tenant.c.hold.is_(None),
            tenant.c.suspended_by.is_(None),
        )
    )
    by_tenant: defaultdict[str, dict[ResourceRef, int]] = defaultdict(dict)
    for row in await conn.execute(query):
        by_tenant[row.tenant_id][ResourceRef(row.kind, row.name)] = row.drain_until
    over: set[str] = set()
    for tenant_id, refs in by_tenant.items():
        flying = await gather.in_flight(conn, tenant_id, refs)
        if any(until <= now or ref not in flying for ref, until in refs.items()):
            over.add(tenant_id)
    others = (until for refs in by_tenant.values() for until in refs.values() if until > now)
    return over, holding.earliest(others)


async def _quarantines(conn: AsyncConnection, now: int) -> tuple[set[str], int | None]:
    """The tenants in which something is to be tried again, and when the next one is."""
    resource, parsed, entry, source = tables.resource, tables.parsed_blob, tables.tree_entry, tables.source
    found = [
        (row.tenant_id, row.quarantine_until)
        for row in await conn.execute(
            sa.select(resource.c.tenant_id, resource.c.quarantine_until).where(resource.c.quarantine_until.is_not(None))
        )
    ]
    files = await conn.execute(sa.select(parsed.c.blob_id, parsed.c.until).where(parsed.c.until.is_not(None)))
    # Most often there are none; then who has them is not asked, which would read the map of every source.
    for blob, until in files.all():
        owners = sa.select(source.c.tenant_id).join(entry, entry.c.source_id == source.c.id)
        found += [(owner, until) for owner in await conn.scalars(owners.where(entry.c.blob_id == blob).distinct())]
    return {owner for owner, until in found if until <= now}, holding.earliest(
        until for _owner, until in found if until > now
    )
