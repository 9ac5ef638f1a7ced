"""Makes the job of one round: reads what a change touches, through the queries of `gather`.

Two ways to the same build: `incremental` names what is affected, `whole` takes everything there is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import orjson
import sqlalchemy as sa
import zstandard
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.reconcile import definitions, gather, isolation, movement, values
from agentos_controller.reconcile.values import File, Place, Stored
from agentos_controller.source import snapshot
from agentos_engine import load, schemas
from agentos_engine.model import ResourceRef

BULK = 200
"""Files to look at above which a round is not this process's business, but that of workers."""
Policies = Mapping[str, tuple[str, Mapping[str, Any]]]
"""The platform's policies that serve: name to (artifact digest, body)."""


def trees(views: list[movement.View]) -> dict[str, snapshot.Snapshot]:
    """What can be read of the sources, by their id."""
    return {view.source.id: view.snapshot for view in views if view.snapshot is not None}


async def policies(conn: AsyncConnection, tenant_id: str) -> Policies:
    """The policies that serve in a tenant."""
    resource, artifact = tables.resource, tables.artifact
    query = (
        sa.select(resource.c.name, artifact.c.digest, artifact.c.body)
        .join(
            artifact,
            sa.and_(artifact.c.tenant_id == resource.c.tenant_id, artifact.c.digest == resource.c.artifact_digest),
        )
        .where(resource.c.tenant_id == tenant_id, resource.c.kind == "Policy")
        .order_by(resource.c.name)
    )
    rows = (await conn.execute(query)).all()
    return {row.name: (row.digest, orjson.loads(zstandard.decompress(row.body))) for row in rows}


async def changed_files(conn: AsyncConnection, views: list[movement.View], now: int) -> dict[Place, File]:
    """The manifest files that changed, parsed where that was done before."""
    wanted = {
        Place(view.source.id, path): blob
        for view in views
        if view.moved is not None
        for path, blob in view.moved.manifests.items()
        if blob is not None
    }
    packed = await gather.parsed(conn, list(wanted.values()), schemas.VERSION, now) if wanted else {}
    return {place: File(place, blob, packed.get(blob)) for place, blob in wanted.items()}


