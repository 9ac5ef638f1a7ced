"""The tenants and their sources in memory, as the loop needs them: which address, which folder, how far reconciled.

Read anew only when tenants changed; the reconciler is the only writer of these rows, and keeps the two in step. Here
also stands who owns the platform source: `default` while it names no tenant, else `platform`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import audit, ids, tables
from agentos_controller.apply import access
from agentos_controller.database import Database
from agentos_controller.source import address, reach
from agentos_engine import errors, paths

ACTOR = "controller"
_SEEN = "reconciled/"


@dataclass(slots=True)
class Source:
    """One source. `address` is None where `error` says what is wrong with its url or ref."""

    id: str
    tenant_id: str
    name: str
    position: int
    address: address.Address | None
    error: errors.Handled | None
    path: str
    selection: paths.Selection
    secret_ref: str | None
    interval: float | None
    spec: Mapping[str, Any]
    """The compiled source; empty where the platform's has only an address."""
    observed: str | None
    """What its ref named at the last look; `head` is what was reconciled."""
    accepted: str | None
    head: str | None
    tree: str | None
    suspended: bool
    conditions: list[Any]
    message: str | None


@dataclass(slots=True)
class Tenant:
    """One living tenant. `inputs` is the digest of everything but files that its last build depended on."""

    id: str
    name: str
    platform: bool
    state: str
    spec: Mapping[str, Any]
    inputs: str | None
    sources: list[Source] = field(default_factory=list)

    @property
    def asked(self) -> tuple[Any, ...]:
        """What others decide about it, beside what its own rounds find out."""
        return (
            *(self.name, self.platform, self.state, self.spec),
            [
                (one.id, one.position, one.address, one.path, one.selection, one.spec, one.accepted, one.suspended)
                for one in self.sources
            ],
        )


@dataclass(slots=True)
class Estate:
    """Everything there is to reconcile."""

    tenants: dict[str, Tenant]

    @property
    def platform(self) -> Tenant:
        return next(tenant for tenant in self.tenants.values() if tenant.platform)

    @property
    def sources(self) -> list[Source]:
        return [source for tenant in self.tenants.values() for source in tenant.sources]

    def keep(self, before: Estate, busy: Iterable[str]) -> frozenset[str]:
        """Let the `busy` tenants, whose rounds are under way, be those of `before` where they are asked for the same:
        what their rounds find out goes there. Which those are."""
        kept = set()
        for tenant_id in busy:
            one, now = before.tenants.get(tenant_id), self.tenants.get(tenant_id)
            if one is not None and now is not None and one.asked == now.asked:
                self.tenants[tenant_id] = one
                kept.add(tenant_id)
        return frozenset(kept)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator allows addresses to be. `base` is where a relative path of the command line starts."""

    base: Path | None = None
    allow_loopback_http: bool = False
    platform: Mapping[str, Any] = field(default_factory=dict)
    """The platform's own Tenant, see `platform`; empty where only an address was given."""


async def load(db: Database, rules: Rules) -> Estate:
    """The estate as the database has it."""
    tenant, source, setting = tables.tenant, tables.source, tables.setting
    async with db.read(snapshot=True) as conn:
        tenants = (
            await conn.execute(sa.select(tenant).where(tenant.c.deleted_at.is_(None)).order_by(tenant.c.name))
        ).all()
        sources = (await conn.execute(sa.select(source).order_by(source.c.position, source.c.name))).all()
        seen: dict[str, Any] = dict(
            (await conn.execute(sa.select(setting).where(setting.c.key.startswith(_SEEN)))).all()
        )
    estate = Estate(
        {
            row.id: Tenant(
                row.id,
                row.name,
                row.platform,
                row.state,
                (rules.platform if row.platform else row.spec) or {},
                (seen.get(_SEEN + row.id) or {}).get("inputs"),
            )
            for row in tenants
        }
    )
    local = next(
        (row.url for row in sources if row.tenant_id in estate.tenants and estate.tenants[row.tenant_id].platform), ""
    )
    for row in sources:
        owner = estate.tenants.get(row.tenant_id)
        if owner is not None:
            owner.sources.append(_source(row, owner, rules, platform_is_local="://" not in local))
    return estate


def _source(row: Any, owner: Tenant, rules: Rules, *, platform_is_local: bool) -> Source:
    named = (spec for spec in owner.spec.get("sources", ()) if owner.platform or spec["name"] == row.name)
    spec: Mapping[str, Any] = next(named, {})
    where: address.Address | None = None
    error: errors.Handled | None = None
    try:
        url = row.url.removeprefix("file://")
        if url != row.url and not platform_is_local:
            raise errors.Stall("SourceInvalid", "a local repository is allowed only where the platform's is local too")
        where = _address(url, row, spec, rules)
    except errors.Handled as refused:
        error = refused
    return Source(
        row.id,
        row.tenant_id,
        row.name,
        row.position,
        where,
        error,
        row.path,
        paths.Selection.of(spec.get("include"), spec.get("exclude") or ()),
        row.secret_ref,
        row.interval_us / 1e6 if row.interval_us else None,
        spec,
        row.observed,
        row.accepted,
        row.head,
        row.tree,
        row.suspended_by is not None,
        row.conditions or [],
        row.error,
    )


