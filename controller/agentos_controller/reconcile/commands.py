"""Commands are rows: taken by the loop, carried out, answered in the row. Nobody calls the reconciler."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from agentos_controller import clock, tables
from agentos_controller.database import Database
from agentos_controller.reconcile import estate, rollback
from agentos_engine import errors

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Taken:
    """A command under way. `looks` asks for a look at its sources, `force` for whole rounds of its tenants."""

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
            number = int(row.args["generation"])
            taken.generation = await rollback.back(
                conn, row.tenant_id, number, actor=row.actor, reason=row.args.get("reason"), now=now
            )
            taken.result = {"generation": taken.generation}
            done = table.update().where(table.c.id == row.id)
            await conn.execute(done.values(state="done", result=taken.result, started_at=now, done_at=now))
        else:
            if row.state == "pending":  # else a process died between the release and the round after it
                await rollback.release(conn, row.tenant_id, actor=row.actor, now=now)
            await conn.execute(started)
    return taken


async def finish(db: Database, taken: Sequence[Taken], known: estate.Estate, time: clock.Clock) -> None:
    """Answer the commands whose round has been made. A source that cannot be read fails the command."""
    for one in taken:
        if one.type == "rollback":
            continue
        current = {source.id: source for source in known.sources}
        sources = [current[source.id] for source in one.sources if source.id in current]
        broken = [f"{source.name}: {source.message}" for source in sources if source.message is not None]
        result: dict[str, Any] = {
            "sources": [{"id": source.id, "name": source.name, "revision": source.head} for source in sources]
        }
        if one.type == "release":
            tenant = tables.tenant
            async with db.read() as conn:
                seq = await conn.scalar(sa.select(tenant.c.active_seq).where(tenant.c.id == one.tenants[0]))
            result["generation"] = seq
        failed = bool(broken) and one.type == "reconcile"
        await _answer(db, one.id, "failed" if failed else "done", result, "; ".join(broken) if failed else None, time)
    db.notify("commands:done")


async def _answer(
    db: Database, command_id: str, state: str, result: dict[str, Any], error: str | None, time: clock.Clock
) -> None:
    table = tables.command
    async with db.write() as conn:
        done = table.update().where(table.c.id == command_id)
        await conn.execute(done.values(state=state, result=result, error=error, done_at=time.now_us()))