class Gathering:
    """Makes the job of one round; see `gather` for the queries."""

    def __init__(
        self,
        conn: AsyncConnection,
        tenant: values.Tenant,
        views: list[movement.View],
        changed: dict[Place, File],
        above: Policies,
        isolated: isolation.Isolation,
        now: int,
    ) -> None:
        self._conn = conn
        self._tenant = tenant
        self._views = views
        self._changed = changed
        self._above = above
        self._now = now
        self._isolated = isolated
        self._trees = trees(views)
        self._gone = frozenset(
            Place(view.source.id, path)
            for view in views
            if view.moved is not None
            for path, blob in view.moved.manifests.items()
            if blob is None
        )

    async def nothing(self) -> values.Job:
        return await self._job([], frozenset(), {}, frozenset(), {}, {})

    async def whole(self) -> values.Job:
        """Everything the sources have, and everything that is stored."""
        stored = await gather.resources(self._conn, self._tenant.id, None)
        files: list[File] = []
        for view in self._views:
            listed = view.manifests()
            places = {Place(view.source.id, path): blob for path, blob in listed.items()}
            blobs = list(places.values())
            packed = await gather.parsed(self._conn, blobs, schemas.VERSION, self._now) if stored else {}
            files += [self._changed.get(place) or File(place, blob, packed.get(blob)) for place, blob in places.items()]
        own = {name: body for name, (_digest, body) in (await policies(self._conn, self._tenant.id)).items()}
        bodies = await self._bodies(stored, own, files)
        return await self._job(files, None, stored, frozenset(), own, bodies)

    async def incremental(self) -> values.Job:
        """What changed, what depends on it, and what those name."""
        conn, tenant_id = self._conn, self._tenant.id
        if sum(1 for file in self._changed.values() if file.packed is None) > BULK:
            return await self._whole_after_all()
        await self._read_changed()
        refs: set[ResourceRef] = set()
        for file in self._changed.values():
            assert file.parsed is not None
            refs |= definitions.defined(file.parsed)
        for view in self._views:
            if view.moved is not None:
                refs |= await gather.defined_in(conn, tenant_id, view.moved)
        if any(ref.kind == "Policy" for ref in refs):
            # Its rules may say something about everything.
            return await self._whole_after_all()
        affected = await gather.dependants(conn, tenant_id, refs)
        stored = await gather.resources(conn, tenant_id, affected)
        await self._waiting_removals(affected, stored)
        files = [*self._changed.values(), *await self._unchanged_files(affected, stored)]
        named = await self._named(affected, stored, files)
        own = {name: body for name, (_digest, body) in (await policies(conn, tenant_id)).items()}
        bodies = await self._bodies({ref: stored[ref] for ref in affected & stored.keys()}, own, ())
        return await self._job(files, frozenset(affected), stored, named, own, bodies)

    async def _whole_after_all(self) -> values.Job:
        for view in self._views:
            view.list_all()
        return await self.whole()

    async def _read_changed(self) -> None:
        for place, file in self._changed.items():
            if file.packed is not None:
                self._changed[place] = replace(file, parsed=load.File.unpack(file.packed))
        unread = {place: file.blob_id for place, file in self._changed.items() if file.parsed is None}
        self._changed.update(await self._isolated.read(unread, self._trees))

    async def _waiting_removals(self, affected: set[ResourceRef], stored: dict[ResourceRef, Stored]) -> None:
        """Removals that wait for what is affected now are affected too; so on down their own dependencies."""
        frontier = set(affected)
        while frontier:
            uses = {ResourceRef.parse(name) for ref in frontier if ref in stored for name in stored[ref].uses}
            stored.update(await gather.resources(self._conn, self._tenant.id, uses - stored.keys()))
            frontier = {ref for ref in uses - affected if ref in stored and stored[ref].blob_id is None}
            affected |= frontier

    async def _unchanged_files(
        self, affected: Collection[ResourceRef], stored: Mapping[ResourceRef, Stored]
    ) -> list[File]:
        wanted: dict[Place, str | None] = {}
        for ref in affected:
            row = stored.get(ref)
            for number, place in enumerate(row.places if row is not None else ()):
                if place not in self._changed and place not in self._gone:
                    blob = row.blob_id if number == 0 and row is not None else None
                    wanted[place] = blob or wanted.get(place)
        for source_id in {place.source_id for place, blob in wanted.items() if blob is None}:
            paths = [place.path for place, blob in wanted.items() if blob is None and place.source_id == source_id]
            for path, (blob, _state) in (await gather.entries(self._conn, source_id, paths)).items():
                wanted[Place(source_id, path)] = blob
        present = {place: blob for place, blob in wanted.items() if blob is not None}
        packed = await gather.parsed(self._conn, list(present.values()), schemas.VERSION, self._now)
        files = [
            File(place, blob, packed[blob], load.File.unpack(packed[blob]), changed=False)
            for place, blob in present.items()
            if blob in packed
        ]
        unread = {place: blob for place, blob in present.items() if blob not in packed}
        read = await self._isolated.read(unread, self._trees)
        return [*files, *(replace(file, changed=False) for file in read.values())]

    async def _named(
        self, affected: Collection[ResourceRef], stored: dict[ResourceRef, Stored], files: list[File]
    ) -> frozenset[ResourceRef]:
        """Load what the affected manifests name; where a name refers to nothing, the names there are, for a hint."""
        manifests = [
            manifest
            for file in files
            if file.parsed is not None
            for manifest in (*file.parsed.manifests, *(one.manifest for one in file.parsed.broken if one.manifest))
            if manifest.ref in affected
        ]
        here = {ref for file in files if file.parsed is not None for ref in definitions.defined(file.parsed)}
        names = {reference.to for manifest in manifests for reference in manifest.references}
        stored.update(await gather.resources(self._conn, self._tenant.id, names - stored.keys()))
        unknown = {ref.kind for ref in names if ref not in here and (ref not in stored or not stored[ref].blob_id)}
        return await gather.names(self._conn, self._tenant.id, unknown) if unknown else frozenset()

    async def _bodies(
        self, stored: Mapping[ResourceRef, Stored], own: Mapping[str, Any], files: Collection[File]
    ) -> dict[str, bytes]:
        """What serves now, where a policy may want to compare with it."""
        if not own and not self._above and not files:
            return {}
        digests = [row.artifact_digest for row in stored.values() if row.artifact_digest is not None]
        return await gather.bodies(self._conn, self._tenant.id, digests)

    async def _job(
        self,
        files: list[File],
        affected: frozenset[ResourceRef] | None,
        stored: Mapping[ResourceRef, Stored],
        named: frozenset[ResourceRef],
        own: Mapping[str, Mapping[str, Any]],
        bodies: Mapping[str, bytes],
    ) -> values.Job:
        above = {} if self._tenant.platform else {name: body for name, (_digest, body) in self._above.items()}
        origins = {
            view.source.id: values.Origin(
                view.source.id, view.source.name, view.source.position, view.revision, view.ref, view.author
            )
            for view in self._views
        }
        leaving, draining = self._leaving(files, affected, stored)
        return values.Job(
            self._tenant,
            origins,
            files,
            self._gone,
            affected,
            stored,
            named,
            above,
            own,
            bodies,
            self._now,
            await gather.serving(self._conn, self._tenant.id) if leaving else 0,
            await self._drained(draining),
        )

    def _leaving(
        self, files: Collection[File], affected: Collection[ResourceRef] | None, stored: Mapping[ResourceRef, Stored]
    ) -> tuple[bool, dict[ResourceRef, int]]:
        """Whether something that serves may go in this round, and what drains until when."""
        draining = {ref: row.drain_until for ref, row in stored.items() if row.drain_until is not None}
        if affected is None:
            return bool(stored), draining
        here = {ref for file in files if file.parsed is not None for ref in definitions.defined(file.parsed)}
        return any(ref not in here and ref in stored and stored[ref].entry for ref in affected), draining

    async def _drained(self, draining: Mapping[ResourceRef, int]) -> frozenset[ResourceRef]:
        """Those whose time is over, or of which no run is in flight."""
        if not draining:
            return frozenset()
        flying = await gather.in_flight(self._conn, self._tenant.id, draining)
        return frozenset(ref for ref, until in draining.items() if until <= self._now or ref not in flying)
