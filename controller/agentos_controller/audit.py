"""The append-only trail: who changed what, with what outcome, in the transaction of the change itself.

Each row's hash covers the row before it, so an altered, missing or reordered row shows. The chain of a tenant has one
head, locked while a row is appended: it cannot fork. Whoever can rewrite all rows and the head can forge a new chain;
keeping copies elsewhere is the operator's part. Nothing here updates or deletes a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import bulk, clock, ids, redaction, tables

_ORIGIN = "sha256:" + "0" * 64
_FIELDS = ("tenant_id", "seq", "at", "actor", "action", "object", "revision", "outcome", "detail")
_EXACT = 2**53
_system = clock.SystemClock()


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain does not hold: the first `seq` that is wrong, and what is wrong with it."""

    seq: int
    reason: str


async def append(
    conn: AsyncConnection,
    tenant_id: str | None,
    actor: str,
    action: str,
    object: str,  # noqa: A002
    revision: str | None,
    outcome: str,
    detail: Mapping[str, Any] | None = None,
    *,
    at: int | None = None,
) -> int:
    """Append a row in the transaction of `conn`; its number in the tenant's chain.

    `tenant_id` None is the platform. `actor` is a principal's subject or "system"; `action` is ``noun.verb``, `object`
    names the thing (``Kind/name``, ``Run/<id>``). `detail` is JSON; known secrets are taken out. `at` is epoch
    microseconds, by default now. Take no further locks after it: the head is locked until the transaction ends.
    """
    row = (tenant_id, actor, action, object, revision, outcome, detail)
    return await conn.run_sync(lambda sync: record(sync, *row, at=at))


def record(
    conn: sa.Connection,
    tenant_id: str | None,
    actor: str,
    action: str,
    object: str,  # noqa: A002
    revision: str | None,
    outcome: str,
    detail: Mapping[str, Any] | None = None,
    *,
    at: int | None = None,
) -> int:
    """`append` for a transaction that is one function."""
    tenant = tenant_id or ids.NIL
    claimed = conn.execute(_claim(conn.dialect.name), {"tenant_id": tenant, "seq": 1, "hash": _ORIGIN})
    seq, previous = claimed.one()
    row = {
        "tenant_id": tenant,
        "seq": seq,
        "at": _system.now_us() if at is None else at,
        "actor": actor,
        "action": action,
        "object": object,
        "revision": revision,
        "outcome": outcome,
        "detail": _plain(redaction.redactor.clean(dict(detail or {}))),
    }
    digest = _hash(previous, row)
    conn.execute(_APPEND, row | {"prev_hash": previous, "hash": digest})
    conn.execute(_MOVE, {"p_tenant_id": tenant, "p_hash": digest})
    return int(seq)


async def verify(conn: AsyncConnection, tenant_id: str | None) -> Break | None:
    """Walk a tenant's whole chain; None if it holds. Reads in pages, so that its memory is bounded."""
    tenant = tenant_id or ids.NIL
    seq, previous = 0, _ORIGIN
    while True:
        page = (
            sa.select(tables.audit)
            .where(tables.audit.c.tenant_id == tenant, tables.audit.c.seq > seq)
            .order_by(tables.audit.c.seq)
            .limit(1_000)
        )
        rows = (await conn.execute(page)).mappings().all()
        for row in rows:
            if row["seq"] != seq + 1:
                return Break(seq + 1, "the row is missing")
            if row["prev_hash"] != previous:
                return Break(row["seq"], "the row does not follow the one before it")
            if row["hash"] != _hash(previous, row):
                return Break(row["seq"], "the row was altered")
            seq, previous = row["seq"], row["hash"]
        if not rows:
            break
    head = (
        await conn.execute(sa.select(tables.audit_head).where(tables.audit_head.c.tenant_id == tenant))
    ).one_or_none()
    expected = (head.seq, head.hash) if head else (0, _ORIGIN)
    return None if expected == (seq, previous) else Break(seq + 1, "rows are missing at the end")


# Built once: every change of the database appends, and building a statement costs more than executing it.
_APPEND = tables.audit.insert()
_MOVE = (
    tables.audit_head.update()
    .where(tables.audit_head.c.tenant_id == sa.bindparam("p_tenant_id", type_=tables.audit_head.c.tenant_id.type))
    .values(hash=sa.bindparam("p_hash", type_=tables.audit_head.c.hash.type))
)


@cache
def _claim(dialect: str) -> Any:
    head = tables.audit_head
    insert = bulk.insert_in(dialect, head)
    locked = insert.on_conflict_do_update(index_elements=["tenant_id"], set_={"seq": head.c.seq + 1})
    return locked.returning(head.c.seq, head.c.hash)


def _hash(previous: str, row: Mapping[str, Any] | sa.RowMapping) -> str:
    canonical = tables.dump([previous, *(row[name] for name in _FIELDS)])
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """The value as both databases give it back: 2.0 comes back as 2 from PostgreSQL, NUL from neither."""
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, float):
        exact = abs(value) < _EXACT
        return (int(value) if value.is_integer() else value) if exact else repr(value)
    return value
