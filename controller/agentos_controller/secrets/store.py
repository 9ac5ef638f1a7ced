"""The secrets of every tenant: set, listed, removed, resolved, re-encrypted.

Changes happen in the caller's transaction, so that the audit row commits with them. A mounted value wins over a stored
one of the same name: what the operator mounts cannot be replaced through the API.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import clock, database, redaction, tables
from agentos_controller.secrets import binding, mounted, vault
from agentos_controller.secrets.value import SecretValue
from agentos_engine import errors, fields

_NAME = re.compile(fields.SECRET_PATTERN)


class SecretMissing(LookupError):
    """The tenant has no secret of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"secret {name!r} is not set: agentos secret set {name}")


@dataclass(frozen=True, slots=True)
class Listed:
    """What may be shown of a secret. A mounted one has no version and no date; `hosts` are those it is bound to."""

    name: str
    provider: str
    version: int | None = None
    created_by: str | None = None
    created_at: int | None = None
    hosts: tuple[str, ...] = ()


class Secrets:
    """The secrets of one database and, where given, one mounted directory."""

    def __init__(
        self,
        db: database.Database,
        ring: vault.KeyRing,
        source: clock.Clock,
        *,
        mount: mounted.Mounted | None = None,
        redactor: redaction.Redactor = redaction.redactor,
    ) -> None:
        self._db = db
        self._ring = ring
        self._clock = source
        self._mount = mount
        self._redactor = redactor

    @property
    def key(self) -> str:
        """Id of the key that wraps."""
        return self._ring.active

    async def check(self) -> None:
        """Refuse a start with a key file that cannot read what is stored.

        Raises:
            vault.KeyFileError: a key is missing in it.
        """
        async with self._db.read() as conn:
            needed = set(await conn.scalars(sa.select(tables.secret.c.kek_id).distinct()))
        if missing := needed - self._ring.ids:
            raise vault.KeyFileError(
                f"stored secrets need key {min(missing)}, which the key file does not hold: restore the file"
            )

    async def put(self, conn: AsyncConnection, tenant_id: str, name: str, value: SecretValue | str, actor: str) -> int:
        """Store a new version; its number. Older versions are retired.

        Raises:
            errors.Problem: InvalidRequest, for a name or value that cannot be stored.
        """
        plain = value.reveal() if isinstance(value, SecretValue) else value
        _validate(name, plain)
        self._redactor.add(plain, tenant_id)
        table = tables.secret
        mine = [table.c.tenant_id == tenant_id, table.c.name == name]
        version = int(await conn.scalar(sa.select(sa.func.max(table.c.version)).where(*mine)) or 0) + 1
        sealed = self._ring.seal(plain, _bound(tenant_id, name, version))
        now = self._clock.now_us()
        await conn.execute(table.update().where(*mine, table.c.retired_at.is_(None)).values(retired_at=now))
        await conn.execute(
            table.insert().values(
                tenant_id=tenant_id,
                name=name,
                version=version,
                ciphertext=sealed.ciphertext,
                wrapped_key=sealed.wrapped_key,
                kek_id=sealed.kek_id,
                created_by=actor,
                created_at=now,
            )
        )
        return version

    async def remove(self, conn: AsyncConnection, tenant_id: str, name: str) -> bool:
        """Delete every version, and what it is bound to unless a mounted value goes by the name; False if none was."""
        table = tables.secret
        done = await conn.execute(table.delete().where(table.c.tenant_id == tenant_id, table.c.name == name))
        if done.rowcount == 0:
            return False
        if await self._mounted(conn, tenant_id, name) is None:
            await binding.release(conn, tenant_id, name)
        return True

    async def bind(self, conn: AsyncConnection, tenant_id: str, name: str, hosts: Iterable[str], actor: str) -> None:
        """Let the secret go to exactly `hosts` from now on: ``name``, ``name:port`` or ``*.domain``."""
        await binding.bind(conn, tenant_id, name, hosts, actor, self._clock.now_us())

    async def listed(self, conn: AsyncConnection, tenant_id: str) -> list[Listed]:
        """The tenant's secrets by name, without values."""
        table = tables.secret
        query = sa.select(table.c.name, table.c.version, table.c.created_by, table.c.created_at).where(
            table.c.tenant_id == tenant_id, table.c.retired_at.is_(None)
        )
        found = {
            row.name: Listed(row.name, "stored", row.version, row.created_by, row.created_at)
            for row in await conn.execute(query)
        }
        if self._mount is not None and (tenant := await _tenant_name(conn, tenant_id)):
            found |= {name: Listed(name, "mounted") for name in self._mount.names(tenant)}
        bound = await binding.all_hosts(conn, tenant_id)
        return [replace(found[name], hosts=bound.get(name, ())) for name in sorted(found)]

    async def find(self, tenant_id: str, name: str) -> SecretValue | None:
        """The value in force, None if it is not set.

        Raises:
            vault.Undecipherable: the stored value was altered, or its key is missing.
        """
        async with self._db.read() as conn:
            plain = await self._value(conn, tenant_id, name)
        if plain is None:
            return None
        self._redactor.add(plain, tenant_id)
        return SecretValue(plain)

    async def resolve(self, tenant_id: str, name: str, hosts: Sequence[str]) -> str:
        """The value in force, for a call that can reach `hosts` and no others; the redactor knows it from here on.

        Its first use binds it to `hosts`, which is audited.

        Raises:
            SecretMissing: it is not set.
            binding.SecretBound: it is bound to other hosts.
            vault.Undecipherable: the stored value was altered, or its key is missing.
        """
        if not hosts:
            raise ValueError("a secret is resolved for the hosts it goes to")
        asked = binding.canonical(hosts)
        async with self._db.read() as conn:
            plain = await self._value(conn, tenant_id, name)
            bound = await binding.hosts(conn, tenant_id, name)
        if plain is None:
            raise SecretMissing(name)
        if bound is None:
            async with self._db.write() as conn:
                bound = await binding.bind_first(conn, tenant_id, name, asked, self._clock.now_us())
        binding.check(name, bound, asked)
        self._redactor.add(plain, tenant_id)
        return plain

    async def rotate(self, conn: AsyncConnection) -> int:
        """Make a new key and wrap every data key with it; how many. Values are not touched, old keys stay readable.

        Raises:
            vault.KeyFileError: the key file cannot be written.
            vault.Undecipherable: a stored value was altered, or its key is missing; the message names it.
        """
        # The key must be in the file before a row refers to it; a crash between leaves an unused key.
        self._ring.add()
        table = tables.secret
        rows = (await conn.execute(sa.select(table).where(table.c.kek_id != self._ring.active))).all()
        for row in rows:
            try:
                sealed = self._ring.rewrap(_sealed(row), _bound(row.tenant_id, row.name, row.version))
            except vault.Undecipherable as error:
                where = f"secret {row.name}, version {row.version}, of tenant {row.tenant_id}"
                raise vault.Undecipherable(f"{where}: {error}") from None
            this = [table.c.tenant_id == row.tenant_id, table.c.name == row.name, table.c.version == row.version]
            await conn.execute(table.update().where(*this).values(wrapped_key=sealed.wrapped_key, kek_id=sealed.kek_id))
        return len(rows)

    async def _value(self, conn: AsyncConnection, tenant_id: str, name: str) -> str | None:
        plain = await self._mounted(conn, tenant_id, name)
        return await self._stored(conn, tenant_id, name) if plain is None else plain

    async def _mounted(self, conn: AsyncConnection, tenant_id: str, name: str) -> str | None:
        if self._mount is None or (tenant := await _tenant_name(conn, tenant_id)) is None:
            return None
        return self._mount.read(tenant, name)

    async def _stored(self, conn: AsyncConnection, tenant_id: str, name: str) -> str | None:
        table = tables.secret
        query = sa.select(table).where(
            table.c.tenant_id == tenant_id, table.c.name == name, table.c.retired_at.is_(None)
        )
        row = (await conn.execute(query)).one_or_none()
        return None if row is None else self._ring.open_sealed(_sealed(row), _bound(tenant_id, name, row.version))


