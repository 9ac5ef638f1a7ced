"""Reads from the database exactly what one tenant's change touches, and makes a `Job` of it.

Affected is what the changed files define or defined, what includes them, and everything that depends on any of it,
directly or not; so the cost follows the change, in SQL too. The unchanged files of affected resources come parsed from
`parsed_blob`, not from git. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.reconcile import holding
from agentos_controller.reconcile.values import FILE, Stored
from agentos_controller.runs import states
from agentos_engine import conditions
from agentos_engine.model import ResourceRef

_CHUNK = 400
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Moved:
    """What changed in one source. `manifests` has path to new blob id (None: gone), `texts` other changed paths."""

    source_id: str
    manifests: Mapping[str, str | None] = field(default_factory=dict)
    texts: frozenset[str] = frozenset()


def chunks(items: Collection[T]) -> Iterator[list[T]]:
    """`items` in lists short enough for one statement."""
    listed = list(items)
    for start in range(0, len(listed), _CHUNK):
        yield listed[start : start + _CHUNK]


async def defined_in(conn: AsyncConnection, tenant_id: str, moved: Moved) -> set[ResourceRef]:
    """The resources that the database knows to come from, or to include, a changed file."""
    table, links = tables.resource, tables.dependency
    found: set[ResourceRef] = set()
    for part in chunks(moved.manifests):
        query = sa.select(table.c.kind, table.c.name).where(
            table.c.tenant_id == tenant_id, table.c.source_id == moved.source_id, table.c.path.in_(part)
        )
        found.update(ResourceRef(*row) for row in await conn.execute(query))
    for part in chunks([*moved.manifests, *moved.texts]):
        query = sa.select(links.c.from_kind, links.c.from_name).where(
            links.c.tenant_id == tenant_id, links.c.to_kind == FILE, links.c.to_name.in_(part)
        )
        found.update(ResourceRef(*row) for row in await conn.execute(query))
    return found


async def dependants(conn: AsyncConnection, tenant_id: str, refs: Iterable[ResourceRef]) -> set[ResourceRef]:
    """`refs` and everything that depends on them, directly or not, breadth first."""
    links = tables.dependency
    seen = set(refs)
    frontier = set(seen)
    while frontier:
        found: set[ResourceRef] = set()
        for kind, names in _by_kind(frontier):
            query = sa.select(links.c.from_kind, links.c.from_name).where(
                links.c.tenant_id == tenant_id, links.c.to_kind == kind, links.c.to_name.in_(names)
            )
            found.update(ResourceRef(*row) for row in await conn.execute(query))
        frontier = found - seen
        seen |= frontier
    return seen


def _by_kind(refs: Iterable[ResourceRef]) -> Iterator[tuple[str, list[str]]]:
    kinds: dict[str, list[str]] = {}
    for ref in refs:
        kinds.setdefault(ref.kind, []).append(ref.name)
    for kind, names in kinds.items():
        for part in chunks(names):
            yield kind, part


COLUMNS = (
    "source_id",
    "path",
    "line",
    "document",
    "blob_id",
    "labels",
    "annotations",
    "desired_digest",
    "desired_revision",
    "applied_digest",
    "artifact_digest",
    "applied_revision",
    "applied_seq",
    "interface",
    "files",
    "uses",
    "definitions",
    "ready",
    "reason",
    "message",
    "conditions",
    "drain_until",
    "quarantine_until",
    "quarantine_blob",
)
"""What a round writes of a resource, beyond its key and when."""
_SUSPENDED = ("suspended_by", "suspended_reason", "suspended_until")
_SELECT = sa.select(*(tables.resource.c[name] for name in ("kind", "name", *COLUMNS, *_SUSPENDED)))


def stored(row: Any) -> Stored:
    """A row of `_SELECT` as a value."""
    (
        _kind,
        _name,
        source_id,
        path,
        line,
        document,
        blob_id,
        labels,
        annotations,
        desired_digest,
        desired_revision,
        applied_digest,
        artifact_digest,
        applied_revision,
        applied_seq,
        interface,
        files,
        uses,
        definitions,
        ready,
        reason,
        message,
        packed,
        drain_until,
        quarantine_until,
        quarantine_blob,
        by,
        why,
        until,
    ) = row
    return Stored(
        source_id,
        path,
        line,
        document,
        blob_id,
        labels or {},
        annotations or {},
        desired_digest,
        desired_revision,
        applied_digest,
        artifact_digest,
        applied_revision,
        applied_seq,
        interface,
        files or (),
        uses or {},
        definitions or (),
        ready,
        reason,
        message,
        tuple(conditions.Condition.unpack(item) for item in packed or ()),
        drain_until,
        quarantine_until,
        quarantine_blob,
        holding.Pause(by, why, until) if by is not None else None,
    )


async def resources(
    conn: AsyncConnection, tenant_id: str, refs: Iterable[ResourceRef] | None
) -> dict[ResourceRef, Stored]:
    """What is stored of `refs`, of all resources of the tenant with None."""
    query = _SELECT.where(tables.resource.c.tenant_id == tenant_id)
    found: dict[ResourceRef, Stored] = {}
    if refs is None:
        found.update((ResourceRef(row[0], row[1]), stored(row)) for row in await conn.execute(query))
        return found
    for kind, names in _by_kind(refs):
        part = query.where(tables.resource.c.kind == kind, tables.resource.c.name.in_(names))
        found.update((ResourceRef(row[0], row[1]), stored(row)) for row in await conn.execute(part))
    return found


async def serving(conn: AsyncConnection, tenant_id: str) -> int:
    """How many resources of the tenant serve and are not draining."""
    table = tables.resource
    query = sa.select(sa.func.count()).where(
        table.c.tenant_id == tenant_id, table.c.applied_digest.is_not(None), table.c.drain_until.is_(None)
    )
    return await conn.scalar(query) or 0


async def in_flight(conn: AsyncConnection, tenant_id: str, refs: Iterable[ResourceRef]) -> frozenset[ResourceRef]:
    """Those of `refs` of which a run has not ended."""
    run = tables.run
    found: set[ResourceRef] = set()
    for kind, names_ in _by_kind(refs):
        query = sa.select(run.c.target_name).where(
            run.c.tenant_id == tenant_id,
            run.c.target_kind == kind,
            run.c.target_name.in_(names_),
            run.c.state.in_(states.LIVE),
        )
        found.update(ResourceRef(kind, name) for name in await conn.scalars(query.distinct()))
    return frozenset(found)


async def names(conn: AsyncConnection, tenant_id: str, kinds: Collection[str]) -> frozenset[ResourceRef]:
    """The names of all resources of some kinds; only for hints about a name that refers to nothing."""
    table = tables.resource
    query = sa.select(table.c.kind, table.c.name).where(table.c.tenant_id == tenant_id, table.c.kind.in_(list(kinds)))
    return frozenset(ResourceRef(*row) for row in await conn.execute(query.limit(5_000)))


async def parsed(conn: AsyncConnection, blobs: Collection[str], schema_version: str, now: int) -> dict[str, bytes]:
    """The parsed forms known of `blobs`; of a quarantine, while it lasts."""
    table = tables.parsed_blob
    found: dict[str, bytes] = {}
    for part in chunks(set(blobs)):
        query = sa.select(table.c.blob_id, table.c.body).where(
            table.c.blob_id.in_(part),
            table.c.schema_version == schema_version,
            sa.or_(table.c.until.is_(None), table.c.until > now),
        )
        found.update((row.blob_id, row.body) for row in await conn.execute(query))
    return found


async def bodies(conn: AsyncConnection, tenant_id: str, digests: Collection[str]) -> dict[str, bytes]:
    """Artifact bodies as stored (compressed), by digest."""
    table = tables.artifact
    found: dict[str, bytes] = {}
    for part in chunks(set(digests)):
        query = sa.select(table.c.digest, table.c.body).where(table.c.tenant_id == tenant_id, table.c.digest.in_(part))
        found.update((row.digest, row.body) for row in await conn.execute(query))
    return found


async def entries(
    conn: AsyncConnection, source_id: str, paths: Sequence[str] | None = None
) -> dict[str, tuple[str, str]]:
    """The persisted map of one source: path to (blob id, state)."""
    table = tables.tree_entry
    query = sa.select(table.c.path, table.c.blob_id, table.c.state).where(table.c.source_id == source_id)
    found: dict[str, tuple[str, str]] = {}
    for part in chunks(paths) if paths is not None else [None]:
        narrowed = query if part is None else query.where(table.c.path.in_(part))
        found.update((row.path, (row.blob_id, row.state)) for row in await conn.execute(narrowed))
    return found
