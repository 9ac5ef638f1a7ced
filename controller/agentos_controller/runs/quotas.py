"""Whether a tenant may have one more run: its quota, looked at in the transaction that makes the run.

What runs used is added to their rows when a segment ends, so those at work count with what their earlier segments used:
a quota of tokens or money refuses what comes after it is used up, and may be passed by what is at work then. A run
counts in the UTC day and month in which it was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from agentos_controller import clock, ids, tables
from agentos_controller.runs import states
from agentos_engine import errors

AT_WORK: tuple[states.State, ...] = ("cancelling", "pending", "running")
"""What `concurrentRuns` counts: those in the queue too, those that wait for people not."""
_DAY_US = 24 * 3600 * clock.SECOND
_SUMS = ("costUsdPerDay", "costUsdPerMonth", "tokensPerDay", "tokensPerMonth")


def check(conn: sa.Connection, tenant_id: str, quota: Mapping[str, Any], now: int) -> None:
    """Refuse a further run at `now` (epoch microseconds) where the quota is used up; the tenant is locked till then.

    Raises:
        errors.Problem: ``QuotaExceeded``, with ``quota``, ``limit``, ``used`` and, of sums, ``resetsAt``.
    """
    # SQLite has one writer anyway.
    tenant = tables.tenant
    conn.execute(sa.select(tenant.c.id).where(tenant.c.id == tenant_id).with_for_update(key_share=True)).one()
    if (most := quota.get("concurrentRuns")) is not None:
        working = conn.execute(_working(tenant_id)).scalar_one()
        if working >= most:
            detail = f"{working} runs of the tenant are at work, and its quota.concurrentRuns is {most}"
            raise errors.Problem("QuotaExceeded", detail, quota="concurrentRuns", limit=most, used=working)
    for period, (start, end) in {"Day": _day(now), "Month": _month(now)}.items():
        capped = [name for name in _SUMS if name.endswith(period) and quota.get(name) is not None]
        if capped:
            spent = conn.execute(_spent(tenant_id, start)).one()
            used = {"costUsd": int(spent.cost) / 1_000_000, "tokens": int(spent.tokens)}
            for name in capped:
                _within(name, quota[name], used[name.removesuffix(f"Per{period}")], end)


def _within(name: str, most: float, used: float, end: int) -> None:
    if used >= most:
        resets = clock.rfc3339(end)
        detail = f"the tenant used {used:g} of its quota.{name} ({most:g}); it takes runs again from {resets} on"
        raise errors.Problem("QuotaExceeded", detail, quota=name, limit=most, used=used, resetsAt=resets)


def _working(tenant_id: str) -> sa.Select[Any]:
    run = tables.run
    return sa.select(sa.func.count()).where(run.c.tenant_id == tenant_id, run.c.state.in_(AT_WORK))


def _spent(tenant_id: str, start: int) -> sa.Select[Any]:
    """Sums since `start`. The bound on ids, with a day of slack for clocks, is what lets an index find the rows."""
    run = tables.run
    return sa.select(
        sa.func.coalesce(sa.func.sum(run.c.cost), 0).label("cost"),
        sa.func.coalesce(sa.func.sum(run.c.tokens_in + run.c.tokens_out), 0).label("tokens"),
    ).where(run.c.tenant_id == tenant_id, run.c.id >= ids.floor(start - _DAY_US), run.c.created_at >= start)


def _day(now: int) -> tuple[int, int]:
    start = now - now % _DAY_US
    return start, start + _DAY_US


def _month(now: int) -> tuple[int, int]:
    first = clock.to_datetime(now).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following: datetime = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return clock.from_datetime(first), clock.from_datetime(following)
