"""What people decided about a tenant, as the rows have it: read for a round, compared before it is written.

The rules that follow from it stand in `holding`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.reconcile import holding

_tenant = tables.tenant
COLUMNS = (
    _tenant.c.active_seq,
    _tenant.c.state,
    _tenant.c.spec,
    _tenant.c.hold,
    _tenant.c.suspended_by,
    _tenant.c.suspended_reason,
    _tenant.c.suspended_until,
    _tenant.c.prune,
    _tenant.c.prune_approved,
)


async def row(conn: AsyncConnection, tenant_id: str) -> Any:
    """The columns of a tenant that its standing is made of; None if it is not there."""
    return (await conn.execute(sa.select(*COLUMNS).where(_tenant.c.id == tenant_id))).one_or_none()


def of(found: Any, described: Mapping[str, Any] | None = None) -> holding.Standing:
    """The standing that a row with `COLUMNS` tells; `described` is the spec where a file and no row has it."""
    hold, approved = found.hold, found.prune_approved or {}
    return holding.Standing(
        hold=holding.Pause(hold["by"], hold.get("reason"), hold.get("until")) if hold is not None else None,
        suspended=suspended(found),
        guard=holding.Guard.of(described or found.spec or {}),
        approved=approved.get("digest"),
        orphans=bool(approved.get("orphans")),
        ending=found.state == "deleting",
    )


def suspended(found: Any) -> holding.Pause | None:
    """Who suspended what a row tells of, a tenant, a source or a resource; None if nobody did."""
    if found.suspended_by is None:
        return None
    return holding.Pause(found.suspended_by, found.suspended_reason, found.suspended_until)


async def asked(conn: AsyncConnection, tenant_id: str, about: holding.Asked | None, now: int) -> None:
    """Remember what waits for an approval after a round, and since when. An approval has served then, or is void."""
    query = sa.select(_tenant.c.prune, _tenant.c.prune_approved).where(_tenant.c.id == tenant_id)
    before, approved = (await conn.execute(query)).one()
    prune = None
    if about is not None:
        since = before["since"] if before is not None and before["digest"] == about.digest else now
        prune = {**about.as_json(), "since": since}
    if prune == before and approved is None:
        return
    await conn.execute(_tenant.update().where(_tenant.c.id == tenant_id).values(prune=prune, prune_approved=None))
