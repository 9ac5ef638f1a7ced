"""Resources as everyone sees them: lists with filters, one whole, its artifact, its dependents, its history.

A page is one query. Conditions other than Ready are not columns: such a filter reads the rows that can match in
batches and may give a short page with a cursor, never more than `SCAN` rows at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.views import blobs, forms, paging, shapes
from agentos_engine import conditions
from agentos_engine.errors import Problem

LISTING = "resources"
DEPENDENTS = "dependents"
CURSOR = (str, str)
READY = "Ready"
NOT = "not True"
"""As a wanted status of Ready: False or Unknown."""
SCAN = 2_000
"""Rows looked at per page where a filter has to open the conditions."""
_STATUSES = ("True", "False", "Unknown")
_TYPES = (*conditions.PIPELINE, *conditions.DERIVED)

_row = tables.resource
_SUMMARY = (
    _row.c.kind,
    _row.c.name,
    _row.c.applied_digest,
    _row.c.artifact_digest,
    _row.c.applied_revision,
    _row.c.applied_seq,
    _row.c.path,
    _row.c.line,
    _row.c.labels,
    _row.c.ready,
    _row.c.reason,
    _row.c.message,
    _row.c.conditions,
    _row.c.updated_at,
    tables.source.c.head,
)
_WHOLE = (
    *_SUMMARY,
    tables.source.c.name.label("source"),
    _row.c.document,
    _row.c.annotations,
    _row.c.desired_digest,
    _row.c.desired_revision,
    _row.c.interface,
    _row.c.files,
    _row.c.suspended_by,
    _row.c.suspended_reason,
    _row.c.suspended_until,
    _row.c.drain_until,
)
_FROM = _row.outerjoin(tables.source, tables.source.c.id == _row.c.source_id)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which resources: of `kind`, with all `labels`, whose conditions have the statuses given."""

    kind: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(
        cls, kind: str | None, labels: Sequence[str], conditions_: Sequence[str], ready: bool | None = None
    ) -> Filter:
        """A filter from the query ``kind=Agent&label=team=growth&condition=Stalled=True&ready=false``.

        Raises:
            Problem: InvalidRequest, naming the parameter.
        """
        pairs = {}
        for label in ",".join(labels).split(",") if labels else ():
            key, equals, value = label.partition("=")
            if not key or not equals:
                raise _invalid("label", f"{label[:80]!r} is not `key=value`")
            pairs[key] = value
        wanted = {} if ready is None else {READY: "True" if ready else NOT}
        for condition in conditions_:
            type_, equals, status = condition.partition("=")
            if type_ not in _TYPES:
                raise _invalid("condition", f"{type_[:80]!r} is none of {', '.join(_TYPES)}")
            if not equals or status not in _STATUSES:
                raise _invalid("condition", f"{type_} is compared with `=` and one of {', '.join(_STATUSES)}")
            wanted[type_] = status
        return cls(kind, pairs, wanted)


def _invalid(name: str, message: str) -> Problem:
    return Problem(
        "InvalidRequest", f"query {name}: {message}", errors=[{"in": "query", "path": name, "message": message}]
    )


async def listed(
    conn: AsyncConnection, tenant_id: str, tenant: str, chosen: Filter, wanted: paging.Page
) -> shapes.Page[shapes.ResourceSummary]:
    """One page of the resources of a tenant, by kind and name."""
    query = sa.select(*_SUMMARY).select_from(_FROM).where(_row.c.tenant_id == tenant_id)
    if chosen.kind is not None:
        query = query.where(_row.c.kind == chosen.kind)
    for key, value in chosen.labels.items():
        label = tables.resource_label.alias()
        query = query.join_from(
            _row,
            label,
            sa.and_(
                label.c.tenant_id == tenant_id,
                label.c.key == key,
                label.c.value == value,
                label.c.kind == _row.c.kind,
                label.c.name == _row.c.name,
            ),
        )
    inside = dict(chosen.conditions)
    if (ready := inside.pop(READY, None)) is not None:
        query = query.where(_row.c.ready != "True" if ready == NOT else _row.c.ready == ready)
    if any(status != _when_ready(type_) for type_, status in inside.items()):
        # A resource that is Ready has every other condition at its good value.
        query = query.where(_row.c.ready != "True")
    query = query.order_by(_row.c.kind, _row.c.name)
    if not inside:
        found = await _after(conn, query, wanted.after, wanted.fetch)
        rows, cursor = paging.cut(LISTING, found, wanted, lambda row: (row.kind, row.name))
        return {"items": [_summary(row, tenant) for row in rows], "nextCursor": cursor}
    items: list[shapes.ResourceSummary] = []
    place, scanned = wanted.after, 0
    chunk = max(wanted.fetch, 200)
    while scanned < SCAN:
        found = await _after(conn, query, place, chunk)
        for row in found:
            if all(forms.status_of(row.conditions, type_) == status for type_, status in inside.items()):
                if len(items) == wanted.limit:
                    return {"items": items, "nextCursor": paging.encode(LISTING, place or ())}
                items.append(_summary(row, tenant))
            place = (row.kind, row.name)
        if len(found) < chunk:
            return {"items": items, "nextCursor": None}
        scanned += len(found)
    return {"items": items, "nextCursor": paging.encode(LISTING, place or ())}


def _when_ready(type_: str) -> str:
    return "False" if type_ in ("Reconciling", "Stalled") else "True"


