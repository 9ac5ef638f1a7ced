"""Compares what is applied with what is stored, slice by slice, and finds every row that somebody else wrote.

A slice is a bounded number of one tenant's resources: their live items, their artifacts (by digest, so a body that was
altered shows), and the rows that follow from them. Nothing is read from git here and nothing written: see `heal`.
What is only shown (path, line, annotations, conditions) is no drift: the next whole build writes it anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.apply import access
from agentos_controller.database import Database
from agentos_controller.reconcile import gather, values
from agentos_controller.views import blobs
from agentos_engine import artifacts
from agentos_engine.model import ResourceRef

SLICE = 200
"""Resources looked at in one go."""
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was applied. `what` names it; `stored` and `wanted` are short and hold no secrets."""

    ref: ResourceRef
    what: str
    stored: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.what}: stored {self.stored}, should be {self.wanted}"


@dataclass(slots=True)
class Found:
    """What one slice showed. The rows are those of the live generation, by resource."""

    seq: int = 0
    last: Key | None = None
    """Where the next slice begins; None: the tenant is through."""
    differences: list[Difference] = field(default_factory=list)
    serving: dict[ResourceRef, Any] = field(default_factory=dict)
    """Rows of `generation_item` that `resource` contradicts or lacks; None where nothing serves."""
    items: dict[ResourceRef, Any] = field(default_factory=dict)
    """Rows of `resource` that say what an item of the live generation has to say."""
    lost: dict[str, ResourceRef] = field(default_factory=dict)
    """Artifacts that are missing or altered, by digest."""
    schedules: dict[str, tuple[str, Mapping[str, Any]] | None] = field(default_factory=dict)
    tenants: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    labels: dict[ResourceRef, Mapping[str, str]] = field(default_factory=dict)
    links: dict[ResourceRef, set[Key]] = field(default_factory=dict)

    def note(self, ref: ResourceRef, what: str, stored: Any, wanted: Any) -> None:
        self.differences.append(Difference(ref, what, _short(stored), _short(wanted)))


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return text if len(text) <= 100 else text[:97] + "..."


async def compare(db: Database, tenant_id: str, *, platform: bool, after: Key | None) -> Found:
    """Look at the resources of a tenant behind `after`, at most `SLICE` of them."""
    async with db.read(snapshot=True) as conn:
        found = Found(await live(conn, tenant_id))
        keys = await _keys(conn, tenant_id, after)
        last = keys[-1] if len(keys) == SLICE else None
        one = _Slice(conn, tenant_id, found, after, last)
        await one.compare(platform)
    found.last = last
    return found


async def live(conn: AsyncConnection, tenant_id: str) -> int:
    """The number of a tenant's live generation; 0: none."""
    return await conn.scalar(sa.select(tables.tenant.c.active_seq).where(tables.tenant.c.id == tenant_id)) or 0


async def _keys(conn: AsyncConnection, tenant_id: str, after: Key | None) -> list[Key]:
    parts = []
    for table in (tables.resource, tables.generation_item):
        query = sa.select(table.c.kind, table.c.name).where(table.c.tenant_id == tenant_id)
        if table is tables.generation_item:
            query = query.where(table.c.to_seq.is_(None))
        if after is not None:
            query = query.where(sa.tuple_(table.c.kind, table.c.name) > sa.tuple_(*after))
        parts.append(sa.select(query.order_by(table.c.kind, table.c.name).limit(SLICE).subquery()))
    both = sa.union(*parts).subquery()
    rows = await conn.execute(sa.select(both.c.kind, both.c.name).order_by(both.c.kind, both.c.name).limit(SLICE))
    return [(row.kind, row.name) for row in rows]