def _address(url: str, row: Any, spec: Mapping[str, Any], rules: Rules) -> address.Address:
    """What a source follows, and how it is reached.

    Raises:
        errors.Stall: ``SourceInvalid``.
    """
    where = address.parse(url, row.ref or None, allow_loopback_http=rules.allow_loopback_http)
    access = address.Access(row.secret_ref, _trusted(spec.get("knownHosts")), _trusted(spec.get("ca")))
    plain = where.local or access == address.Access()
    return replace(
        where,
        semver=spec.get("semver"),
        branch=spec.get("mergedInto"),
        access=None if plain else access,
    )


def _trusted(given: str | Mapping[str, str] | None) -> str | None:
    return reach.REFERENCE + given["secret"] if isinstance(given, Mapping) else given


async def ensure_platform(db: Database, where: address.Address, spec: Mapping[str, Any], now: int) -> None:
    """Let the platform source be `where`, as `spec` (a compiled source) has it; made with its tenant on a first start.

    Where it changed, the sources of tenants that follow it change with it and are read anew.
    """
    tenant, source = tables.tenant, tables.source
    wanted = {
        "url": where.url,
        "ref": where.ref or "",
        "path": spec.get("path") or ".",
        "secret_ref": (spec.get("auth") or {}).get("secret"),
        "interval_us": spec["intervalMs"] * 1_000 if spec.get("intervalMs") else None,
    }
    async with db.write() as conn:
        row = (
            await conn.execute(sa.select(tenant).where(tenant.c.platform.is_(True), tenant.c.deleted_at.is_(None)))
        ).one_or_none()
        if row is None:
            tenant_id = await _tenant(conn, access.DEFAULT, now)
            await conn.execute(
                source.insert().values(
                    id=ids.new(),
                    tenant_id=tenant_id,
                    name="main",
                    position=0,
                    failures=0,
                    ready="Unknown",
                    **wanted,
                )
            )
            await audit.append(
                conn, None, ACTOR, "source.create", f"Source/{where}", None, "applied", {"tenant": access.DEFAULT}
            )
            return
        found = (await conn.execute(sa.select(source).where(source.c.tenant_id == row.id))).one()
        if all(getattr(found, name) == value for name, value in wanted.items()):
            return
        await conn.execute(source.update().where(source.c.id == found.id).values(**wanted, tree=None))
        await audit.append(
            conn, None, ACTOR, "source.update", f"Source/{where}", None, "applied", {"before": found.url}
        )
        others = sa.select(tenant).where(tenant.c.platform.is_(False), tenant.c.deleted_at.is_(None))
        for other in (await conn.execute(others)).all():
            if other.spec:
                await access.sources(conn, other.id, other.spec, where.url, where.ref or "", other.spec)


async def _tenant(conn: AsyncConnection, name: str, now: int) -> str:
    """The platform's tenant `name`, made if it is not there."""
    tenant = tables.tenant
    found = await conn.scalar(sa.select(tenant.c.id).where(tenant.c.name == name, tenant.c.deleted_at.is_(None)))
    if found is not None:
        await conn.execute(tenant.update().where(tenant.c.id == found).values(platform=True, state="active"))
        return str(found)
    tenant_id = ids.new()
    await conn.execute(
        tenant.insert().values(id=tenant_id, name=name, platform=True, state="active", ready="Unknown", created_at=now)
    )
    return tenant_id


async def hand_over(db: Database, estate: Estate, name: str, now: int) -> None:
    """Give the platform source to the tenant `name`. The former owner loses its resources at its next round."""
    former = estate.platform
    tenant, source = tables.tenant, tables.source
    async with db.write() as conn:
        new = await _tenant(conn, name, now)
        await conn.execute(tenant.update().where(tenant.c.id == former.id).values(platform=False, state="deleting"))
        for one in former.sources:
            await conn.execute(tables.tree_entry.delete().where(tables.tree_entry.c.source_id == one.id))
        await conn.execute(
            source.update().where(source.c.tenant_id == former.id).values(tenant_id=new, tree=None, head=None)
        )
        await audit.append(
            conn, None, ACTOR, "platform.hand-over", f"Tenant/{name}", None, "applied", {"before": former.name}
        )


async def seen(conn: AsyncConnection, tenant_id: str, inputs: str) -> None:
    """Remember the inputs of a tenant's last build."""
    table = tables.setting
    await conn.execute(table.delete().where(table.c.key == _SEEN + tenant_id))
    await conn.execute(table.insert().values(key=_SEEN + tenant_id, value={"inputs": inputs}))


async def bury(conn: AsyncConnection, tenant: Tenant, now: int) -> None:
    """A tenant that is gone, after its resources: its name is free again, its runs stay."""
    await conn.execute(tables.tenant.update().where(tables.tenant.c.id == tenant.id).values(deleted_at=now))
    for source in tenant.sources:
        await conn.execute(tables.tree_entry.delete().where(tables.tree_entry.c.source_id == source.id))
    await conn.execute(tables.source.delete().where(tables.source.c.tenant_id == tenant.id))
    await conn.execute(tables.setting.delete().where(tables.setting.c.key == _SEEN + tenant.id))
    await audit.append(conn, None, ACTOR, "tenant.delete", f"Tenant/{tenant.name}", None, "applied", {"id": tenant.id})
