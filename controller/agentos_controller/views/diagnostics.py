"""What is wrong in the manifests of the last revision, by place."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.views import forms, paging, shapes

LISTING = "diagnostics"
CURSOR = (paging.Id, str, int)

_row = tables.diagnostic


async def listed(
    conn: AsyncConnection, tenant_id: str, wanted: paging.Page, kind: str | None = None, name: str | None = None
) -> shapes.Page[shapes.SourceDiagnostic]:
    """One page of a tenant's diagnostics (of one resource, where named), by source, path and number."""
    order = (_row.c.source_id, _row.c.path, _row.c.number)
    query = _all().where(_row.c.tenant_id == tenant_id).order_by(*order).limit(wanted.fetch)
    if kind is not None:
        query = query.where(_row.c.kind == kind, _row.c.name == name)
    if wanted.after is not None:
        # Compared one by one: a tuple of mixed types does not bind a UUID rightly on every driver.
        source, path, number = wanted.after
        query = query.where(
            sa.or_(
                _row.c.source_id > source,
                sa.and_(_row.c.source_id == source, _row.c.path > path),
                sa.and_(_row.c.source_id == source, _row.c.path == path, _row.c.number > number),
            )
        )
    found = (await conn.execute(query)).all()
    rows, cursor = paging.cut(LISTING, found, wanted, lambda row: (row.source_id, row.path, row.number))
    return {"items": [_placed(row) for row in rows], "nextCursor": cursor}


async def of_source(conn: AsyncConnection, tenant_id: str, source_id: str) -> list[shapes.Diagnostic]:
    """All diagnostics of a source, by path and place."""
    query = _all().where(_row.c.tenant_id == tenant_id, _row.c.source_id == source_id)
    return [_shape(row) for row in await conn.execute(query.order_by(_row.c.path, _row.c.number))]


def _all() -> forms.Query:
    return sa.select(_row, tables.source.c.name.label("source")).join_from(
        _row, tables.source, tables.source.c.id == _row.c.source_id
    )


def _shape(row: forms.Row) -> shapes.Diagnostic:
    return {
        "code": row.code,
        "severity": row.severity,
        "path": row.path,
        "line": row.line,
        "column": row.col,
        "message": row.message,
        "hint": row.hint,
    }


def _placed(row: forms.Row) -> shapes.SourceDiagnostic:
    return {
        **_shape(row),
        "source": row.source,
        "kind": row.kind,
        "name": row.name,
        "revision": row.revision,
    }
