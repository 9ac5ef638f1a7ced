"""API keys: who calls, for which tenant, and what they may do.

A key is ``aos_<prefix>_<secret>`` with 256 random bits; the database holds its SHA-256, which for such a secret needs
no salt and no slow hash. The text is shown once, when the key is made. Roles are names: what they permit, and who holds
them besides, is compiled from the manifests of kind Role.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets as random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import clock, database, ids, redaction, settings, tables
from agentos_engine import errors

PERMISSIONS = ("read", "run", "operate", "admin")
_IMPLIED = {
    "read": frozenset({"read"}),
    "run": frozenset({"run", "read"}),
    "operate": frozenset({"operate", "read"}),
    "admin": frozenset(PERMISSIONS),
}
_FORM = re.compile(r"aos_([a-z0-9]{8})_[A-Za-z0-9_-]{43}")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_ROLE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_FRESH_S = 5.0
_USE_US = 60 * clock.SECOND
_CACHED = 1_024
_MINIMUM_BOOTSTRAP = 24


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `tenant_id` None is the platform; `subject` is what the trail records."""

    subject: str
    name: str
    tenant_id: str | None
    permissions: frozenset[str]
    roles: frozenset[str] = frozenset()
    key_id: str | None = None

    def may(self, permission: str) -> bool:
        """Whether a permission is given, or implied: admin implies all, run and operate imply read."""
        return permission in self.permissions


@dataclass(frozen=True, slots=True)
class Created:
    """A new key. `text` is the only copy there will ever be."""

    id: str
    prefix: str
    text: str = field(repr=False)


@dataclass(slots=True)
class _Known:
    principal: Principal
    expires_at: int | None
    looked_at: float
    used_at: int


