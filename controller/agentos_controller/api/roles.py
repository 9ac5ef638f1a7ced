"""What the Roles in force give a caller, besides what stands on its key.

Roles serve in the tenant of the platform source and are in force for all tenants; a key bound to one tenant stays in
it whatever roles it has. Which artifacts they are is looked at once a second. One that is not what its digest says
gives nothing, until it is healed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from agentos_controller import database, keys, tables
from agentos_controller.views import blobs

FRESH_S = 1.0
"""A role that changed is held to what it was no longer than this."""
_REMEMBERED = 1_024


@dataclass(frozen=True, slots=True)
class Grant:
    """Permissions on some resources: those of `kinds` with one of `names`, of any where one of them is empty."""

    permissions: frozenset[str]
    kinds: frozenset[str]
    names: frozenset[str]

    @property
    def limited(self) -> bool:
        return bool(self.kinds or self.names)

    def covers(self, permission: str, kind: str, name: str) -> bool:
        """Whether this gives `permission` on one resource."""
        return (
            permission in self.permissions
            and (not self.kinds or kind in self.kinds)
            and (not self.names or name in self.names)
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """A caller with all roles it holds, by its key or as a member, and what they give everywhere; `limited` is more."""

    principal: keys.Principal
    limited: tuple[Grant, ...] = ()

    def may(self, permission: str, kind: str, name: str) -> bool:
        """Whether a limited grant gives `permission` on one resource."""
        return any(grant.covers(permission, kind, name) for grant in self.limited)


@dataclass(frozen=True, slots=True)
class _Role:
    members: frozenset[str]
    grants: tuple[Grant, ...]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> _Role:
        rules: Iterable[Mapping[str, Any]] = body["rules"].values()
        grants = (
            Grant(keys.implied(rule["permissions"]), frozenset(rule["kinds"]), frozenset(rule["names"]))
            for rule in rules
        )
        return cls(frozenset(body["members"]), tuple(grants))


class Roles:
    """The roles of one database. `monotonic` gives seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._looked: float | None = None
        self._serving: dict[str, str] | None = None
        self._roles: dict[str, _Role] = {}
        self._standings: dict[str, tuple[keys.Principal, Standing]] = {}

    async def standing(self, db: database.Database, principal: keys.Principal) -> Standing:
        """What `principal` is and may."""
        now = self._monotonic()
        if self._looked is None or now - self._looked > FRESH_S:
            await self._look(db)
            self._looked = now
        known = self._standings.get(principal.subject)
        if known is not None and known[0] == principal:
            return known[1]
        standing = self._stand(principal)
        if len(self._standings) >= _REMEMBERED:
            self._standings.clear()
        self._standings[principal.subject] = (principal, standing)
        return standing

    def _stand(self, principal: keys.Principal) -> Standing:
        called = {f"key/{principal.name}", f"user/{principal.subject}"}
        held = principal.roles | {name for name, role in self._roles.items() if not called.isdisjoint(role.members)}
        grants = [grant for name in sorted(held) if name in self._roles for grant in self._roles[name].grants]
        everywhere = principal.permissions.union(*(grant.permissions for grant in grants if not grant.limited))
        made = dataclasses.replace(principal, permissions=everywhere, roles=held)
        return Standing(made, tuple(grant for grant in grants if grant.limited))

    async def _look(self, db: database.Database) -> None:
        tenant, item, artifact = tables.tenant, tables.generation_item, tables.artifact
        live = (
            sa.select(item.c.name, item.c.artifact_digest, item.c.tenant_id)
            .join(tenant, tenant.c.id == item.c.tenant_id)
            .where(tenant.c.platform.is_(True), tenant.c.deleted_at.is_(None))
            .where(item.c.kind == "Role", item.c.to_seq.is_(None))
        )
        async with db.read(snapshot=True) as conn:
            serving = {row.name: row.artifact_digest for row in await conn.execute(live)}
            if serving == self._serving:
                return
            one = live.subquery()
            same = (artifact.c.tenant_id == one.c.tenant_id) & (artifact.c.digest == one.c.artifact_digest)
            found = await conn.execute(sa.select(one.c.name.label("role"), artifact).join_from(one, artifact, same))
            bodies = {row.role: blobs.genuine(row) for row in found}
        self._roles = {name: _Role.of(orjson.loads(body)) for name, body in bodies.items() if body is not None}
        self._serving = serving if self._roles.keys() == serving.keys() else None
        self._standings.clear()
