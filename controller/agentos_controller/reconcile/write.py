"""Makes a build so: one short transaction per tenant, in which a run sees wholly the old or wholly the new generation.

Only changed rows are written. Order and content of the transaction: data model, "What commits together". Deciding is
`build`'s business; what an artifact type needs beyond its row stands in `apply`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import apply, audit, bulk, clock, ids, tables
from agentos_controller.reconcile import gather, standing, values
from agentos_engine import artifacts, errors, plan
from agentos_engine.model import ResourceRef

HOUR = 3600 * clock.SECOND


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a generation came to be. `type` is push, rollback, release or policy; `actor` who is behind it."""

    type: str
    actor: str
    revision: str
    source_id: str | None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"type": self.type, **self.detail}


@dataclass(frozen=True, slots=True)
class Files:
    """The persisted path-to-blob map of one source, as a difference; `state` is manifest or text."""

    source_id: str
    entries: Mapping[str, tuple[str, str] | None]
    """Path to (blob id, state), None where it is gone."""


async def build(
    conn: AsyncConnection,
    tenant: values.Tenant,
    built: values.Built,
    cause: Cause,
    files: Sequence[Files],
    now: int,
    schema_version: str,
) -> int:
    """Write `built` for `tenant`; the sequence number of the live generation afterwards.

    Raises:
        errors.Wait: the tenant moved on since the job was gathered (a rollback, another round): gather anew.
    """
    seq = await guard(conn, tenant)
    if built.applied:
        seq = await _generation(conn, tenant.id, built, cause, seq, now)
    await _resources(conn, tenant.id, built, seq)
    await _diagnostics(conn, tenant.id, built)
    await changes(conn, tenant.id, built.changes, now)
    await events(conn, tenant.id, built.events, now)
    if built.parsed:
        rows = [{**one._asdict(), "schema_version": schema_version} for one in built.parsed]
        await bulk.upsert_many(conn, tables.parsed_blob, rows, ("blob_id", "schema_version"), ("body", "until"))
    for part in files:
        await _tree(conn, part)
    return seq


def uses(entry: plan.Entry | None) -> dict[str, str] | None:
    """The stored form of what an entry was compiled against."""
    return {str(ref): digest for ref, digest in sorted(entry.deps.items())} if entry is not None else None


async def guard(conn: AsyncConnection, tenant: values.Tenant) -> int:
    """The live generation, when the tenant still is as `tenant` says."""
    row = await standing.row(conn, tenant.id)
    described = tenant.spec if tenant.platform else None
    if row is None or (row.active_seq or 0) != tenant.active_seq or standing.of(row, described) != tenant.standing:
        raise errors.Wait("Reconciling", f"{tenant.name} moved on meanwhile")
    return tenant.active_seq


async def _generation(
    conn: AsyncConnection, tenant_id: str, built: values.Built, cause: Cause, seq: int, now: int
) -> int:
    if built.artifacts:
        rows = [
            {
                "tenant_id": tenant_id,
                "digest": artifact.digest,
                "type": artifact.type,
                "name": artifact.name,
                "body": artifact.body,
                "size": artifact.size,
                "compiler": artifacts.COMPILER,
                "first_at": now,
            }
            for artifact in built.artifacts
        ]
        await bulk.upsert_many(conn, tables.artifact, rows, ("tenant_id", "digest"))
    items = [
        {
            "kind": applied.change.ref.kind,
            "name": applied.change.ref.name,
            "digest": applied.change.new.digest if applied.change.new else None,
            "artifact_digest": applied.change.new.artifact_digest if applied.change.new else None,
            "path": applied.path,
            "line": applied.line,
            "revision": applied.revision,
            "uses": uses(applied.change.new),
        }
        for applied in built.applied
    ]
    replaced = {applied.change.ref for applied in built.applied if applied.change.old is not None}
    seq = await open_generation(conn, tenant_id, seq, cause, items, replaced, now)
    await apply.all_types(conn, tenant_id, built.applied, now)
    await audit.append(
        conn,
        tenant_id,
        cause.actor,
        f"generation.{cause.type}",
        f"generation/{seq}",
        cause.revision,
        "applied",
        {"changes": len(built.applied), **cause.as_json()},
    )
    return seq


async def open_generation(
    conn: AsyncConnection,
    tenant_id: str,
    seq: int,
    cause: Cause,
    items: Sequence[Mapping[str, Any]],
    replaced: Iterable[ResourceRef],
    now: int,
) -> int:
    """Swap the live generation `seq` for the next, with `items` (those without digest are removed); its number."""
    number = seq + 1
    live = tables.generation.update().where(
        tables.generation.c.tenant_id == tenant_id, tables.generation.c.state == "applied"
    )
    await conn.execute(live.values(state="rolledback" if cause.type == "rollback" else "superseded"))
    row = {
        "tenant_id": tenant_id,
        "seq": number,
        "revision": cause.revision,
        "source_id": cause.source_id,
        "state": "applied",
        "cause": cause.as_json(),
        "actor": cause.actor,
        "changes": len(items),
        "applied_at": now,
    }
    await conn.execute(tables.generation.insert(), row)
    item = tables.generation_item
    closing = [{"p_kind": ref.kind, "p_name": ref.name} for ref in replaced]
    if closing:
        close = item.update().where(
            item.c.tenant_id == tenant_id,
            item.c.kind == sa.bindparam("p_kind"),
            item.c.name == sa.bindparam("p_name"),
            item.c.to_seq.is_(None),
        )
        await conn.execute(close.values(to_seq=number), closing)
    opened = [{"tenant_id": tenant_id, "from_seq": number, **row} for row in items if row["digest"] is not None]
    await bulk.insert_many(conn, item, opened)
    active = tables.tenant.update().where(tables.tenant.c.id == tenant_id)
    await conn.execute(active.values(active_seq=number))
    return number


