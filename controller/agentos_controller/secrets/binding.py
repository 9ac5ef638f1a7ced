"""Which hosts a secret may go to: those of its first use, until an administrator names others.

Whoever commits a manifest chooses the address that is called, so the address alone must not decide who gets the key.
Stored and mounted secrets are bound alike, by tenant and name. Hosts are written and matched as the egress guard does:
``name``, ``name:port``, ``*.domain``; without a port all ports are meant.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import audit, bulk, tables

FIRST_USE = "system"
"""Who binds a secret that nobody has bound."""

Hosts = tuple[str, ...]

_table = tables.secret_binding
_KEY = ("tenant_id", "name")
# Built once: every call with a key asks.
_HOSTS = sa.select(_table.c.hosts).where(
    *(_table.c[name] == sa.bindparam(name, type_=_table.c[name].type) for name in _KEY)
)


class SecretBound(Exception):
    """The secret is bound to other hosts than those of this use."""

    def __init__(self, name: str, bound: Collection[str], refused: str) -> None:
        super().__init__(
            f"secret {name} is bound to {', '.join(bound)}, and {refused} is not among them: an admin may bind it anew "
            f"with `agentos secret set {name} --host …`"
        )


def canonical(hosts: Iterable[str]) -> Hosts:
    """Hosts as they are kept: in lower case, sorted, each once."""
    return tuple(sorted({host.lower() for host in hosts}))


def check(name: str, bound: Collection[str], asked: Hosts) -> None:
    """Refuse a use that could lead elsewhere.

    Raises:
        SecretBound: a host of `asked` is not covered by `bound`.
    """
    for host in asked:
        if not any(_covers(one, host) for one in bound):
            raise SecretBound(name, bound, host)


async def hosts(conn: AsyncConnection, tenant_id: str, name: str) -> Hosts | None:
    """The hosts a secret is bound to, None before its first use."""
    found = await conn.scalar(_HOSTS, {"tenant_id": tenant_id, "name": name})
    return None if found is None else tuple(found)


async def all_hosts(conn: AsyncConnection, tenant_id: str) -> dict[str, Hosts]:
    """Those of every bound secret of a tenant, by name."""
    found = await conn.execute(sa.select(_table.c.name, _table.c.hosts).where(_table.c.tenant_id == tenant_id))
    return {row.name: tuple(row.hosts) for row in found}


async def bind_first(conn: AsyncConnection, tenant_id: str, name: str, asked: Hosts, now: int) -> Hosts:
    """Bind a secret to the hosts of its first use; those it is bound to, should another use have been first."""
    row = _row(tenant_id, name, asked, FIRST_USE, now)
    insert = bulk.insert(conn, _table).values(row).on_conflict_do_nothing(index_elements=list(_KEY))
    if (await conn.scalar(insert.returning(_table.c.name))) is None:
        return await hosts(conn, tenant_id, name) or ()
    detail = {"hosts": list(asked), "firstUse": True}
    await audit.append(conn, tenant_id, FIRST_USE, "secret.bind", f"Secret/{name}", None, "done", detail, at=now)
    return asked


async def bind(conn: AsyncConnection, tenant_id: str, name: str, given: Iterable[str], actor: str, now: int) -> None:
    """Bind a secret to exactly `given`, whatever it was bound to."""
    row = _row(tenant_id, name, canonical(given), actor, now)
    await bulk.upsert_many(conn, _table, [row], _KEY, ("hosts", "bound_at", "bound_by"))


async def release(conn: AsyncConnection, tenant_id: str, name: str) -> None:
    """Forget what a secret was bound to."""
    await conn.execute(_table.delete().where(_table.c.tenant_id == tenant_id, _table.c.name == name))


def _row(tenant_id: str, name: str, given: Hosts, actor: str, now: int) -> dict[str, object]:
    return {"tenant_id": tenant_id, "name": name, "hosts": list(given), "bound_at": now, "bound_by": actor}


def _covers(bound: str, asked: str) -> bool:
    """Whether the guard lets whatever `asked` reaches be reached by `bound` too."""
    if bound == asked:
        return True
    host, _, port = asked.rpartition(":")
    # What has a colon and no brackets is an IPv6 address, not a name with a port.
    host = host if port.isdecimal() and (":" not in host or host.endswith("]")) else asked
    if bound == host:
        return True
    return bound.startswith("*.") and host.endswith(bound[1:]) and not _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
