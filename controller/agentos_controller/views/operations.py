"""What was asked for and by whom: commands, plans, schedules, keys, secrets (never their values), the audit trail."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import ids, tables
from agentos_controller.views import blobs, forms, paging, shapes
from agentos_engine.errors import Problem

KEYS = "keys"
SECRETS = "secrets"
SCHEDULES = "schedules"
AUDIT = "audit"
CHAINS = "chains"
ID_CURSOR = (paging.Id,)
NAME_CURSOR = (str,)
AUDIT_CURSOR = (int, paging.Id, int)
RECENT_FIRES = 5

_tenant = tables.tenant


class Chain(NamedTuple):
    """The chain of one tenant, by id; the platform's has no tenant's name. `entries` is what its head says."""

    id: str
    tenant: str | None
    entries: int


async def command(conn: AsyncConnection, command_id: str, only: str | None) -> shapes.Command:
    """A command by id; of the tenant `only` where given.

    Raises:
        Problem: NotFound.
    """
    stored = tables.command
    query = sa.select(stored, _tenant.c.name.label("tenant")).where(stored.c.id == command_id)
    if only is not None:
        query = query.where(stored.c.tenant_id == only)
    row = (await conn.execute(query.outerjoin_from(stored, _tenant, _tenant.c.id == stored.c.tenant_id))).one_or_none()
    if row is None:
        raise Problem("NotFound", f"there is no command {command_id}")
    return {
        "id": row.id,
        "tenant": row.tenant,
        "type": row.type,
        "args": row.args,
        "state": row.state,
        "actor": row.actor,
        "result": row.result,
        "error": row.error,
        "createdAt": forms.time(row.created_at),
        "startedAt": forms.time(row.started_at),
        "doneAt": forms.time(row.done_at),
    }


async def plan(conn: AsyncConnection, plan_id: str, only: str | None) -> shapes.Plan:
    """A plan by id; of the tenant `only` where given.

    Raises:
        Problem: NotFound.
    """
    stored = tables.plan
    query = sa.select(stored, _tenant.c.name.label("tenant")).where(stored.c.id == plan_id)
    if only is not None:
        query = query.where(stored.c.tenant_id == only)
    row = (await conn.execute(query.join_from(stored, _tenant, _tenant.c.id == stored.c.tenant_id))).one_or_none()
    if row is None:
        raise Problem("NotFound", f"there is no plan {plan_id}")
    return {
        "id": row.id,
        "tenant": row.tenant,
        "state": row.state,
        "baseGeneration": row.base_seq,
        "revision": row.head,
        "digest": row.digest,
        "summary": row.summary or {},
        "changes": blobs.unpack(row.changes) if row.changes else [],
        "diagnostics": blobs.unpack(row.diagnostics) if row.diagnostics else [],
        "error": row.error,
        "requestedBy": row.requested_by,
        "createdAt": forms.time(row.created_at),
        "expiresAt": forms.time(row.expires_at),
    }


async def schedules(conn: AsyncConnection, tenant_id: str, wanted: paging.Page) -> shapes.Page[shapes.ScheduleView]:
    """One page of a tenant's schedules by name, each with its last fires."""
    stored, fire = tables.schedule_state, tables.fire
    body = sa.and_(tables.artifact.c.tenant_id == tenant_id, tables.artifact.c.digest == stored.c.artifact_digest)
    resource = sa.and_(
        tables.resource.c.tenant_id == stored.c.tenant_id,
        tables.resource.c.kind == "Schedule",
        tables.resource.c.name == stored.c.name,
    )
    query = (
        sa.select(stored, tables.artifact.c.body, tables.resource.c.suspended_by)
        .outerjoin_from(stored, tables.artifact, body)
        .outerjoin(tables.resource, resource)
        .where(stored.c.tenant_id == tenant_id)
        .order_by(stored.c.name)
        .limit(wanted.fetch)
    )
    if wanted.after is not None:
        query = query.where(stored.c.name > wanted.after[0])
    rows, cursor = paging.cut(SCHEDULES, (await conn.execute(query)).all(), wanted, lambda row: (row.name,))
    rank = sa.func.row_number().over(partition_by=fire.c.schedule, order_by=fire.c.tick.desc()).label("rank")
    ranked = sa.select(fire, rank).where(fire.c.tenant_id == tenant_id, fire.c.schedule.in_([row.name for row in rows]))
    numbered = ranked.subquery()
    recent: dict[str, list[shapes.Fire]] = defaultdict(list)
    fires = sa.select(numbered).where(numbered.c.rank <= RECENT_FIRES).order_by(numbered.c.tick.desc())
    for row in await conn.execute(fires):
        recent[row.schedule].append(
            {
                "tick": forms.time(row.tick),
                "decision": row.decision,
                "run": row.run_id,
                "latenessSeconds": row.lateness / 1_000_000,
            }
        )
    return {"items": [_schedule_shape(row, recent[row.name]) for row in rows], "nextCursor": cursor}