class _Slice:
    def __init__(
        self, conn: AsyncConnection, tenant_id: str, found: Found, after: Key | None, last: Key | None
    ) -> None:
        self._conn = conn
        self._tenant_id = tenant_id
        self._found = found
        self._after, self._last = after, last

    async def _rows(self, table: sa.Table, kind: str = "kind", name: str = "name", *where: Any) -> list[Any]:
        key = sa.tuple_(table.c[kind], table.c[name])
        query = sa.select(table).where(table.c.tenant_id == self._tenant_id, *where)
        if self._after is not None:
            query = query.where(key > sa.tuple_(*self._after))
        if self._last is not None:
            query = query.where(key <= sa.tuple_(*self._last))
        return list((await self._conn.execute(query)).all())

    async def compare(self, platform: bool) -> None:
        item, resource = tables.generation_item, tables.resource
        items = {
            ResourceRef(r.kind, r.name): r for r in await self._rows(item, "kind", "name", item.c.to_seq.is_(None))
        }
        stored = {ResourceRef(r.kind, r.name): r for r in await self._rows(resource)}
        digests = {row.artifact_digest for row in (*items.values(), *stored.values()) if row.artifact_digest}
        bodies = await self._bodies(digests)
        for ref in sorted(items.keys() | stored.keys()):
            self._serving(ref, items.get(ref), stored.get(ref), bodies)
        serves = {
            ref: bodies[row.artifact_digest]
            for ref, row in items.items()
            if row.artifact_digest in bodies and ref not in self._found.items
        }
        await self._schedules(items, serves)
        await self._labels(stored)
        await self._links(stored)
        if platform:
            await _access(self._conn, self._found, {ref: b for ref, b in serves.items() if ref.kind == "Tenant"})

    async def _bodies(self, digests: set[str]) -> dict[str, bytes]:
        """Canonical JSON of the artifacts that are what their digest says."""
        table = tables.artifact
        good: dict[str, bytes] = {}
        for part in gather.chunks(digests):
            query = sa.select(table).where(table.c.tenant_id == self._tenant_id, table.c.digest.in_(part))
            for row in await self._conn.execute(query):
                if (data := blobs.genuine(row)) is not None:
                    good[row.digest] = data
        return good

    def _serving(self, ref: ResourceRef, item: Any, row: Any, bodies: Mapping[str, bytes]) -> None:
        found = self._found
        wanted = (item.digest, item.artifact_digest, item.uses or {}) if item is not None else None
        stored = (
            (row.applied_digest, row.artifact_digest, row.uses or {})
            if row is not None and row.applied_digest is not None
            else None
        )
        if wanted != stored:
            if item is not None and stored is not None and _invented(item, row, bodies):
                found.items[ref] = row
                found.note(ref, "generation", wanted[:2], stored[:2])  # type: ignore[index]
                return
            found.serving[ref] = item
            found.note(ref, "resource", stored, wanted)
        if item is not None and item.artifact_digest and not _there(item.artifact_digest, row, bodies):
            found.lost[item.artifact_digest] = ref
            found.note(ref, "artifact", "missing or altered", item.artifact_digest)

    async def _schedules(self, items: Mapping[ResourceRef, Any], serves: Mapping[ResourceRef, bytes]) -> None:
        table = tables.schedule_state
        kind = sa.literal("Schedule")
        key = sa.tuple_(kind, table.c.name)
        query = sa.select(table).where(table.c.tenant_id == self._tenant_id)
        if self._after is not None:
            query = query.where(key > sa.tuple_(*self._after))
        if self._last is not None:
            query = query.where(key <= sa.tuple_(*self._last))
        stored = {row.name: row for row in await self._conn.execute(query)}
        for name in sorted(stored.keys() | {ref.name for ref in items if ref.kind == "Schedule"}):
            ref = ResourceRef("Schedule", name)
            if ref in items and ref not in serves:
                continue  # its artifact comes first; the pass after looks again
            row = stored.get(name)
            body: dict[str, Any] = orjson.loads(serves[ref]) if ref in serves else {}
            wanted = [items[ref].artifact_digest, bool(body.get("suspend"))] if ref in serves else None
            has = [row.artifact_digest, bool(row.suspended)] if row is not None else None
            if has != wanted:
                self._found.schedules[name] = (items[ref].artifact_digest, body) if wanted is not None else None
                self._found.note(ref, "schedule", has, wanted)

    async def _labels(self, stored: Mapping[ResourceRef, Any]) -> None:
        has: defaultdict[ResourceRef, dict[str, str]] = defaultdict(dict)
        for row in await self._rows(tables.resource_label):
            has[ResourceRef(row.kind, row.name)][row.key] = row.value
        for ref in sorted(has.keys() | stored.keys()):
            wanted = (stored[ref].labels or {}) if ref in stored else {}
            if has.get(ref, {}) != wanted:
                self._found.labels[ref] = wanted
                self._found.note(ref, "labels", has.get(ref, {}), wanted)

    async def _links(self, stored: Mapping[ResourceRef, Any]) -> None:
        """What depends on what, where the version at the head serves; elsewhere only a build knows."""
        has: defaultdict[ResourceRef, set[Key]] = defaultdict(set)
        for row in await self._rows(tables.dependency, "from_kind", "from_name"):
            has[ResourceRef(row.from_kind, row.from_name)].add((row.to_kind, row.to_name))
        for ref in sorted(has.keys() | stored.keys()):
            row = stored.get(ref)
            if row is None:
                wanted: set[Key] = set()
            elif row.ready != "True" or row.desired_digest != row.applied_digest or ref in self._found.serving:
                continue
            else:
                wanted = {(to.kind, to.name) for to in map(ResourceRef.parse, row.uses or {})}
                wanted |= {(values.FILE, path) for path in row.files or ()}
                wanted |= {(values.FILE, path) for _source, path in (row.definitions or ())[1:]}
            if has.get(ref, set()) != wanted:
                self._found.links[ref] = wanted
                self._found.note(ref, "links", sorted(has.get(ref, ())), sorted(wanted))