_RESOURCE_KEYS = ("tenant_id", "kind", "name")
_RESOURCE_COLUMNS = (*gather.COLUMNS, "updated_at")


async def _resources(conn: AsyncConnection, tenant_id: str, built: values.Built, seq: int) -> None:
    rows = []
    for row in built.resources:
        row["tenant_id"] = tenant_id
        if ResourceRef(row["kind"], row["name"]) in built.moved:
            row["applied_seq"] = seq
        rows.append(row)
    await bulk.upsert_many(conn, tables.resource, rows, _RESOURCE_KEYS, _RESOURCE_COLUMNS)
    gone = [{"tenant_id": tenant_id, "kind": ref.kind, "name": ref.name} for ref in built.deleted]
    await bulk.delete_many(conn, tables.resource, gone, _RESOURCE_KEYS)
    if not built.fresh:
        relinked = [
            {"tenant_id": tenant_id, "from_kind": ref.kind, "from_name": ref.name}
            for ref in (*built.links, *built.deleted)
        ]
        await bulk.delete_many(conn, tables.dependency, relinked, ("tenant_id", "from_kind", "from_name"))
    links = [
        {"tenant_id": tenant_id, "to_kind": kind, "to_name": name, "from_kind": ref.kind, "from_name": ref.name}
        for ref, targets in built.links.items()
        for kind, name in dict.fromkeys(targets)
    ]
    await bulk.insert_many(conn, tables.dependency, links)
    if not built.fresh:
        relabelled = [
            {"tenant_id": tenant_id, "kind": ref.kind, "name": ref.name} for ref in (*built.labels, *built.deleted)
        ]
        await bulk.delete_many(conn, tables.resource_label, relabelled, _RESOURCE_KEYS)
    labels = [
        {"tenant_id": tenant_id, "key": key, "value": value, "kind": ref.kind, "name": ref.name}
        for ref, pairs in built.labels.items()
        for key, value in pairs.items()
    ]
    await bulk.insert_many(conn, tables.resource_label, labels)


async def _diagnostics(conn: AsyncConnection, tenant_id: str, built: values.Built) -> None:
    table = tables.diagnostic
    if not built.fresh:
        reviewed = [
            {"tenant_id": tenant_id, "source_id": place.source_id, "path": place.path} for place in built.reviewed
        ]
        judged = [{"tenant_id": tenant_id, "kind": ref.kind, "name": ref.name} for ref in built.judged]
        await bulk.delete_many(conn, table, reviewed, ("tenant_id", "source_id", "path"))
        await bulk.delete_many(conn, table, judged, ("tenant_id", "kind", "name"))
    if not built.diagnostics:
        return
    numbers: defaultdict[values.Place, int] = defaultdict(int)
    untouched = {values.Place(row["source_id"], row["path"]) for row in built.diagnostics} - built.reviewed
    for place in untouched:
        query = sa.select(sa.func.max(table.c.number)).where(
            table.c.tenant_id == tenant_id, table.c.source_id == place.source_id, table.c.path == place.path
        )
        numbers[place] = (await conn.scalar(query)) or 0
    rows = []
    for row in built.diagnostics:
        place = values.Place(row["source_id"], row["path"])
        numbers[place] += 1
        rows.append({**row, "tenant_id": tenant_id, "number": numbers[place]})
    await bulk.insert_many(conn, table, rows)


async def changes(conn: AsyncConnection, tenant_id: str, rows: Sequence[values.Row], now: int) -> None:
    """Append to the tenant's watch log, numbered without holes."""
    if not rows:
        return
    table = tables.change
    last = await conn.scalar(sa.select(sa.func.max(table.c.seq)).where(table.c.tenant_id == tenant_id)) or 0
    numbered = [{**row, "tenant_id": tenant_id, "seq": last + number, "at": now} for number, row in enumerate(rows, 1)]
    await bulk.insert_many(conn, table, numbered)


_SAME_EVENT = ("tenant_id", "kind", "name", "reason", "message_hash", "hour")


async def events(conn: AsyncConnection, tenant_id: str, rows: Sequence[values.Row], now: int) -> None:
    """Record what happened to resources; a repetition within the hour counts up.

    `rows` have kind, name, type, reason, message, revision, path and line.
    """
    if not rows:
        return
    full = [
        {
            **row,
            "id": ids.new(),
            "tenant_id": tenant_id,
            "message_hash": "sha256:" + hashlib.sha256(row["message"].encode()).hexdigest(),
            "hour": now // HOUR,
            "count": 1,
            "first_at": now,
            "last_at": now,
        }
        for row in rows
    ]
    await bulk.upsert_many(conn, tables.event, full, _SAME_EVENT, ("last_at",), counting="count")


async def _tree(conn: AsyncConnection, files: Files) -> None:
    table = tables.tree_entry
    present = [
        {"source_id": files.source_id, "path": path, "blob_id": entry[0], "state": entry[1]}
        for path, entry in files.entries.items()
        if entry is not None
    ]
    await bulk.upsert_many(conn, table, present, ("source_id", "path"), ("blob_id", "state"))
    gone = [{"source_id": files.source_id, "path": path} for path, entry in files.entries.items() if entry is None]
    await bulk.delete_many(conn, table, gone, ("source_id", "path"))
