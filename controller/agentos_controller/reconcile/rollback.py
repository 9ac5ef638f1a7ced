"""Back to a kept generation, and on again: neither compiles anything nor reads git.

A rollback makes a *new* generation with the old content and holds the tenant there. While it is held, commits are still
validated and shown (reason Held). A release, by a person or at the time the hold says, ends the hold; the next round
applies what the sources ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import sqlalchemy as sa
import zstandard
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import apply, audit, bulk, tables
from agentos_controller.reconcile import gather, statuses, values, write
from agentos_engine import conditions, errors, plan
from agentos_engine.model import ResourceRef

_INTERFACE = ("input", "outcomes", "effect", "description")


async def back(
    conn: AsyncConnection,
    tenant_id: str,
    generation: int,
    *,
    actor: str,
    reason: str | None,
    now: int,
    until: int | None = None,
) -> int:
    """Let the content of `generation` serve again, and hold the tenant there; the new generation's number.

    `until` is when the hold ends by itself, in epoch microseconds.

    Raises:
        errors.Stall: there is no such generation, or a resource is suspended that is another one there.
    """
    made = tables.generation
    old = (
        await conn.execute(sa.select(made).where(made.c.tenant_id == tenant_id, made.c.seq == generation))
    ).one_or_none()
    if old is None:
        raise errors.Stall("NotFound", f"there is no generation {generation}")
    active: int = await conn.scalar(sa.select(tables.tenant.c.active_seq).where(tables.tenant.c.id == tenant_id)) or 0
    before, after = await _items(conn, tenant_id, None), await _items(conn, tenant_id, generation)
    differing = sorted(
        ref for ref in before.keys() | after.keys() if _content(before.get(ref)) != _content(after.get(ref))
    )
    await _movable(conn, tenant_id, differing)
    cause = write.Cause("rollback", actor, old.revision, old.source_id, {"generation": generation, "reason": reason})
    items: list[Mapping[str, Any]] = [
        {"kind": ref.kind, "name": ref.name, **_columns(after.get(ref))} for ref in differing
    ]
    replaced = [ref for ref in differing if ref in before]
    seq = await write.open_generation(conn, tenant_id, active, cause, items, replaced, now)
    applied = await _applied(conn, tenant_id, differing, before, after)
    await _resources(conn, tenant_id, applied, seq, cause, generation, now)
    await apply.all_types(conn, tenant_id, applied, now)
    hold = {"seq": seq, "revision": old.revision, "reason": reason, "by": actor, "until": until}
    # What a guard asked about is no question any more, and what drained serves in full.
    held = tables.tenant.update().where(tables.tenant.c.id == tenant_id)
    await conn.execute(held.values(hold=hold, prune=None, prune_approved=None))
    draining = tables.resource.update().where(
        tables.resource.c.tenant_id == tenant_id, tables.resource.c.drain_until.is_not(None)
    )
    await conn.execute(draining.values(drain_until=None))
    await statuses.tenant(conn, tenant_id, old.revision, None, now)
    detail = {"from": active, "to": generation, "changes": len(differing), "reason": reason}
    await audit.append(
        conn, tenant_id, actor, "generation.rollback", f"generation/{seq}", old.revision, "applied", detail
    )
    return seq


async def _movable(conn: AsyncConnection, tenant_id: str, refs: list[ResourceRef]) -> None:
    """Refuse to move what somebody suspended."""
    for ref, row in sorted((await gather.resources(conn, tenant_id, refs)).items()):
        if row.suspended is not None:
            raise errors.Stall(
                "Conflict", f"{ref} is suspended by {row.suspended.by}, and is another one there: resume it"
            )


async def release(conn: AsyncConnection, tenant_id: str, *, actor: str, cause: str | None = None) -> None:
    """End the hold of a tenant. What the sources ask for is applied by the next round, which must build whole.

    `cause` says in the trail what ended it, where nobody did.

    Raises:
        errors.Stall: the tenant is not held.
    """
    table = tables.tenant
    row = (await conn.execute(sa.select(table.c.hold, table.c.active_seq).where(table.c.id == tenant_id))).one()
    if row.hold is None:
        raise errors.Stall("Conflict", "the tenant is not held")
    await conn.execute(table.update().where(table.c.id == tenant_id).values(hold=None))
    detail = {"hold": row.hold, **({"cause": cause} if cause else {})}
    await audit.append(conn, tenant_id, actor, "hold.release", f"generation/{row.active_seq}", None, "applied", detail)


async def _items(conn: AsyncConnection, tenant_id: str, seq: int | None) -> dict[ResourceRef, Any]:
    """The content of one generation, of the live one with None."""
    item = tables.generation_item
    query = sa.select(item).where(item.c.tenant_id == tenant_id)
    if seq is None:
        query = query.where(item.c.to_seq.is_(None))
    else:
        query = query.where(item.c.from_seq <= seq, sa.or_(item.c.to_seq.is_(None), item.c.to_seq > seq))
    return {ResourceRef(row.kind, row.name): row for row in await conn.execute(query)}


def _content(item: Any) -> Any:
    return None if item is None else (item.digest, item.artifact_digest, item.uses)


def _columns(item: Any) -> dict[str, Any]:
    names = ("digest", "artifact_digest", "path", "line", "revision", "uses")
    return {name: getattr(item, name) if item is not None else None for name in names}


async def _applied(
    conn: AsyncConnection,
    tenant_id: str,
    refs: list[ResourceRef],
    before: Mapping[ResourceRef, Any],
    after: Mapping[ResourceRef, Any],
) -> list[values.Applied]:
    table = tables.artifact
    digests = [after[ref].artifact_digest for ref in refs if ref in after]
    bodies: dict[str, tuple[str, Any]] = {}
    for part in gather.chunks(set(digests)):
        query = sa.select(table.c.digest, table.c.type, table.c.body).where(
            table.c.tenant_id == tenant_id, table.c.digest.in_(part)
        )
        for row in await conn.execute(query):
            bodies[row.digest] = (row.type, orjson.loads(zstandard.decompress(row.body)))
    applied = []
    for ref in refs:
        old, new = before.get(ref), after.get(ref)
        action: plan.Action = "deleted" if new is None else "created" if old is None else "changed"
        change = plan.Change(action, ref, _entry(old), _entry(new))
        type_, body = bodies.get(new.artifact_digest, (None, None)) if new is not None else (None, None)
        at: Any = new if new is not None else old
        applied.append(values.Applied(change, type_, body, at.path or "", at.line or 1, at.revision, None))
    return applied


def _entry(item: Any) -> plan.Entry | None:
    if item is None:
        return None
    return plan.Entry(
        item.digest, item.artifact_digest, {ResourceRef.parse(name): to for name, to in (item.uses or {}).items()}
    )


async def _resources(
    conn: AsyncConnection,
    tenant_id: str,
    applied: list[values.Applied],
    seq: int,
    cause: write.Cause,
    generation: int,
    now: int,
) -> None:
    """Let the rows of what changed tell what serves now, and that a hold keeps it there."""
    stored = await gather.resources(conn, tenant_id, [one.change.ref for one in applied])
    changes: list[values.Row] = []
    events: list[values.Row] = []
    rows: list[values.Row] = []
    gone: list[values.Row] = []
    for one in applied:
        ref, new = one.change.ref, one.change.new
        row = stored.get(ref)
        key = {"tenant_id": tenant_id, "kind": ref.kind, "name": ref.name}
        if new is None and (row is None or row.blob_id is None):
            gone.append(key)
            changes.append({**_told(ref), "type": "removed", "revision": cause.revision})
            continue
        held = conditions.Stop("Applied", "Held", f"a rollback to generation {generation} holds it")
        if new is not None and row is not None and row.desired_digest == new.digest:
            held = conditions.Stop("Applied", "Held", f"as it was in generation {generation}, with what it uses")
        found = conditions.summarize(
            previous=row.conditions if row else (),
            desired_revision=(row.desired_revision if row else None) or cause.revision,
            applied_revision=one.revision if new else None,
            stop=held,
            now=now,
        )
        ready = next(condition for condition in found if condition.type == "Ready")
        interface = row.interface if row else None
        if one.type == "graph" and one.body is not None:
            interface = {name: one.body[name] for name in _INTERFACE if name in one.body}
        rows.append(
            {
                **key,
                "source_id": row.source_id if row else None,
                "path": row.path if row else one.path,
                "line": row.line if row else one.line,
                "document": row.document if row else 0,
                "applied_digest": new.digest if new else None,
                "artifact_digest": new.artifact_digest if new else None,
                "applied_revision": one.revision if new else None,
                "applied_seq": seq if new else None,
                "interface": dict(interface) if interface is not None and new else None,
                "uses": write.uses(new) or {},
                "ready": ready.status,
                "reason": ready.reason,
                "message": ready.message,
                "conditions": [condition.pack() for condition in found],
                "updated_at": now,
            }
        )
        type_ = "added" if row is None else "changed"
        told = {"ready": ready.status, "reason": ready.reason, "digest": new.digest if new else None}
        changes.append({**_told(ref), **told, "type": type_, "revision": one.revision})
        events.append(
            {
                "kind": ref.kind,
                "name": ref.name,
                "type": "Normal",
                "reason": "Held",
                "message": f"rolled back to generation {generation} by {cause.actor}",
                "revision": one.revision,
                "path": one.path,
                "line": one.line,
            }
        )
    keys = ("tenant_id", "kind", "name")
    if rows:
        updated = [name for name in rows[0] if name not in (*keys, "source_id", "path", "line", "document")]
        await bulk.upsert_many(conn, tables.resource, rows, keys, updated)
    await bulk.delete_many(conn, tables.resource, gone, keys)
    links = [
        {"tenant_id": tenant_id, "to_kind": dep.kind, "to_name": dep.name, "from_kind": ref.kind, "from_name": ref.name}
        for one in applied
        if (new := one.change.new) is not None and (ref := one.change.ref)
        for dep in new.deps
    ]
    await bulk.upsert_many(conn, tables.dependency, links, tuple(links[0]) if links else ())
    await write.changes(conn, tenant_id, changes, now)
    await write.events(conn, tenant_id, events, now)


def _told(ref: ResourceRef) -> values.Row:
    return {"kind": ref.kind, "name": ref.name, "ready": None, "reason": None, "digest": None}
