"""Generations of a tenant, what stood in each, and the history of one resource through them."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.views import forms, paging, resources, shapes
from agentos_engine.errors import Problem

LISTING = "generations"
ITEMS = "generationItems"
HISTORY = "history"
CURSOR = (int,)
ITEM_CURSOR = (str, str)

Action = Literal["created", "changed", "deleted"]

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
    conn: AsyncConnection, tenant_id: str, tenant: str, of: tuple[str, str], wanted: paging.Page
) -> shapes.Page[shapes.HistoryEntry]:
    """One page of what happened to the resource `of` (kind, name), newest first.

    Raises:
        Problem: NotFound, if it is not there and no kept generation had it.
    """
    mine = (_item.c.tenant_id == tenant_id, _item.c.kind == of[0], _item.c.name == of[1])
    query = sa.select(_item).where(*mine).order_by(_item.c.from_seq.desc())
    if wanted.after is not None:
        query = query.where(_item.c.from_seq < wanted.after[0])
    # A stretch gives at most two entries, and one more than shown is read: whether the oldest shown was created or
    # changed depends on what stood before it.
    found = (await conn.execute(query.limit(wanted.limit + 2))).all()
    if not found and wanted.after is None:
        await resources.one(conn, tenant_id, tenant, *of)
    begins = {item.from_seq for item in found}
    ends = {item.to_seq for item in found if item.to_seq is not None}
    made = {
        row.seq: row
        for row in await conn.execute(
            sa.select(_row).where(_row.c.tenant_id == tenant_id, _row.c.seq.in_(begins | ends))
        )
    }
    entries: list[shapes.HistoryEntry] = []
    for item in found[: wanted.limit + 1]:
        if item.to_seq is not None and item.to_seq not in begins:
            entries.append(_entry(item, made.get(item.to_seq), item.to_seq, "deleted"))
        action: Action = "changed" if item.from_seq in ends else "created"
        entries.append(_entry(item, made.get(item.from_seq), item.from_seq, action))
    if wanted.after is not None:
        # What ended the newest stretch of this page stood on the page before.
        entries = [entry for entry in entries if entry["generation"] < int(wanted.after[0])]
    shown, cursor = paging.cut(HISTORY, entries, wanted, lambda entry: (entry["generation"],))
    return {"items": list(shown), "nextCursor": cursor}


def _entry(item: forms.Row, made: forms.Row | None, seq: int, action: Action) -> shapes.HistoryEntry:
    gone = action == "deleted"
    return {
        "generation": seq,
        "action": action,
        "digest": None if gone else item.digest,
        "artifactDigest": None if gone else item.artifact_digest,
        "revision": made.revision if made else item.revision,
        "path": None if gone else item.path,
        "line": None if gone else item.line,
        "at": forms.time(made.applied_at) if made else None,
        "actor": made.actor if made else None,
        "live": item.to_seq is None,
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
