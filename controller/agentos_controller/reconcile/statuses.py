"""Conditions of sources and tenants, written in the transaction of what they tell.

A source is Ready when it can be read and every file of it is a manifest; a tenant when all its resources are Ready and
nothing holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.database import Database
from agentos_controller.reconcile import holding, standing
from agentos_controller.source import gate
from agentos_engine import conditions, errors


async def source(
    conn: AsyncConnection,
    source_id: str,
    *,
    previous: Sequence[Any],
    observed: str | None,
    revision: str | None,
    error: errors.Handled | None,
    now: int,
    **columns: Any,
) -> list[Any]:
    """Write a source's conditions at `revision`, while its ref names `observed`, and `columns`.

    Gives the packed conditions.
    """
    stop = failure(error) if error is not None else await _unreadable_file(conn, source_id)
    found = conditions.summarize(
        previous=[conditions.Condition.unpack(packed) for packed in previous],
        desired_revision=observed or "",
        applied_revision=revision,
        stop=stop,
        now=now,
    )
    packed = [condition.pack() for condition in found]
    ready = next(condition.status for condition in found if condition.type == "Ready")
    await conn.execute(
        tables.source.update()
        .where(tables.source.c.id == source_id)
        .values(conditions=packed, ready=ready, error=error.message if error else None, observed=observed, **columns)
    )
    return packed


def failure(error: errors.Handled) -> conditions.Stop:
    """The stop of a source that cannot be read, or whose newest revision may not serve."""
    condition = "Admitted" if error.code in gate.CODES else "Loaded"
    return conditions.Stop(condition, error.code, error.message, stalled=isinstance(error, errors.Stall))


async def _unreadable_file(conn: AsyncConnection, source_id: str) -> conditions.Stop | None:
    """The stop that a file makes which no resource answers for."""
    table = tables.diagnostic
    query = (
        sa.select(table)
        .where(table.c.source_id == source_id, table.c.kind.is_(None), table.c.severity == "error")
        .order_by(table.c.path, table.c.number)
        .limit(1)
    )
    row = (await conn.execute(query)).first()
    if row is None:
        return None
    return conditions.Stop("Valid", row.code, f"{row.path}:{row.line}:{row.col}: {row.message}")


async def tenant(conn: AsyncConnection, tenant_id: str, revision: str, error: conditions.Stop | None, now: int) -> None:
    """Write a tenant's conditions; `error` is what keeps its sources from being read, if anything does."""
    table, resource = tables.tenant, tables.resource
    row = (
        await conn.execute(
            sa.select(table.c.name, table.c.conditions, *standing.COLUMNS).where(table.c.id == tenant_id)
        )
    ).one()
    stop = error or _stopped(row)
    if stop is None:
        query = (
            sa.select(resource.c.kind, resource.c.name)
            .where(resource.c.tenant_id == tenant_id, resource.c.ready.in_(("False", "Unknown")))
            .order_by(resource.c.kind, resource.c.name)
            .limit(4)
        )
        names = [f"{kind}/{name}" for kind, name in await conn.execute(query)]
        if names:
            more = " and more" if len(names) > 3 else ""
            stop = conditions.Stop("Healthy", "ResourcesNotReady", f"not Ready: {', '.join(names[:3])}{more}")
    found = conditions.summarize(
        previous=[conditions.Condition.unpack(packed) for packed in row.conditions or ()],
        desired_revision=revision,
        applied_revision=revision,
        stop=stop,
        now=now,
    )
    ready = next(condition.status for condition in found if condition.type == "Ready")
    await conn.execute(
        table.update()
        .where(table.c.id == tenant_id)
        .values(conditions=[condition.pack() for condition in found], ready=ready)
    )


def _stopped(row: Any) -> conditions.Stop | None:
    """What people keep the tenant from, or what waits for them; `row` has the columns of its standing, and its name."""
    stands = standing.of(row)
    if stands.hold is not None:
        return conditions.Stop("Applied", "Held", f"held at generation {row.hold['seq']} {stands.hold}")
    if stands.suspended is not None:
        return conditions.Stop("Applied", "Suspended", f"suspended {stands.suspended}")
    if row.prune is not None:
        count, total, digest = (row.prune[name] for name in ("count", "total", "digest"))
        text = f"{count} of {total} resources would be removed, and are not: {holding.command(row.name, digest)}"
        return conditions.Stop("Applied", "PruneGuarded", text)
    return None


async def failed(db: Database, tenant_id: str, error: Exception, now: int) -> None:
    """Show that a tenant's round failed as a whole; it is tried again."""
    text = f"reconciling failed and is tried again: {type(error).__name__}: {error}"
    stop = conditions.Stop("Loaded", "Quarantined", text[:1000], stalled=False)
    async with db.write() as conn:
        await tenant(conn, tenant_id, "", stop, now)