def _schedule_shape(row: forms.Row, fires: list[shapes.Fire]) -> shapes.ScheduleView:
    body = blobs.unpack(row.body) if row.body else {}
    every = body.get("everyMs")
    return {
        "name": row.name,
        "artifactDigest": row.artifact_digest,
        "cron": body.get("cron"),
        "everySeconds": None if every is None else every / 1000,
        "at": body.get("at"),
        "timezone": body.get("timezone"),
        "lastTick": forms.time(row.last_tick),
        "nextTick": forms.time(row.next_tick),
        "suspended": row.suspended or row.suspended_by is not None,
        "misses": row.misses,
        "fires": fires,
    }


async def keys(conn: AsyncConnection, only: str | None, wanted: paging.Page) -> shapes.Page[shapes.KeyView]:
    """One page of the API keys, oldest first; of the tenant `only` where given. Neither keys nor hashes are shown."""
    query = _keys().order_by(tables.api_key.c.id).limit(wanted.fetch)
    if only is not None:
        query = query.where(tables.api_key.c.tenant_id == only)
    if wanted.after is not None:
        query = query.where(tables.api_key.c.id > wanted.after[0])
    rows, cursor = paging.cut(KEYS, (await conn.execute(query)).all(), wanted, lambda row: (row.id,))
    return {"items": [_key_shape(row) for row in rows], "nextCursor": cursor}


async def key(conn: AsyncConnection, key_id: str, only: str | None) -> shapes.KeyView:
    """An API key by id; of the tenant `only` where given.

    Raises:
        Problem: NotFound.
    """
    query = _keys().where(tables.api_key.c.id == key_id)
    if only is not None:
        query = query.where(tables.api_key.c.tenant_id == only)
    row = (await conn.execute(query)).one_or_none()
    if row is None:
        raise Problem("NotFound", f"there is no key {key_id}")
    return _key_shape(row)


def _keys() -> forms.Query:
    stored = tables.api_key
    return sa.select(stored, _tenant.c.name.label("tenant")).outerjoin_from(
        stored, _tenant, _tenant.c.id == stored.c.tenant_id
    )


def _key_shape(row: forms.Row) -> shapes.KeyView:
    return {
        "id": row.id,
        "name": row.name,
        "prefix": row.prefix,
        "tenant": row.tenant,
        "permissions": list(row.permissions),
        "roles": list(row.roles),
        "createdBy": row.created_by,
        "createdAt": forms.time(row.created_at),
        "expiresAt": forms.time(row.expires_at),
        "revokedAt": forms.time(row.revoked_at),
        "lastUsedAt": forms.time(row.last_used_at),
    }


async def key_tenant(conn: AsyncConnection, key_id: str) -> str | None:
    """Id of the tenant a key is bound to."""
    found: str | None = await conn.scalar(sa.select(tables.api_key.c.tenant_id).where(tables.api_key.c.id == key_id))
    return found