class Keys:
    """The keys of one database. A revoked key is refused at once here, and within five seconds by other processes."""

    def __init__(self, db: database.Database, source: clock.Clock, bootstrap: str | None = None) -> None:
        """`bootstrap` is accepted as an admin key of the platform, to make the first key with; it is never stored.

        Raises:
            settings.ConfigurationError: `bootstrap` is too short to be safe.
        """
        if bootstrap is not None and len(bootstrap) < _MINIMUM_BOOTSTRAP:
            raise settings.ConfigurationError(
                f"AGENTOS_BOOTSTRAP_KEY is shorter than {_MINIMUM_BOOTSTRAP} characters: take a long random text"
            )
        self._db = db
        self._clock = source
        self._bootstrap = _hash(bootstrap) if bootstrap else None
        if bootstrap:
            redaction.redactor.add(bootstrap)
        self._cache: dict[str, _Known] = {}

    async def create(
        self,
        conn: AsyncConnection,
        *,
        tenant_id: str | None,
        name: str,
        permissions: Collection[str],
        roles: Collection[str] = (),
        created_by: str,
        expires_at: int | None = None,
    ) -> Created:
        """Make a key in the transaction of `conn`. `expires_at` is epoch microseconds.

        Raises:
            errors.Problem: InvalidRequest, for an unknown permission, a bad name or role, or a moment in the past.
        """
        now = self._clock.now_us()
        _validate(name, permissions, roles, expires_at, now)
        prefix = "".join(random.choice(_ALPHABET) for _ in range(8))
        text = f"aos_{prefix}_{random.token_urlsafe(32)}"
        key_id = ids.new()
        await conn.execute(
            tables.api_key.insert().values(
                id=key_id,
                prefix=prefix,
                hash=_hash(text),
                tenant_id=tenant_id,
                name=name,
                permissions=sorted(set(permissions)),
                roles=sorted(set(roles)),
                created_by=created_by,
                created_at=now,
                expires_at=expires_at,
            )
        )
        return Created(key_id, prefix, text)

    async def revoke(self, conn: AsyncConnection, key_id: str, tenant_id: str | None = None) -> bool:
        """Revoke a key; False if there is none that is valid. With `tenant_id`, only a key of that tenant."""
        table = tables.api_key
        condition = [table.c.id == key_id, table.c.revoked_at.is_(None)]
        if tenant_id is not None:
            condition.append(table.c.tenant_id == tenant_id)
        done = await conn.execute(table.update().where(*condition).values(revoked_at=self._clock.now_us()))
        self._cache = {digest: known for digest, known in self._cache.items() if known.principal.key_id != key_id}
        return done.rowcount > 0

    async def listed(self, conn: AsyncConnection, tenant_id: str | None = None) -> Sequence[sa.RowMapping]:
        """The keys, newest first and without their hashes; with `tenant_id`, those of one tenant."""
        table = tables.api_key
        query = sa.select(*(column for column in table.c if column.name != "hash")).order_by(table.c.id.desc())
        if tenant_id is not None:
            query = query.where(table.c.tenant_id == tenant_id)
        return (await conn.execute(query)).mappings().all()

    async def authenticate(self, presented: str | None) -> Principal | None:
        """Who presents this text (a key, or a header's ``Bearer <key>``); None if nobody we know."""
        text = (presented or "").removeprefix("Bearer ").strip()
        if not text or len(text) > 256:
            return None
        digest = _hash(text)
        if self._bootstrap and hmac.compare_digest(digest, self._bootstrap):
            return Principal("key:bootstrap", "bootstrap", None, frozenset(PERMISSIONS))
        form = _FORM.fullmatch(text)
        if form is None:
            return None
        known = self._cache.get(digest)
        if known is None or self._clock.monotonic() - known.looked_at > _FRESH_S:
            known = await self._look(form[1], digest)
        if known is None or (known.expires_at is not None and known.expires_at <= self._clock.now_us()):
            self._cache.pop(digest, None)
            return None
        await self._used(known)
        return known.principal

    async def _look(self, prefix: str, digest: str) -> _Known | None:
        table = tables.api_key
        async with self._db.read() as conn:
            row = (await conn.execute(sa.select(table).where(table.c.prefix == prefix))).one_or_none()
        if row is None or not hmac.compare_digest(row.hash, digest) or row.revoked_at is not None:
            return None
        granted = implied(row.permissions)
        principal = Principal(f"key:{row.id}", row.name, row.tenant_id, granted, frozenset(row.roles), row.id)
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        known = _Known(principal, row.expires_at, self._clock.monotonic(), row.last_used_at or 0)
        self._cache[digest] = known
        return known

    async def _used(self, known: _Known) -> None:
        now = self._clock.now_us()
        if now - known.used_at < _USE_US:
            return
        known.used_at = now
        table = tables.api_key
        stale = sa.or_(table.c.last_used_at.is_(None), table.c.last_used_at <= now - _USE_US)
        async with self._db.write() as conn:
            await conn.execute(
                table.update().where(table.c.id == known.principal.key_id, stale).values(last_used_at=now)
            )


def implied(permissions: Collection[str]) -> frozenset[str]:
    """`permissions` with those that they imply."""
    return frozenset[str]().union(*(_IMPLIED[permission] for permission in permissions))


def _hash(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _validate(
    name: str, permissions: Collection[str], roles: Collection[str], expires_at: int | None, now: int
) -> None:
    found: list[dict[str, Any]] = []
    if not 1 <= len(name) <= 253 or not name.isprintable():
        found.append({"path": "name", "message": "a name has 1 to 253 printable characters"})
    unknown = sorted(set(permissions) - set(PERMISSIONS))
    if unknown or not permissions:
        what = f"unknown: {', '.join(unknown)}" if unknown else "none is given"
        found.append({"path": "permissions", "message": f"{what}; choose from {', '.join(PERMISSIONS)}"})
    found.extend(
        {"path": "roles", "message": f"{role!r} is no role's name"} for role in roles if not _ROLE.fullmatch(role)
    )
    if expires_at is not None and expires_at <= now:
        found.append({"path": "expiresAt", "message": "the moment lies in the past"})
    if found:
        raise errors.Problem("InvalidRequest", f"{found[0]['path']}: {found[0]['message']}", errors=found)
