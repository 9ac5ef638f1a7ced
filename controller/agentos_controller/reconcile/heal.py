"""Makes right what `drift` found, in one transaction, with an event per object and an entry of the audit trail.

The live generation decides. Artifacts that are lost are compiled from git again and taken only if they have the digest
that serves; what cannot be made again stalls its resource. `Watch` knows when which slice is due.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import audit, bulk, clock, tables
from agentos_controller.apply import access, schedule
from agentos_controller.database import Database
from agentos_controller.reconcile import drift, estate, values, write
from agentos_engine import artifacts, conditions, plan
from agentos_engine.model import ResourceRef

log = logging.getLogger(__name__)

INTERVAL = 600.0
"""Seconds between the end of one pass and the start of the next."""
SHARE = 4
"""A slice is followed by a pause of so many times what it took: rounds and commands come first."""
RETRY = 1.0
"""Seconds until tenants are looked at again that had a round under way."""

Rebuild = Callable[[], Awaitable[values.Built]]
"""Builds the whole tenant as if nothing were stored."""


@dataclass(frozen=True, slots=True)
class Healed:
    """What was done. `whole`: a whole build of the tenant has to follow; `tenants`: rows of tenants changed."""

    objects: int = 0
    failed: int = 0
    whole: bool = False
    tenants: bool = False


class Watch:
    """Which tenant and which slice comes next. One per reconciler; the first pass is due at its start."""

    def __init__(self, db: Database, time: clock.Clock, interval: float = INTERVAL) -> None:
        self._db = db
        self._time = time
        self._interval = interval
        self._due = time.monotonic()
        self._left: list[str] = []
        self._after: drift.Key | None = None
        self.passes = self.drifted = self.unhealed = 0

    def due_in(self) -> float:
        """Seconds until the next slice; 0 or less: now."""
        return self._due - self._time.monotonic()

    def next(self, tenants: Iterable[str], busy: Callable[[str], bool]) -> str | None:
        """The tenant whose next slice is due, of all `tenants`. Those that are busy come later."""
        if self.due_in() > 0:
            return None
        known = dict.fromkeys(tenants)
        self._left = [one for one in self._left if one in known] or list(known)
        for at, one in enumerate(self._left):
            if not busy(one):
                if at:
                    self._after = None
                    self._left.insert(0, self._left.pop(at))
                return one
        self._due = self._time.monotonic() + (RETRY if self._left else self._interval)
        return None

    async def slice(self, tenant: estate.Tenant, rebuild: Rebuild) -> Healed:
        """Compare the next slice of `tenant`, the one `next` named, and heal what differs."""
        began = self._time.monotonic()
        found = await drift.compare(self._db, tenant.id, platform=tenant.platform, after=self._after)
        done = Healed()
        if found.differences:
            done = await heal(self._db, tenant, found, rebuild, self._time.now_us())
            self.drifted += done.objects
            self.unhealed += done.failed
        self._after = found.last
        ended = self._time.monotonic()
        self._due = ended + SHARE * (ended - began)
        if found.last is None:
            self._left.pop(0)
            if not self._left:
                self.passes += 1
                self._due = self._time.monotonic() + self._interval
        return done

    def failed(self) -> None:
        """The slice could not be looked at: the tenant's turn comes again with the next pass."""
        self._after = None
        if self._left:
            self._left.pop(0)
        if not self._left:
            self._due = self._time.monotonic() + self._interval


async def heal(db: Database, tenant: estate.Tenant, found: drift.Found, rebuild: Rebuild, now: int) -> Healed:
    """Write what `found` says has to be; nothing if the tenant moved on meanwhile.

    Raises:
        errors.Handled: artifacts are lost, and a source of the tenant cannot be read now.
    """
    made: dict[str, values.PackedArtifact] = {}
    interfaces: dict[ResourceRef, Any] = {}
    if found.lost:
        built = await rebuild()
        made = {one.digest: one for one in built.artifacts if one.digest in found.lost}
        for row in built.resources:
            ref = ResourceRef(row["kind"], row["name"])
            if row["artifact_digest"] in found.lost and found.lost[row["artifact_digest"]] == ref:
                interfaces[ref] = row["interface"]
    failed = {
        ref
        for digest, ref in found.lost.items()
        if digest not in made and artifacts.digest_of(interfaces.get(ref)) != digest
    }
    async with db.write() as conn:
        if await drift.live(conn, tenant.id) != found.seq:
            return Healed()
        await _artifacts(conn, tenant.id, made, now)
        await _serving(conn, tenant.id, found, interfaces, now)
        await _rest(conn, tenant.id, found, now)
        for ref in sorted(failed):
            await _stall(conn, tenant.id, ref, now)
        await _tell(conn, tenant.id, found, failed, now)
    whole = bool(found.serving or found.items) and not failed
    return Healed(len({one.ref for one in found.differences}), len(failed), whole, bool(found.tenants))


async def _artifacts(conn: AsyncConnection, tenant_id: str, made: dict[str, values.PackedArtifact], now: int) -> None:
    rows = [
        {
            "tenant_id": tenant_id,
            "digest": one.digest,
            "type": one.type,
            "name": one.name,
            "body": one.body,
            "size": one.size,
            "compiler": artifacts.COMPILER,
            "first_at": now,
        }
        for one in made.values()
    ]
    await bulk.upsert_many(
        conn, tables.artifact, rows, ("tenant_id", "digest"), ("type", "name", "body", "size", "compiler")
    )


