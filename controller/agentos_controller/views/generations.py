"""Generations of a tenant, what stood in each, and the history of one resource through them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.views import forms, paging, resources, shapes
from agentos_engine.errors import Problem

LISTING = "generations"
ITEMS = "generationItems"
CURSOR = (int,)
ITEM_CURSOR = (str, str)

_row = tables.generation
_item = tables.generation_item


async def listed(conn: AsyncConnection, tenant_id: str, wanted: paging.Page) -> shapes.Page[shapes.Generation]:
    """One page of a tenant's generations, newest first."""
    query = _all(tenant_id).order_by(_row.c.seq.desc()).limit(wanted.fetch)
    if wanted.after is not None:
        query = query.where(_row.c.seq < wanted.after[0])
    found = (await conn.execute(query)).all()
    rows, cursor = paging.cut(LISTING, found, wanted, lambda row: (row.seq,))
    return {"items": [_shape(row) for row in rows], "nextCursor": cursor}


async def one(conn: AsyncConnection, tenant_id: str, seq: int, wanted: paging.Page) -> shapes.GenerationDetail:
    """A generation and one page of what stood in it, by kind and name.

    Raises:
        Problem: NotFound.
    """
    row = (await conn.execute(_all(tenant_id).where(_row.c.seq == seq))).one_or_none()
    if row is None:
        raise Problem("NotFound", f"there is no generation {seq}")
    query = (
        sa.select(_item)
        .where(
            _item.c.tenant_id == tenant_id,
            _item.c.from_seq <= seq,
            sa.or_(_item.c.to_seq.is_(None), _item.c.to_seq > seq),
        )
        .order_by(_item.c.kind, _item.c.name)
        .limit(wanted.fetch)
    )
    if wanted.after is not None:
        query = query.where(sa.tuple_(_item.c.kind, _item.c.name) > sa.tuple_(*wanted.after))
    found = (await conn.execute(query)).all()
    items, cursor = paging.cut(ITEMS, found, wanted, lambda item: (item.kind, item.name))
    listed_: list[shapes.GenerationItem] = [
        {
            "kind": item.kind,
            "name": item.name,
            "digest": item.digest,
            "artifactDigest": item.artifact_digest,
            "path": item.path,
            "line": item.line,
            "revision": item.revision,
        }
        for item in items
    ]
    return {**_shape(row), "items": listed_, "nextCursor": cursor}


async def history(
    conn: AsyncConnection, tenant_id: str, tenant: str, kind: str, name: str, limit: int
) -> list[shapes.HistoryEntry]:
    """What happened to one resource, newest first, at most `limit` entries.

    Raises:
        Problem: NotFound, if it is not there and no kept generation had it.
    """
    query = sa.select(_item).where(_item.c.tenant_id == tenant_id, _item.c.kind == kind, _item.c.name == name)
    found = (await conn.execute(query.order_by(_item.c.from_seq.desc()).limit(limit))).all()
    if not found:
        await resources.one(conn, tenant_id, tenant, kind, name)
        return []
    begins = {item.from_seq for item in found}
    ends = {item.to_seq for item in found}
    made = {
        row.seq: row
        for row in await conn.execute(
            sa.select(_row).where(_row.c.tenant_id == tenant_id, _row.c.seq.in_(begins | (ends - {None})))
        )
    }
    entries: list[shapes.HistoryEntry] = []
    for position, item in enumerate(found):
        if item.to_seq is not None and item.to_seq not in begins:
            entries.append(_entry(item, made.get(item.to_seq), item.to_seq, deleted=True))
        first = item.from_seq not in ends
        # The oldest of a full page may have had one before it that was not read.
        cut_off = position == len(found) - 1 and len(found) == limit
        entries.append(_entry(item, made.get(item.from_seq), item.from_seq, created=first and not cut_off))
    return entries[:limit]


def _entry(
    item: forms.Row, made: forms.Row | None, seq: int, *, created: bool = False, deleted: bool = False
) -> shapes.HistoryEntry:
    return {
        "generation": seq,
        "action": "deleted" if deleted else "created" if created else "changed",
        "digest": None if deleted else item.digest,
        "artifactDigest": None if deleted else item.artifact_digest,
        "revision": made.revision if made else item.revision,
        "path": None if deleted else item.path,
        "line": None if deleted else item.line,
        "at": forms.time(made.applied_at if made else 0),
        "actor": made.actor if made else None,
        "live": item.to_seq is None and not deleted,
    }


def _all(tenant_id: str) -> forms.Query:
    return (
        sa.select(_row, tables.source.c.name.label("source"))
        .join_from(_row, tables.source, tables.source.c.id == _row.c.source_id, isouter=True)
        .where(_row.c.tenant_id == tenant_id)
    )


def _shape(row: forms.Row) -> shapes.Generation:
    return {
        "generation": row.seq,
        "revision": row.revision,
        "source": row.source,
        "state": row.state,
        "cause": row.cause or {},
        "actor": row.actor,
        "changes": row.changes,
        "appliedAt": forms.time(row.applied_at),
    }
