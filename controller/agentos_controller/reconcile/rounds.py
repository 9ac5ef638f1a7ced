"""One tenant's round: what moved in its sources, the job that makes of it, and writing the outcome.

Between `prepare` and `finish` stands the build, which the loop runs here or in a worker. Every part can be repeated: a
round that is lost or refused is simply gathered anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.database import Database
from agentos_controller.reconcile import (
    estate,
    isolation,
    jobs,
    movement,
    standing,
    statuses,
    values,
    write,
)
from agentos_engine import artifacts, errors, schemas
from agentos_engine.model import ResourceRef


@dataclass(slots=True)
class Round:
    """Everything known of one tenant's round before it is built."""

    tenant: estate.Tenant
    views: list[movement.View]
    job: values.Job
    inputs: str
    cause: str

    @property
    def size(self) -> int:
        """How many files have to be looked at."""
        return len(self.job.files)

    async def build(self, isolated: isolation.Isolation) -> values.Built:
        """Everything that follows from the job."""
        return await isolated.build(self.job, jobs.trees(self.views))


@dataclass(slots=True)
class Outcome:
    """What a round did. `generation` is the new generation's number, None if the old one goes on."""

    generation: int | None = None
    written: bool = False
    tenants_changed: bool = False
    ends: bool = False
    """Whether something of it ends by itself: a drain, a quarantine."""


def inputs_digest(tenant: estate.Tenant, policies: jobs.Policies) -> str:
    """The digest of everything a build depends on beside files: when it changes, the tenant is built whole."""
    above = {} if tenant.platform else {name: digest for name, (digest, _body) in policies.items()}
    return artifacts.digest_of(
        {
            "compiler": artifacts.COMPILER,
            "schemas": schemas.VERSION,
            "policies": above,
            "sources": sorted([source.id, source.spec.get("limits", {})] for source in tenant.sources),
            "tenant": {
                "name": tenant.name,
                "labels": tenant.spec.get("labels") or {},
                "prune": tenant.spec.get("prune") or {},
            },
        }
    )


def needs_whole(tenant: estate.Tenant, policies: jobs.Policies) -> bool:
    """Whether something other than a file changed since the tenant's last build."""
    return tenant.inputs != inputs_digest(tenant, policies)


async def platform_policies(db: Database, tenant_id: str) -> jobs.Policies:
    """The policies of the platform's tenant that serve now."""
    async with db.read() as conn:
        return await jobs.policies(conn, tenant_id)


async def prepare(
    db: Database,
    tenant: estate.Tenant,
    views: list[movement.View],
    policies: jobs.Policies,
    isolated: isolation.Isolation,
    *,
    force: bool,
    now: int,
    obey: bool = True,
) -> Round:
    """Gather what the change that `views` (see `movement.look`) have seen in the sources of `tenant` touches.

    `force` builds everything. Without `obey` the job is that of a tenant in which nobody stopped anything.

    Raises:
        errors.Wait: a source that was read before cannot be read now, and the whole tenant has to be built.
    """
    inputs = inputs_digest(tenant, policies)
    async with db.read(snapshot=True) as conn:
        row = await standing.row(conn, tenant.id)
        stands = standing.of(row, tenant.spec if tenant.platform else None)
        # What waits for a person, and what is kept away from its sources, stands in no file that changed.
        waits = stands.still() is not None or row.prune is not None
        whole = force or tenant.inputs != inputs or waits or stands.ending
        if whole:
            for view in views:
                if view.snapshot is None and view.source.tree is not None:
                    raise errors.Wait("SourceUnavailable", f"source {view.source.name} cannot be read now")
        for view in views:
            await movement.find(conn, view, whole=whole)
        subject = values.Tenant(
            tenant.id,
            tenant.name,
            tenant.platform,
            tenant.spec,
            row.active_seq or 0,
            stands if obey else stands.free(),
        )
        changed = await jobs.changed_files(conn, views, now)
        gathering = jobs.Gathering(conn, subject, views, changed, policies, isolated, now)
        if whole:
            job = await gathering.whole()
        elif any(view.moved is not None and (view.moved.manifests or view.moved.texts) for view in views):
            job = await gathering.incremental()
        else:
            job = await gathering.nothing()
    cause = "policy" if whole and not force and tenant.inputs is not None and not changed else "push"
    return Round(tenant, views, job, inputs, "release" if force else cause)