async def _serving(
    conn: AsyncConnection, tenant_id: str, found: drift.Found, interfaces: dict[ResourceRef, Any], now: int
) -> None:
    table, item = tables.resource, tables.generation_item
    for ref, interface in interfaces.items():
        await conn.execute(table.update().where(*_key(table, tenant_id, ref)).values(interface=interface))
    for ref, row in found.items.items():
        wanted = {"digest": row.applied_digest, "artifact_digest": row.artifact_digest, "uses": row.uses}
        await conn.execute(item.update().where(*_key(item, tenant_id, ref), item.c.to_seq.is_(None)).values(**wanted))
    for ref, row in found.serving.items():
        serving: dict[str, Any] = {
            "applied_digest": row.digest if row is not None else None,
            "artifact_digest": row.artifact_digest if row is not None else None,
            "applied_revision": row.revision if row is not None else None,
            "applied_seq": row.from_seq if row is not None else None,
            "uses": (row.uses or {}) if row is not None else None,
            "ready": "Unknown",
            "reason": "Drifted",
            "message": "made what its generation says; the build that follows tells its state",
            "updated_at": now,
        }
        changed = await conn.execute(table.update().where(*_key(table, tenant_id, ref)).values(**serving))
        if not changed.rowcount and row is not None:
            # Of the rest, the whole build that follows knows.
            key = {"tenant_id": tenant_id, "kind": ref.kind, "name": ref.name}
            await conn.execute(table.insert().values(**key, path=row.path or "", line=row.line or 1, **serving))


async def _rest(conn: AsyncConnection, tenant_id: str, found: drift.Found, now: int) -> None:
    """The rows that follow from artifacts and resources."""
    schedules: list[tuple[str, plan.Entry | None, Any]] = []
    for name, wanted in found.schedules.items():
        entry = plan.Entry("", wanted[0], {}) if wanted is not None else None
        schedules.append((name, entry, wanted[1] if wanted is not None else None))
    await schedule.apply(conn, tenant_id, schedules, now)
    if found.tenants:
        await access.apply(conn, list(found.tenants.items()), now)
    label, link = tables.resource_label, tables.dependency
    for ref, pairs in found.labels.items():
        await conn.execute(label.delete().where(*_key(label, tenant_id, ref)))
        key = {"tenant_id": tenant_id, "kind": ref.kind, "name": ref.name}
        await bulk.insert_many(conn, label, [{**key, "key": name, "value": value} for name, value in pairs.items()])
    for ref, targets in found.links.items():
        of = (link.c.from_kind == ref.kind, link.c.from_name == ref.name)
        await conn.execute(link.delete().where(link.c.tenant_id == tenant_id, *of))
        key = {"tenant_id": tenant_id, "from_kind": ref.kind, "from_name": ref.name}
        await bulk.insert_many(conn, link, [{**key, "to_kind": kind, "to_name": name} for kind, name in targets])


def _key(table: sa.Table, tenant_id: str, ref: ResourceRef) -> tuple[Any, ...]:
    return (table.c.tenant_id == tenant_id, table.c.kind == ref.kind, table.c.name == ref.name)


async def _stall(conn: AsyncConnection, tenant_id: str, ref: ResourceRef, now: int) -> None:
    """Show that what serves of a resource is lost and cannot be made again."""
    table = tables.resource
    row = (await conn.execute(sa.select(table).where(*_key(table, tenant_id, ref)))).one()
    text = "its artifact is missing or altered, and git has another version now; commit that version again or a new one"
    found = conditions.summarize(
        previous=[conditions.Condition.unpack(packed) for packed in row.conditions or ()],
        desired_revision=row.desired_revision or "",
        applied_revision=row.applied_revision,
        stop=conditions.Stop("Applied", "Drifted", text),
        now=now,
    )
    ready = next(condition for condition in found if condition.type == "Ready")
    shown = {"ready": ready.status, "reason": ready.reason, "message": ready.message, "updated_at": now}
    packed = [condition.pack() for condition in found]
    await conn.execute(table.update().where(*_key(table, tenant_id, ref)).values(**shown, conditions=packed))


async def _tell(conn: AsyncConnection, tenant_id: str, found: drift.Found, failed: set[ResourceRef], now: int) -> None:
    rows: list[values.Row] = [
        {
            "kind": one.ref.kind,
            "name": one.ref.name,
            "type": "Warning",
            "reason": "Drifted",
            "message": f"{one}; {'cannot be healed' if one.ref in failed else 'healed'}",
            "revision": None,
            "path": None,
            "line": None,
        }
        for one in found.differences
    ]
    await write.events(conn, tenant_id, rows, now)
    names = sorted({str(one.ref) for one in found.differences})
    detail = {"objects": len(names), "first": names[:20], "unhealed": sorted(map(str, failed))[:20]}
    outcome = "failed" if failed else "applied"
    await audit.append(
        conn, tenant_id, estate.ACTOR, "drift.heal", f"generation/{found.seq}", None, outcome, detail, at=now
    )
    log.warning("drift", extra={"tenant": tenant_id, "objects": len(names), "unhealed": len(failed)})
