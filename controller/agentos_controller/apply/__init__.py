"""What an artifact's type needs beyond its own row when a generation is swapped: one file per type that needs anything.

Graphs, connectors, triggers and policies are used straight from their rows. Appliers know artifacts, never kinds, and
run inside the transaction of the swap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller.apply import access, schedule
from agentos_engine import plan


class Applied(Protocol):
    """One effective change: `type` and `body` are those of the new artifact, None where there is none."""

    @property
    def change(self) -> plan.Change: ...
    @property
    def type(self) -> str | None: ...
    @property
    def body(self) -> Mapping[str, Any] | None: ...


async def all_types(conn: AsyncConnection, tenant_id: str, applied: Sequence[Applied], now: int) -> None:
    """Apply what a generation changes in `tenant_id`; `now` in epoch microseconds."""
    schedules = [one for one in applied if one.type == "schedule" or one.change.ref.kind == "Schedule"]
    if schedules:
        await schedule.apply(
            conn, tenant_id, [(one.change.ref.name, one.change.new, one.body) for one in schedules], now
        )
    tenants = [one for one in applied if one.change.ref.kind == "Tenant"]
    if tenants:
        await access.apply(conn, [(one.change.ref.name, one.body) for one in tenants], now)