async def _after(conn: AsyncConnection, query: forms.Query, key: paging.Key | None, limit: int) -> Sequence[forms.Row]:
    if key is not None:
        query = query.where(sa.tuple_(_row.c.kind, _row.c.name) > sa.tuple_(*key))
    return (await conn.execute(query.limit(limit))).all()


async def one(conn: AsyncConnection, tenant_id: str, tenant: str, kind: str, name: str) -> shapes.Resource:
    """A resource with everything but its artifact.

    Raises:
        Problem: NotFound.
    """
    query = sa.select(*_WHOLE).select_from(_FROM)
    row = (await conn.execute(query.where(*_is(tenant_id, kind, name)))).one_or_none()
    if row is None:
        raise missing(tenant, kind, name)
    return {
        **_summary(row, tenant),
        "source": row.source,
        "document": row.document,
        "annotations": row.annotations or {},
        "desiredDigest": row.desired_digest,
        "desiredRevision": row.desired_revision,
        "interface": row.interface or {},
        "files": list(row.files or ()),
        "suspended": row.suspended_by is not None,
        "suspension": forms.suspension(row),
        "drainUntil": forms.time(row.drain_until),
    }


def missing(tenant: str, kind: str, name: str) -> Problem:
    """There is no such resource."""
    return Problem("NotFound", f"tenant {tenant} has no {kind}/{name}")


def version(resource: shapes.Resource) -> str:
    """The ETag of a resource: it moves with what serves and with every change of its conditions."""
    return f"{resource['generation'] or 0}-{resource['updatedAt']}-{(_observed(resource) or '')[:12]}"


def _observed(resource: shapes.Resource) -> str | None:
    return resource["conditions"][0]["observedRevision"] if resource["conditions"] else None


def _is(tenant_id: str, kind: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (_row.c.tenant_id == tenant_id, _row.c.kind == kind, _row.c.name == name)


def _summary(row: forms.Row, tenant: str) -> shapes.ResourceSummary:
    return {
        "kind": row.kind,
        "name": row.name,
        "tenant": tenant,
        "digest": row.applied_digest,
        "artifactDigest": row.artifact_digest,
        "revision": row.applied_revision,
        "path": row.path,
        "line": row.line,
        "labels": row.labels or {},
        "ready": row.ready == "True",
        "reason": row.reason or "",
        "message": row.message or "",
        "conditions": forms.conditions(row.conditions, row.head),
        "generation": row.applied_seq,
        "updatedAt": forms.time(row.updated_at),
    }


async def artifact(conn: AsyncConnection, tenant_id: str, tenant: str, kind: str, name: str) -> shapes.ArtifactView:
    """The artifact a resource serves.

    Raises:
        Problem: NotFound; also where nothing serves yet, and for kinds that emit none.
    """
    stored = tables.artifact
    query = (
        sa.select(stored)
        .join_from(
            _row, stored, sa.and_(stored.c.tenant_id == _row.c.tenant_id, stored.c.digest == _row.c.artifact_digest)
        )
        .where(*_is(tenant_id, kind, name))
    )
    row = (await conn.execute(query)).one_or_none()
    if row is None:
        await one(conn, tenant_id, tenant, kind, name)
        raise Problem("NotFound", f"{kind}/{name} of tenant {tenant} serves no artifact")
    return {
        "kind": kind,
        "name": name,
        "type": row.type,
        "digest": row.digest,
        "compiler": row.compiler,
        "size": row.size,
        "body": blobs.unpack(row.body),
    }


async def dependents(
    conn: AsyncConnection, tenant_id: str, tenant: str, of: tuple[str, str], wanted: paging.Page
) -> shapes.Page[shapes.Dependent]:
    """One page of who needs the resource `of` (kind, name), directly or through others, by kind and name.

    Raises:
        Problem: NotFound, if there is neither the resource nor anybody who waits for it.
    """
    edge = tables.dependency
    direct = sa.literal(1).label("depth")
    reach = (
        sa.select(edge.c.from_kind, edge.c.from_name, direct)
        .where(edge.c.tenant_id == tenant_id, edge.c.to_kind == of[0], edge.c.to_name == of[1])
        .cte("reach", recursive=True)
    )
    # Deeper is only told from direct, so the walk ends however the edges lie.
    reach = reach.union(
        sa.select(edge.c.from_kind, edge.c.from_name, sa.literal(2)).join_from(
            edge,
            reach,
            sa.and_(
                edge.c.tenant_id == tenant_id,
                edge.c.to_kind == reach.c.from_kind,
                edge.c.to_name == reach.c.from_name,
            ),
        )
    )
    query = (
        sa.select(_row.c.kind, _row.c.name, _row.c.ready, _row.c.reason, sa.func.min(reach.c.depth).label("depth"))
        .join_from(
            reach,
            _row,
            sa.and_(_row.c.tenant_id == tenant_id, _row.c.kind == reach.c.from_kind, _row.c.name == reach.c.from_name),
        )
        .group_by(_row.c.kind, _row.c.name, _row.c.ready, _row.c.reason)
        .order_by(_row.c.kind, _row.c.name)
    )
    found = await _after(conn, query, wanted.after, wanted.fetch)
    if not found and wanted.after is None:
        await one(conn, tenant_id, tenant, *of)
    rows, cursor = paging.cut(DEPENDENTS, found, wanted, lambda row: (row.kind, row.name))
    items: list[shapes.Dependent] = [
        {
            "kind": row.kind,
            "name": row.name,
            "ready": row.ready == "True",
            "reason": row.reason or "",
            "direct": row.depth == 1,
        }
        for row in rows
    ]
    return {"items": items, "nextCursor": cursor}
