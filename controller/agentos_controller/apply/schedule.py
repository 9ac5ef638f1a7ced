"""Schedules: the cursor of each, beside its artifact. The scheduler is told by the channel `generations`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import bulk, tables
from agentos_engine import plan


async def apply(
    conn: AsyncConnection,
    tenant_id: str,
    schedules: Sequence[tuple[str, plan.Entry | None, Mapping[str, Any] | None]],
    now: int,
) -> None:
    """Set the cursors of `schedules` (name, entry, artifact body; no entry: deleted).

    A new one begins now: no tick before it was applied is ever caught up. A changed one keeps its cursor.
    """
    serving = [
        {
            "tenant_id": tenant_id,
            "name": name,
            "artifact_digest": entry.artifact_digest,
            "suspended": bool((body or {}).get("suspend")),
            "last_tick": now,
            "next_tick": None,
            "misses": 0,
        }
        for name, entry, body in schedules
        if entry is not None
    ]
    changing = ("artifact_digest", "suspended", "next_tick")
    await bulk.upsert_many(conn, tables.schedule_state, serving, ("tenant_id", "name"), changing)
    gone = [{"tenant_id": tenant_id, "name": name} for name, entry, _body in schedules if entry is None]
    await bulk.delete_many(conn, tables.schedule_state, gone, ("tenant_id", "name"))