def _bound(tenant_id: str, name: str, version: int) -> str:
    return f"{tenant_id}|{name}|{version}"


def _sealed(row: Any) -> vault.Sealed:
    return vault.Sealed(row.ciphertext, row.wrapped_key, row.kek_id)


async def _tenant_name(conn: AsyncConnection, tenant_id: str) -> str | None:
    table = tables.tenant
    name: str | None = await conn.scalar(
        sa.select(table.c.name).where(table.c.id == tenant_id, table.c.deleted_at.is_(None))
    )
    return name


def _validate(name: str, value: str) -> None:
    size = len(value.encode(errors="surrogatepass"))
    if not _NAME.fullmatch(name):
        path, message = "name", fields.PATTERN_HELP[fields.SECRET_PATTERN]
    elif len(value) < redaction.MINIMUM:
        path, message = "value", f"shorter than {redaction.MINIMUM} characters, which could not be redacted"
    elif size > mounted.MAXIMUM:
        path, message = "value", f"larger than {mounted.MAXIMUM} bytes"
    elif "\0" in value or size != len(value.encode(errors="ignore")):
        path, message = "value", "it must be text, without NUL"
    else:
        return
    raise errors.Problem("InvalidRequest", f"{path}: {message}", errors=[{"path": path, "message": message}])