class SecretFacts(Protocol):
    """What a provider may tell of a secret."""

    @property
    def name(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def version(self) -> int | None: ...
    @property
    def created_by(self) -> str | None: ...
    @property
    def created_at(self) -> int | None: ...
    @property
    def hosts(self) -> Sequence[str]: ...


def secrets(found: Sequence[SecretFacts], wanted: paging.Page) -> shapes.Page[shapes.SecretView]:
    """One page of secrets, given in order of their names."""
    later = [secret for secret in found if wanted.after is None or secret.name > str(wanted.after[0])]
    shown, cursor = paging.cut(SECRETS, later, wanted, lambda secret: (secret.name,))
    items: list[shapes.SecretView] = [
        {
            "name": secret.name,
            "provider": secret.provider,
            "version": secret.version,
            "createdBy": secret.created_by,
            "createdAt": forms.time(secret.created_at),
            "hosts": list(secret.hosts),
        }
        for secret in shown
    ]
    return {"items": items, "nextCursor": cursor}


async def chains(conn: AsyncConnection, only: str | None, wanted: paging.Page) -> tuple[list[Chain], str | None]:
    """One page of the chains of the audit trail, the platform's first; that of the tenant `only` where given."""
    every = sa.union(
        sa.select(sa.literal(ids.NIL, tables.audit_head.c.tenant_id.type).label("id")),
        sa.select(tables.audit_head.c.tenant_id),
        sa.select(_tenant.c.id),
    ).subquery()
    head = tables.audit_head
    query = (
        sa.select(every.c.id, _tenant.c.name, sa.func.coalesce(head.c.seq, 0).label("entries"))
        .outerjoin_from(every, _tenant, _tenant.c.id == every.c.id)
        .outerjoin(head, head.c.tenant_id == every.c.id)
    )
    if only is not None:
        query = query.where(every.c.id == only)
    if wanted.after is not None:
        query = query.where(every.c.id > wanted.after[0])
    found = (await conn.execute(query.order_by(every.c.id).limit(wanted.fetch))).all()
    rows, cursor = paging.cut(CHAINS, found, wanted, lambda row: (row.id,))
    return [Chain(row.id, row.name, row.entries) for row in rows], cursor


async def audit(conn: AsyncConnection, only: str | None, wanted: paging.Page) -> shapes.Page[shapes.AuditEntry]:
    """One page of the audit trail, newest first; of the tenant `only` where given."""
    stored = tables.audit
    query = sa.select(stored, _tenant.c.name.label("tenant")).outerjoin_from(
        stored, _tenant, _tenant.c.id == stored.c.tenant_id
    )
    if only is not None:
        query = query.where(stored.c.tenant_id == only)
    if wanted.after is not None:
        at, tenant_id, seq = wanted.after
        query = query.where(
            sa.or_(
                stored.c.at < at,
                sa.and_(stored.c.at == at, stored.c.tenant_id < tenant_id),
                sa.and_(stored.c.at == at, stored.c.tenant_id == tenant_id, stored.c.seq < seq),
            )
        )
    query = query.order_by(stored.c.at.desc(), stored.c.tenant_id.desc(), stored.c.seq.desc()).limit(wanted.fetch)
    rows, cursor = paging.cut(
        AUDIT, (await conn.execute(query)).all(), wanted, lambda row: (row.at, row.tenant_id, row.seq)
    )
    items: list[shapes.AuditEntry] = [
        {
            "tenant": None if row.tenant_id == ids.NIL else row.tenant,
            "sequence": row.seq,
            "at": forms.time(row.at),
            "actor": row.actor,
            "action": row.action,
            "object": row.object,
            "revision": row.revision,
            "outcome": row.outcome,
            "detail": row.detail or {},
        }
        for row in rows
    ]
    return {"items": items, "nextCursor": cursor}
