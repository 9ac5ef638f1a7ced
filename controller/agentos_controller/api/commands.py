"""Commands: what the controller shall do, as rows. The API writes them and never calls the reconciler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import audit, ids, tables
from agentos_controller.api import deps, idempotency
from agentos_controller.views import operations

CHANNEL = "commands"
"""Notified when something was asked for."""
DONE = "commands:done"
"""Notified when a command or a plan is done."""
Check = Callable[[AsyncConnection], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A command. `subject` is what the trail names; `check` may refuse it inside of the transaction that writes it."""

    type: Literal["reconcile", "rollback", "release", "suspend", "resume", "approve-prune", "accept"]
    tenant_id: str | None
    args: Mapping[str, Any]
    subject: str
    check: Check | None = None


async def accept(call: deps.Call, wanted: Wanted) -> idempotency.Outcome:
    """Write a command and wake the controller."""
    command_id = ids.new()
    db = call.parts.database
    async with db.write() as conn:
        if wanted.check is not None:
            await wanted.check(conn)
        await conn.execute(
            sa.insert(tables.command).values(
                id=command_id,
                tenant_id=wanted.tenant_id,
                type=wanted.type,
                args=dict(wanted.args),
                state="pending",
                actor=call.actor,
                created_at=call.parts.clock.now_us(),
            )
        )
        await audit.append(
            conn,
            wanted.tenant_id,
            call.actor,
            f"{wanted.type}.request",
            wanted.subject,
            None,
            "accepted",
            {"command": command_id, "args": dict(wanted.args)},
        )
        shown = await operations.command(conn, command_id, None)
    db.notify(CHANNEL)
    return idempotency.Outcome(shown, 202, {"location": f"/v1/commands/{command_id}"})
