"""Tenants and their sources, each with how many of its resources are well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.views import diagnostics, forms, paging, shapes
from agentos_engine.errors import Problem

TENANTS = "tenants"
SOURCES = "sources"
REVISIONS = "revisions"
TENANT_CURSOR = (str,)
SOURCE_CURSOR = (paging.Id,)

_tenant = tables.tenant
_source = tables.source
_resource = tables.resource


async def named(conn: AsyncConnection, name: str) -> forms.Row | None:
    """The row of the living tenant called `name`."""
    query = sa.select(_tenant).where(_tenant.c.name == name, _tenant.c.deleted_at.is_(None))
    return (await conn.execute(query)).one_or_none()


async def listed(conn: AsyncConnection, only: str | None, wanted: paging.Page) -> shapes.Page[shapes.Tenant]:
    """One page of the living tenants by name; `only` the one with this id where given."""
    query = sa.select(_tenant).where(_tenant.c.deleted_at.is_(None)).order_by(_tenant.c.name).limit(wanted.fetch)
    if only is not None:
        query = query.where(_tenant.c.id == only)
    if wanted.after is not None:
        query = query.where(_tenant.c.name > wanted.after[0])
    found = (await conn.execute(query)).all()
    rows, cursor = paging.cut(TENANTS, found, wanted, lambda row: (row.name,))
    counts = await _counts(conn, [row.id for row in rows])
    return {"items": [_shape(row, counts[row.id]) for row in rows], "nextCursor": cursor}


async def one(conn: AsyncConnection, tenant_id: str) -> shapes.Tenant:
    """A tenant by id.

    Raises:
        Problem: NotFound.
    """
    row = (await conn.execute(sa.select(_tenant).where(_tenant.c.id == tenant_id))).one_or_none()
    if row is None:
        raise Problem("NotFound", "there is no such tenant")
    return _shape(row, (await _counts(conn, [tenant_id]))[tenant_id])


async def _counts(conn: AsyncConnection, tenant_ids: Sequence[str]) -> dict[str, shapes.Counts]:
    counts: dict[str, shapes.Counts] = defaultdict(lambda: {"total": 0, "ready": 0, "stalled": 0, "reconciling": 0})
    by_tenant = _resource.c.tenant_id.in_(tenant_ids)
    grouped = sa.select(_resource.c.tenant_id, _resource.c.ready, sa.func.count()).where(by_tenant)
    for tenant_id, ready, number in await conn.execute(grouped.group_by(_resource.c.tenant_id, _resource.c.ready)):
        counts[tenant_id]["total"] += number
        if ready == "True":
            counts[tenant_id]["ready"] += number
    if all(count["total"] == count["ready"] for count in counts.values()):
        return counts
    troubled = sa.select(_resource.c.tenant_id, _resource.c.conditions).where(by_tenant, _resource.c.ready != "True")
    for tenant_id, packed in await conn.execute(troubled):
        if forms.status_of(packed, "Stalled") == "True":
            counts[tenant_id]["stalled"] += 1
        elif forms.status_of(packed, "Reconciling") == "True":
            counts[tenant_id]["reconciling"] += 1
    return counts


def _shape(row: forms.Row, counts: shapes.Counts) -> shapes.Tenant:
    return {
        "name": row.name,
        "platform": row.platform,
        "state": row.state,
        "ready": row.ready == "True",
        "conditions": forms.conditions(row.conditions),
        "activeGeneration": row.active_seq,
        "hold": _hold(row.hold),
        "suspension": forms.suspension(row),
        "prune": _prune(row.prune),
        "counts": counts,
        "createdAt": forms.time(row.created_at),
    }


def _hold(hold: dict[str, Any] | None) -> shapes.Hold | None:
    if not hold:
        return None
    return {
        "generation": hold.get("seq"),
        "revision": hold.get("revision"),
        "reason": hold.get("reason"),
        "by": hold.get("by"),
        "until": forms.time(hold.get("until")),
    }


def _prune(prune: dict[str, Any] | None) -> shapes.Prune | None:
    if not prune:
        return None
    return {
        "digest": prune["digest"],
        "count": prune["count"],
        "total": prune["total"],
        "resources": prune["refs"],
        "since": forms.time(int(prune["since"])),
    }


async def sources(
    conn: AsyncConnection, only: str | None, wanted: paging.Page, hooked: bool
) -> shapes.Page[shapes.Source]:
    """One page of the sources, by id; of one tenant where `only` is its id.

    `hooked` tells that the platform's own, which no row describes, takes deliveries.
    """
    query = _sources().order_by(_source.c.id).limit(wanted.fetch)
    if only is not None:
        query = query.where(_source.c.tenant_id == only)
    if wanted.after is not None:
        query = query.where(_source.c.id > wanted.after[0])
    found = (await conn.execute(query)).all()
    rows, cursor = paging.cut(SOURCES, found, wanted, lambda row: (row.id,))
    return {"items": [_source_shape(row, hooked) for row in rows], "nextCursor": cursor}


async def source(conn: AsyncConnection, source_id: str, only: str | None, hooked: bool) -> shapes.SourceDetail:
    """A source with the diagnostics of its last revision; `hooked` as in `sources`.

    Raises:
        Problem: NotFound, also where it is not of the tenant `only`.
    """
    row = await source_row(conn, source_id, only)
    return {**_source_shape(row, hooked), "diagnostics": await diagnostics.of_source(conn, row.tenant_id, source_id)}


async def revisions(
    conn: AsyncConnection, source_id: str, only: str | None, wanted: paging.Page
) -> shapes.Page[shapes.SourceRevision]:
    """One page of the revisions of a source that brought generations, newest first.

    Raises:
        Problem: NotFound, also where it is not of the tenant `only`.
    """
    row = await source_row(conn, source_id, only)
    made = tables.generation
    query = sa.select(made).where(made.c.tenant_id == row.tenant_id, made.c.source_id == source_id)
    if wanted.after is not None:
        query = query.where(made.c.seq < wanted.after[0])
    found = (await conn.execute(query.order_by(made.c.seq.desc()).limit(wanted.fetch))).all()
    rows, cursor = paging.cut(REVISIONS, found, wanted, lambda each: (each.seq,))
    items: list[shapes.SourceRevision] = [
        {
            "revision": each.revision,
            "generation": each.seq,
            "state": each.state,
            "appliedAt": forms.time(each.applied_at),
        }
        for each in rows
    ]
    return {"items": items, "nextCursor": cursor}


async def source_row(conn: AsyncConnection, source_id: str, only: str | None) -> forms.Row:
    """The row of a source.

    Raises:
        Problem: NotFound, also where it is not of the tenant `only`.
    """
    query = _sources().where(_source.c.id == source_id)
    if only is not None:
        query = query.where(_source.c.tenant_id == only)
    row = (await conn.execute(query)).one_or_none()
    if row is None:
        raise Problem("NotFound", "there is no such source")
    return row


def _sources() -> forms.Query:
    owner = _tenant.c.name.label("tenant"), _tenant.c.spec.label("tenant_spec"), _tenant.c.platform
    living = sa.and_(_tenant.c.id == _source.c.tenant_id, _tenant.c.deleted_at.is_(None))
    return sa.select(_source, *owner).join_from(_source, _tenant, living)


def _source_shape(row: forms.Row, hooked: bool) -> shapes.Source:
    takes = hooked if row.platform else "webhook" in _spec_of(row)
    return {
        "id": row.id,
        "tenant": row.tenant,
        "name": row.name,
        "url": row.url,
        "ref": row.ref or None,
        "path": row.path,
        "revision": row.head,
        "observed": row.observed,
        "accepted": row.accepted,
        "acceptedBy": row.accepted_by,
        "fetchedAt": forms.time(row.fetched_at),
        "failures": row.failures,
        "error": row.error,
        "suspended": row.suspended_by is not None,
        "suspension": forms.suspension(row),
        "webhook": f"/v1/sources/{row.id}/webhook" if takes else None,
        "ready": row.ready == "True",
        "conditions": forms.conditions(row.conditions),
    }


def _spec_of(row: forms.Row) -> Mapping[str, Any]:
    """The compiled source as its Tenant has it; the platform's own stands outside of the database."""
    return next((spec for spec in (row.tenant_spec or {}).get("sources", ()) if spec["name"] == row.name), {})
