"""Tenants: the rows of a tenant and of its sources, from the access artifacts of the platform's generation.

A tenant that is gone from the platform's source stops: its state is `deleting`, the reconciler prunes its resources,
its runs stay readable by id. Its id is never used again; a tenant made anew under the same name inherits nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import ids, tables

RESERVED = "platform"
"""The tenant to which the platform source belongs as soon as it names tenants."""
DEFAULT = "default"
"""The tenant to which everything belongs as long as the platform source names none."""


async def apply(conn: AsyncConnection, changes: Sequence[tuple[str, Mapping[str, Any] | None]], now: int) -> None:
    """Make, change or end the tenants named in `changes` (name, body of the access artifact; None: gone)."""
    url, ref = await followed(conn)
    for name, body in changes:
        if name == RESERVED:
            continue
        row = (
            await conn.execute(
                sa.select(tables.tenant).where(tables.tenant.c.name == name, tables.tenant.c.deleted_at.is_(None))
            )
        ).one_or_none()
        if body is None:
            if row is not None and not row.platform:
                await _set(conn, row.id, state="deleting")
            continue
        tenant_id = row.id if row is not None else ids.new()
        if row is None:
            await conn.execute(
                tables.tenant.insert().values(
                    id=tenant_id,
                    name=name,
                    platform=False,
                    spec=dict(body),
                    quota=body.get("quota"),
                    state="active",
                    ready="Unknown",
                    created_at=now,
                )
            )
        else:
            await _set(conn, tenant_id, state="active", spec=dict(body), quota=body.get("quota"))
        old = (row.spec or {}) if row is not None else {}
        await sources(conn, tenant_id, body, url, ref, old)


async def followed(conn: AsyncConnection) -> tuple[str, str]:
    """Address and ref of the platform's source, which sources without an address of their own follow."""
    query = (
        sa.select(tables.source.c.url, tables.source.c.ref)
        .join(tables.tenant, tables.tenant.c.id == tables.source.c.tenant_id)
        .where(tables.tenant.c.platform.is_(True), tables.tenant.c.deleted_at.is_(None))
    )
    row = (await conn.execute(query)).first()
    return (row.url, row.ref) if row is not None else ("", "")


def columns(spec: Mapping[str, Any], position: int, platform_url: str, platform_ref: str) -> dict[str, Any]:
    """What the row of a source says of its `spec`, the one at `position` of its tenant."""
    return {
        "url": spec.get("git") or platform_url,
        "ref": spec.get("ref") or ("" if spec.get("git") else platform_ref),
        "path": spec.get("path") or ".",
        "position": position,
        "secret_ref": (spec.get("auth") or {}).get("secret"),
        "interval_us": spec["intervalMs"] * 1_000 if spec.get("intervalMs") else None,
    }


async def _set(conn: AsyncConnection, tenant_id: str, **changed: Any) -> None:
    await conn.execute(tables.tenant.update().where(tables.tenant.c.id == tenant_id).values(**changed))


async def sources(
    conn: AsyncConnection,
    tenant_id: str,
    body: Mapping[str, Any],
    platform_url: str,
    platform_ref: str,
    old_body: Mapping[str, Any],
) -> None:
    """Make the sources of a tenant those of its access artifact; one that changed is read anew."""
    table = tables.source
    known = {spec["name"]: _options(spec) for spec in old_body.get("sources", ())}
    before = {row.name: row for row in await conn.execute(sa.select(table).where(table.c.tenant_id == tenant_id))}
    for position, spec in enumerate(body["sources"]):
        wanted = columns(spec, position, platform_url, platform_ref)
        old = before.pop(spec["name"], None)
        if old is None:
            await conn.execute(
                table.insert().values(
                    id=ids.new(), tenant_id=tenant_id, name=spec["name"], failures=0, ready="Unknown", **wanted
                )
            )
        elif known.get(spec["name"]) != _options(spec) or any(
            getattr(old, name) != value for name, value in wanted.items()
        ):
            # Without a known tree, everything below the source is compared anew.
            await conn.execute(table.update().where(table.c.id == old.id).values(**wanted, tree=None))
    for old in before.values():
        await conn.execute(tables.tree_entry.delete().where(tables.tree_entry.c.source_id == old.id))
        await conn.execute(table.delete().where(table.c.id == old.id))


_ROW = ("name", "git", "ref", "path", "auth", "intervalMs")


def _options(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What the row does not hold: it is read from the tenant's spec."""
    return {name: value for name, value in spec.items() if name not in _ROW}