async def names_tenants(db: Database, prepared: Round, built: values.Built) -> bool:
    """Whether the source of this tenant has any Tenant manifest, valid or not, or one serves on, as of `built`."""
    if built.names_tenants:
        return True
    table = tables.resource
    query = sa.select(table.c.kind, table.c.name).where(
        table.c.tenant_id == prepared.tenant.id,
        table.c.kind == "Tenant",
        sa.or_(table.c.blob_id.is_not(None), table.c.applied_digest.is_not(None)),
    )
    async with db.read() as conn:
        return any(ResourceRef(*row) not in built.judged for row in await conn.execute(query))


async def finish(db: Database, prepared: Round, built: values.Built, now: int) -> Outcome:
    """Write everything a round decided, in one transaction."""
    tenant, views = prepared.tenant, prepared.views
    first = next((view for view in views if view.moved and (view.moved.manifests or view.moved.texts)), None)
    first = first or next(iter(views), None)
    detail = {"subject": first.subject} if first is not None and first.subject else {}
    cause = write.Cause(
        prepared.cause,
        (first.author if first is not None else None) or estate.ACTOR,
        first.revision if first is not None else "",
        first.source.id if first is not None else None,
        detail,
    )
    async with db.write() as conn:
        before = prepared.job.tenant.active_seq
        files = [view.files(built.texts) for view in views]
        seq = await write.build(conn, prepared.job.tenant, built, cause, files, now, schemas.VERSION)
        for view in views:
            await _source(conn, view, now)
        await write.events(conn, tenant.id, [_rewritten(view) for view in views if view.rewritten_from], now)
        if prepared.inputs != tenant.inputs:
            await estate.seen(conn, tenant.id, prepared.inputs)
        await standing.asked(conn, tenant.id, built.asked, now)
        broken = next((view.source.error for view in views if view.source.error is not None), None)
        stop = statuses.failure(broken) if broken is not None else None
        await statuses.tenant(conn, tenant.id, cause.revision, stop, now)
        if tenant.state == "deleting":
            await estate.bury(conn, tenant, now)
    tenant.inputs = prepared.inputs
    for view in views:
        view.reconciled()
    tenants = any(one.change.ref.kind == "Tenant" for one in built.applied)
    return Outcome(
        seq if seq != before else None,
        written=True,
        ends=any(row["drain_until"] or row["quarantine_until"] for row in built.resources)
        or any(one.until for one in built.parsed),
        tenants_changed=(tenants and tenant.platform) or tenant.state == "deleting",
    )


async def _source(conn: AsyncConnection, view: movement.View, now: int) -> None:
    tree = sa.select(tables.source.c.tree).where(tables.source.c.id == view.source.id)
    row = (await conn.execute(tree)).one_or_none()
    if row is None or row.tree != view.source.tree:
        # A Tenant changed what this source is while it was built: what was built is not what it asks for now.
        raise errors.Wait("Reconciling", f"source {view.source.name} is another one meanwhile")
    columns: dict[str, Any] = {}
    if view.snapshot is not None:
        columns = {"head": view.revision, "tree": view.snapshot.tree, "fetched_at": now}
    view.source.conditions = await statuses.source(
        conn,
        view.source.id,
        previous=view.source.conditions,
        observed=view.observed or view.revision or None,
        revision=view.revision or None,
        error=view.source.error,
        now=now,
        **columns,
    )


def _rewritten(view: movement.View) -> values.Row:
    """The event that a source went on to a revision that what served is no ancestor of."""
    before = (view.rewritten_from or "")[:12]
    return {
        "kind": "Source",
        "name": view.source.name,
        "type": "Warning",
        "reason": "HistoryRewritten",
        "message": f"its history was rewritten: {view.revision[:12]} does not follow from {before}, which served",
        "revision": view.revision,
        "path": view.source.path,
        "line": 1,
    }
