"""What happened in a tenant: events about resources, and the change log that a watch follows.

The change log counts up without holes per tenant, so a reader that lost its place can tell: `reach` says how far back
the log goes.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.views import forms, paging, shapes

EVENTS = "events"
CURSOR = (paging.Id,)

_event = tables.event
_change = tables.change


async def events(
    conn: AsyncConnection, tenant_id: str, wanted: paging.Page, kind: str | None = None, name: str | None = None
) -> shapes.Page[shapes.Event]:
    """One page of a tenant's events (of one resource, where named), newest first."""
    query = sa.select(_event, _event.c.count.label("times")).where(_event.c.tenant_id == tenant_id)
    if kind is not None:
        query = query.where(_event.c.kind == kind, _event.c.name == name)
    if wanted.after is not None:
        query = query.where(_event.c.id < wanted.after[0])
    found = (await conn.execute(query.order_by(_event.c.id.desc()).limit(wanted.fetch))).all()
    rows, cursor = paging.cut(EVENTS, found, wanted, lambda row: (row.id,))
    return {"items": [_event_shape(row) for row in rows], "nextCursor": cursor}


def _event_shape(row: forms.Row) -> shapes.Event:
    return {
        "id": row.id,
        "kind": row.kind,
        "name": row.name,
        "type": row.type,
        "reason": row.reason,
        "message": row.message,
        "revision": row.revision,
        "path": row.path,
        "line": row.line,
        "count": row.times,
        "firstAt": forms.time(row.first_at),
        "lastAt": forms.time(row.last_at),
    }


async def reach(conn: AsyncConnection, tenant_id: str) -> tuple[int, int]:
    """The first and the last sequence number the change log holds; (1, 0) while it is empty."""
    ends = sa.select(sa.func.min(_change.c.seq), sa.func.max(_change.c.seq)).where(_change.c.tenant_id == tenant_id)
    first, last = (await conn.execute(ends)).one()
    return (first, last) if last is not None else (1, 0)


async def changes(conn: AsyncConnection, tenant_id: str, after: int, limit: int) -> list[shapes.Change]:
    """The changes after number `after`, in order."""
    query = sa.select(_change).where(_change.c.tenant_id == tenant_id, _change.c.seq > after)
    return [
        {
            "sequence": row.seq,
            "type": row.type,
            "kind": row.kind,
            "name": row.name,
            "ready": row.ready == "True",
            "reason": row.reason,
            "digest": row.digest,
            "revision": row.revision,
            "at": forms.time(row.at),
        }
        for row in await conn.execute(query.order_by(_change.c.seq).limit(limit))
    ]
