"""Answers to open questions: who may give one, what it does, and what happens when nobody does in time.

An answer is bound to its interrupt and the first one counts, by the row's own state. A run that waits goes on in the
same transaction; one that is still busy with another answer picks this one up when it comes to wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import jsonschema_rs
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import audit, clock, database, tables
from agentos_controller.runs import queue, records, segments
from agentos_engine import artifacts, errors

DECISIONS = ("approved", "rejected")


class Principal(Protocol):
    """Who decides: `subject` is ``key:<id>`` or the like, `name` what people call it, `roles` are names of Roles."""

    @property
    def subject(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def roles(self) -> Iterable[str]: ...


async def decide(
    db: database.Database,
    tenant_id: str,
    approval_id: str,
    *,
    decision: str,
    value: Any,
    comment: str | None,
    principal: Principal,
    clock: clock.Clock,
    starter: queue.Starter | None = None,
) -> dict[str, Any]:
    """Answer an approval: ``approved`` or ``rejected``, with an edited `value` where the question allows one.

    Returns ``{id, runId, state, votes}``; `state` stays ``open`` while a quorum is not reached.

    Raises:
        errors.Problem: ``NotFound``; ``Forbidden`` (not asked of this principal); ``Conflict`` (decided already, by
            another, or twice by the same); ``InvalidRequest`` (no such decision, the value does not fit).
    """
    if decision not in DECISIONS:
        raise errors.Problem("InvalidRequest", f"A decision is approved or rejected, not {decision!r}")
    now = clock.now_us()
    async with db.write() as conn:
        row = await _open(conn, tenant_id, approval_id)
        _authorize(row, principal)
        answer = _answer(row, decision, value)
        who = principal.name or principal.subject
        votes = list(row.votes or ())
        if any(vote["subject"] == principal.subject for vote in votes):
            raise errors.Problem("Conflict", "You approved this already; it takes others too")
        votes.append({"subject": principal.subject, "by": who, "decision": decision, "at": now})
        enough = decision == "rejected" or len(votes) >= row.quorum
        table = tables.approval
        done = await conn.execute(
            sa.update(table)
            .where(table.c.id == approval_id, table.c.state == "open")
            .values(
                votes=votes,
                **(
                    {"state": decision, "answer": answer, "comment": comment, "decided_by": who, "decided_at": now}
                    if enough
                    else {}
                ),
            )
        )
        if not done.rowcount:
            raise errors.Problem("Conflict", "The approval was decided already")
        if enough:
            await _go_on(conn, row, decision, who, now, starter)
        detail = {"run": row.run_id, "step": row.step_path, "comment": comment}
        who, action = principal.subject, "approval.decide"
        await audit.append(conn, tenant_id, who, action, f"Approval/{approval_id}", None, decision, detail, at=now)
    _signal(db, [row.run_id])
    return {
        "id": approval_id,
        "runId": row.run_id,
        "state": decision if enough else "open",
        "votes": len(votes),
    }


async def expire(db: database.Database, now: int, starter: queue.Starter | None, limit: int = 500) -> int:
    """Close every open approval whose time is over; its run goes on with the outcome ``expired``. How many."""
    table = tables.approval
    async with db.read() as conn:
        late = (
            await conn.execute(
                sa.select(table.c.id)
                .where(table.c.state == "open", table.c.expires_at <= now)
                .order_by(table.c.expires_at)
                .limit(limit)
            )
        ).scalars()
        due = list(late)
    if not due:
        return 0
    async with db.write() as conn:
        closed = (
            await conn.execute(
                sa.update(table)
                .where(table.c.id.in_(due), table.c.state == "open")
                .values(state="expired", decided_by="system", decided_at=now)
                .returning(table.c.id, table.c.tenant_id, table.c.run_id, table.c.step_path)
            )
        ).all()
        for row in closed:
            await _go_on(conn, row, "expired", "system", now, starter)
        for row in closed:
            detail = {"run": row.run_id, "step": row.step_path}
            await audit.append(
                conn, row.tenant_id, "system", "approval.expire", f"Approval/{row.id}", None, "expired", detail, at=now
            )
    _signal(db, [row.run_id for row in closed])
    return len(closed)


async def next_expiry(db: database.Database) -> int | None:
    """When the next open approval expires, in epoch microseconds."""
    table = tables.approval
    async with db.read() as conn:
        found: int | None = await conn.scalar(
            sa.select(sa.func.min(table.c.expires_at)).where(table.c.state == "open", table.c.expires_at.is_not(None))
        )
        return found


async def answers(db: database.Database, run_id: str) -> dict[str, dict[str, Any]]:
    """What every decided interrupt of a run is answered with, by interrupt id.

    ``{decision, value, by, at, comment}``, `at` in RFC 3339. An interrupt that was passed before has no use for its
    answer and leaves it.
    """
    table = tables.approval
    async with db.read() as conn:
        rows = await conn.execute(
            sa.select(table).where(
                table.c.run_id == run_id, table.c.state.in_(("approved", "rejected", "answered", "expired"))
            )
        )
        return {
            row.interrupt_id: {
                "decision": row.state,
                "value": row.answer,
                "by": row.decided_by,
                "at": clock.rfc3339(row.decided_at),
                "comment": row.comment,
            }
            for row in rows
        }


async def _open(conn: AsyncConnection, tenant_id: str, approval_id: str) -> Any:
    approval, run = tables.approval, tables.run
    row = (
        await conn.execute(
            sa.select(approval, run.c.actor.label("author"))
            .join(run, run.c.id == approval.c.run_id)
            .where(approval.c.id == approval_id, approval.c.tenant_id == tenant_id)
            .with_for_update(of=approval)
        )
    ).one_or_none()
    if row is None:
        raise errors.Problem("NotFound", f"There is no approval {approval_id}")
    if row.state != "open":
        raise errors.Problem("Conflict", f"The approval was decided already: {row.state}", state=row.state)
    return row


def _authorize(row: Any, principal: Principal) -> None:
    mine = {f"role/{role}" for role in principal.roles}
    mine |= {f"user/{principal.subject}", f"user/{principal.name}"}
    if row.author in (principal.subject, principal.name):
        mine.add("user")
    if not mine.intersection(row.requested_of):
        raise errors.Problem(
            "Forbidden", f"This is asked of {' or '.join(row.requested_of)}", requestedOf=list(row.requested_of)
        )


def _answer(row: Any, decision: str, value: Any) -> Any:
    """What the step gets as `value`: what was shown, or the edit."""
    if decision == "rejected" or value is None:
        return row.show
    if row.edit is None:
        raise errors.Problem("InvalidRequest", "This approval does not allow an edited value")
    found = next(iter(_validator(row.edit).iter_errors(value)), None)
    if found is not None:
        path = "/value" + "".join(f"/{part}" for part in found.instance_path)
        raise errors.Problem(
            "InvalidRequest",
            f"The edited value is not valid at {path}: {found.message}",
            errors=[{"path": path, "message": found.message}],
        )
    return value


def _validator(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(artifacts.canonical(schema).decode(), offline=True)


async def _go_on(
    conn: AsyncConnection, row: Any, decision: str, who: str, now: int, starter: queue.Starter | None
) -> None:
    """The next segment, if the run waits. The event is ours to write only then: a working segment counts its own."""
    if await segments.resume(conn, row.run_id, now, starter):
        await records.append_event(
            conn,
            row.tenant_id,
            row.run_id,
            "approval.decided",
            {"approval": row.id, "step": row.step_path, "decision": decision, "by": who},
            now,
        )


def _signal(db: database.Database, run_ids: Iterable[str]) -> None:
    db.notify(queue.QUEUE)
    db.notify("approvals")
    for run_id in set(run_ids):
        db.notify(f"run:{run_id}")