def _there(digest: str, row: Any, bodies: Mapping[str, bytes]) -> bool:
    """Whether something is what the digest says: an artifact, or the interface of a kind that emits none."""
    return digest in bodies or (row is not None and artifacts.digest_of(row.interface) == digest)


def _invented(item: Any, row: Any, bodies: Mapping[str, bytes]) -> bool:
    """Whether the item is the one of the two that nothing else speaks for: its artifact never was, or the resource
    serves what the head of its source asks for, and the item says another."""
    if not _there(row.artifact_digest, row, bodies):
        return False
    settled = row.ready == "True" and row.desired_digest is not None
    return not _there(item.artifact_digest, row, bodies) or (settled and row.desired_digest != item.digest)


async def _access(conn: AsyncConnection, found: Found, bodies: Mapping[ResourceRef, bytes]) -> None:
    """Tenants and their sources, against what the platform's generation says of them."""
    if not bodies:
        return
    tenant, source = tables.tenant, tables.source
    names = [ref.name for ref in bodies]
    query = sa.select(tenant).where(tenant.c.deleted_at.is_(None), tenant.c.name.in_(names))
    rows = {row.name: row for row in await conn.execute(query)}
    sources: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    query = sa.select(source).where(source.c.tenant_id.in_([row.id for row in rows.values()]))
    for row in await conn.execute(query):
        sources[row.tenant_id][row.name] = row
    platform = await access.followed(conn)
    for ref, data in bodies.items():
        body = orjson.loads(data)
        owner = rows.get(ref.name)
        if ref.name == access.RESERVED or (owner is not None and owner.platform):
            continue
        before = len(found.differences)
        if owner is None or owner.state == "deleting":
            found.note(ref, "tenant", owner.state if owner is not None else None, "active")
        else:
            for name, has, wanted in (("spec", owner.spec, body), ("quota", owner.quota, body.get("quota"))):
                if has != wanted:
                    found.note(ref, f"tenant.{name}", has, wanted)
            expected = {spec["name"]: access.columns(spec, at, *platform) for at, spec in enumerate(body["sources"])}
            for name in sorted(expected.keys() | sources[owner.id].keys()):
                one = sources[owner.id].get(name)
                has = {column: getattr(one, column) for column in expected.get(name, ())} if one is not None else None
                if has != expected.get(name):
                    found.note(ref, f"source {name}", has, expected.get(name))
        if len(found.differences) > before:
            found.tenants[ref.name] = body
