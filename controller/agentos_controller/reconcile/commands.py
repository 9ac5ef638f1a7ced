"""Commands are rows: taken by the loop, carried out, answered in the row. Nobody calls the reconciler."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import clock, tables
from agentos_controller.database import Database
from agentos_controller.reconcile import estate, orders, rollback, standing
from agentos_engine import errors

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Taken:
    """A command under way.

    `looks` asks for a look at its sources, `force` for whole rounds of its tenants; `result` is what is known so far.
    """

    id: str
    type: str
    tenants: list[str]
    sources: list[estate.Source]
    looks: bool = False
    force: bool = False
    generation: int | None = None
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def looked(self) -> list[estate.Source]:
        """The sources that have to be looked at before it is done."""
        return self.sources if self.looks else []

    @property
    def reloads(self) -> bool:
        """Whether rows changed that the estate in memory holds."""
        return self.type in ("suspend", "resume", "accept")


async def take(db: Database, known: estate.Estate, time: clock.Clock, but: Set[str] = frozenset()) -> list[Taken]:
    """Take every pending command, and those a process before left under way; `but` are under way here.

    A rollback is carried out at once; the others need the round that follows.
    """
    table = tables.command
    async with db.read() as conn:
        query = sa.select(table).where(table.c.state.in_(("pending", "running"))).order_by(table.c.id)
        rows = (await conn.execute(query)).all()
    taken = []
    for row in rows:
        if row.id in but:
            continue
        try:
            taken.append(await _begin(db, row, known, time))
        except errors.Handled as error:
            await _answer(db, row.id, "failed", {}, error.message, time)
        except Exception as error:
            log.exception("command failed", extra={"command": row.id, "type": row.type})
            await _answer(db, row.id, "failed", {}, f"{type(error).__name__}: {error}", time)
    return taken


async def _begin(db: Database, row: Any, known: estate.Estate, time: clock.Clock) -> Taken:
    table, now = tables.command, time.now_us()
    if row.tenant_id is not None and row.tenant_id not in known.tenants:
        raise errors.Stall("NotFound", "the tenant is gone")
    started = table.update().where(table.c.id == row.id).values(state="running", started_at=now)
    tenants = [row.tenant_id] if row.tenant_id is not None else list(known.tenants)
    sources = [source for source in known.sources if source.tenant_id in tenants]
    taken = Taken(row.id, row.type, tenants, sources)
    if row.type == "reconcile":
        wanted = row.args.get("source")
        if wanted is not None:
            taken.sources = [source for source in sources if wanted in (source.id, source.name)]
            if not taken.sources:
                raise errors.Stall("NotFound", f"there is no source {wanted}")
            taken.tenants = sorted({source.tenant_id for source in taken.sources})
        taken.looks = True
        async with db.write() as conn:
            await conn.execute(started)
        return taken
    taken.force = True
    async with db.write() as conn:
        if row.type == "rollback":
            number, until = int(row.args["generation"]), row.args.get("until")
            taken.generation = await rollback.back(
                conn, row.tenant_id, number, actor=row.actor, reason=row.args.get("reason"), now=now, until=until
            )
            taken.result = {"generation": taken.generation}
            done = table.update().where(table.c.id == row.id)
            await conn.execute(done.values(state="done", result=taken.result, started_at=now, done_at=now))
        else:
            if row.state == "pending":  # else a process died between the order and the round after it
                await _order(conn, row, taken, now)
            await conn.execute(started)
    return taken


async def _order(conn: AsyncConnection, row: Any, taken: Taken, now: int) -> None:
    if row.type == "release":
        await rollback.release(conn, row.tenant_id, actor=row.actor)
    elif row.type == "suspend":
        await orders.suspend(conn, row.tenant_id, row.args, actor=row.actor, now=now)
    elif row.type == "resume":
        await orders.resume(conn, row.tenant_id, row.args, actor=row.actor, now=now)
    elif row.type == "approve-prune":
        taken.result["approved"] = await orders.approve_prune(conn, row.tenant_id, row.args, actor=row.actor, now=now)
    else:
        taken.result["accepted"] = await orders.accept(conn, row.tenant_id, row.args, actor=row.actor, now=now)


async def finish(db: Database, taken: Sequence[Taken], known: estate.Estate, time: clock.Clock) -> None:
    """Answer the commands whose round has been made. A source that cannot be read fails the command."""
    for one in taken:
        if one.type == "rollback":
            continue
        current = {source.id: source for source in known.sources}
        sources = [current[source.id] for source in one.sources if source.id in current]
        broken = [f"{source.name}: {source.message}" for source in sources if source.message is not None]
        result: dict[str, Any] = {
            **one.result,
            "sources": [{"id": source.id, "name": source.name, "revision": source.head} for source in sources],
        }
        error = "; ".join(broken) if broken and one.type == "reconcile" else None
        if one.type != "reconcile":
            async with db.read() as conn:
                row = await standing.row(conn, one.tenants[0])
            result["generation"] = row.active_seq
            if one.type == "approve-prune" and row.prune is not None and row.prune_approved is None:
                error = "what would be removed changed meanwhile: look at it again"
        await _answer(db, one.id, "failed" if error else "done", result, error, time)
    db.notify("commands:done")


async def _answer(
    db: Database, command_id: str, state: str, result: dict[str, Any], error: str | None, time: clock.Clock
) -> None:
    table = tables.command
    async with db.write() as conn:
        done = table.update().where(table.c.id == command_id)
        await conn.execute(done.values(state=state, result=result, error=error, done_at=time.now_us()))
