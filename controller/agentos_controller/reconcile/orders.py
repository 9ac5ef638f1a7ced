"""What people order without asking for a round: suspend, resume, approve a removal, accept a revision.

Each changes rows of the tenant within the caller's transaction, with its entry of the audit trail and an event; what
follows from it is found out by the round that comes next. Rollback and release are in `rollback`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import audit, tables
from agentos_controller.reconcile import holding, standing, write
from agentos_engine import errors

EXPIRY = "expiry"
"""Stands in the audit trail as what ended a hold or a suspension, where nobody did."""
_NOT_SUSPENDED: Mapping[str, None] = {"suspended_by": None, "suspended_reason": None, "suspended_until": None}


@dataclass(frozen=True, slots=True)
class Target:
    """What an order is about: a row of `table`, called `kind`/`name` in events and in the trail."""

    tenant_id: str
    table: sa.Table
    where: tuple[sa.ColumnElement[bool], ...]
    kind: str
    name: str

    @property
    def noun(self) -> str:
        return self.table.name


def of_tenant(tenant_id: str, name: str) -> Target:
    return Target(tenant_id, tables.tenant, (tables.tenant.c.id == tenant_id,), "Tenant", name)


def of_source(tenant_id: str, source_id: str, name: str) -> Target:
    table = tables.source
    return Target(tenant_id, table, (table.c.tenant_id == tenant_id, table.c.id == source_id), "Source", name)


def of_resource(tenant_id: str, kind: str, name: str) -> Target:
    table = tables.resource
    where = (table.c.tenant_id == tenant_id, table.c.kind == kind, table.c.name == name)
    return Target(tenant_id, table, where, kind, name)


async def target(conn: AsyncConnection, tenant_id: str, args: Mapping[str, Any]) -> tuple[Target, Any]:
    """What the arguments of a command name, and its row: a `source` by id, a resource by `kind` and `name`, the tenant.

    Raises:
        errors.Stall: it is not there.
    """
    if "source" in args:
        found = of_source(tenant_id, args["source"], "")
    elif "kind" in args:
        found = of_resource(tenant_id, args["kind"], args["name"])
    else:
        found = of_tenant(tenant_id, "")
    row = (await conn.execute(sa.select(found.table).where(*found.where))).one_or_none()
    if row is None:
        raise errors.Stall("NotFound", f"there is no such {found.noun}")
    return Target(tenant_id, found.table, found.where, found.kind, row.name), row


async def suspend(conn: AsyncConnection, tenant_id: str, args: Mapping[str, Any], *, actor: str, now: int) -> None:
    """Let a tenant, a source or a resource stay as it is; one that is suspended gets the new reason and end."""
    what, _row = await target(conn, tenant_id, args)
    reason, until = args.get("reason"), args.get("until")
    columns = {"suspended_by": actor, "suspended_reason": reason, "suspended_until": until}
    await conn.execute(what.table.update().where(*what.where).values(columns))
    await _tell(conn, what, "Suspended", f"suspended {holding.Pause(actor, reason, until)}", now)
    await _record(conn, what, actor, "suspend", {"reason": reason, "until": until})


async def resume(conn: AsyncConnection, tenant_id: str, args: Mapping[str, Any], *, actor: str, now: int) -> None:
    """End a suspension.

    Raises:
        errors.Stall: nobody suspended it.
    """
    what, row = await target(conn, tenant_id, args)
    before = standing.suspended(row)
    if before is None:
        raise errors.Stall("Conflict", f"{what.kind}/{what.name} is not suspended")
    await end(conn, what, before, actor=actor, now=now)


async def end(
    conn: AsyncConnection, what: Target, before: holding.Pause, *, actor: str, now: int, cause: str | None = None
) -> None:
    """End the suspension `before`; `cause` is `EXPIRY` where it ends by itself."""
    await conn.execute(what.table.update().where(*what.where).values(dict(_NOT_SUSPENDED)))
    await _tell(conn, what, "Resumed", "resumed by " + (cause or actor), now)
    detail = {"by": before.by, "reason": before.reason, "until": before.until}
    await _record(conn, what, actor, "resume", {"suspension": detail, **({"cause": cause} if cause else {})})


async def approve_prune(conn: AsyncConnection, tenant_id: str, args: Mapping[str, Any], *, actor: str, now: int) -> int:
    """Agree to the removal with `digest`, or to that of the `orphans`; how many resources that are.

    Raises:
        errors.Stall: that is not what waits now, or the tenant is kept as it is.
    """
    row = await standing.row(conn, tenant_id)
    still = standing.of(row).still()
    if still is not None:
        raise errors.Stall("Conflict", f"nothing is removed now: {still.message}")
    if args.get("orphans"):
        approved: dict[str, Any] = {"orphans": True, "by": actor, "at": now}
        count = await _orphans(conn, tenant_id)
        if count == 0:
            raise errors.Stall("Conflict", "the tenant has no orphans")
    else:
        asked = row.prune or {}
        try:
            digest = holding.approve(asked.get("digest"), args["digest"], standing.of(row)).approved
        except ValueError as error:
            raise errors.Stall("Conflict", str(error)) from None
        approved = {"digest": digest, "by": actor, "at": now}
        count = asked["count"]
    table = tables.tenant
    await conn.execute(table.update().where(table.c.id == tenant_id).values(prune_approved=approved))
    name = await conn.scalar(sa.select(table.c.name).where(table.c.id == tenant_id))
    await _record(conn, of_tenant(tenant_id, str(name)), actor, "approve-prune", {**approved, "count": count})
    return count


async def _orphans(conn: AsyncConnection, tenant_id: str) -> int:
    table = tables.resource
    query = sa.select(sa.func.count()).where(
        table.c.tenant_id == tenant_id, table.c.blob_id.is_(None), table.c.reason == "Orphaned"
    )
    return await conn.scalar(query) or 0


async def accept(conn: AsyncConnection, tenant_id: str, args: Mapping[str, Any], *, actor: str, now: int) -> str:
    """Let a revision of a source in although it is no descendant of the one before; the revision.

    Raises:
        errors.Stall: there is no such source, or nothing to accept.
    """
    what, row = await target(conn, tenant_id, args)
    revision: str | None = args.get("revision") or row.observed
    if revision is None:
        raise errors.Stall("Conflict", f"source {what.name} has seen no revision yet: name the one to accept")
    await conn.execute(what.table.update().where(*what.where).values(accepted=revision, accepted_by=actor))
    await _tell(conn, what, "Accepted", f"revision {revision[:12]} accepted by {actor}", now)
    detail = {"reason": args.get("reason"), "before": row.head}
    await _record(conn, what, actor, "accept", detail, revision)
    return revision


async def _tell(conn: AsyncConnection, what: Target, reason: str, message: str, now: int) -> None:
    told = {"kind": what.kind, "name": what.name, "type": "Normal", "reason": reason, "message": message}
    await write.events(conn, what.tenant_id, [{**told, "revision": None, "path": None, "line": None}], now)


async def _record(
    conn: AsyncConnection, what: Target, actor: str, verb: str, detail: Mapping[str, Any], revision: str | None = None
) -> None:
    subject = f"{what.kind}/{what.name}"
    await audit.append(conn, what.tenant_id, actor, f"{what.noun}.{verb}", subject, revision, "applied", detail)
