"""Runs and what they left: steps, events, approvals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.views import forms, paging, shapes
from agentos_engine.errors import Problem

RUNS = "runs"
STEPS = "steps"
EVENTS = "runEvents"
APPROVALS = "approvals"
CURSOR = (paging.Id,)
EVENT_CURSOR = (int,)
STEP_CURSOR = (int, str, int)

_run = tables.run
_step = tables.run_step
_event = tables.run_event
_approval = tables.approval
_SUMMARY = tuple(column for column in _run.c if column.name not in ("input", "output"))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs: of a target, in a state; `live`: that have not ended."""

    kind: str | None = None
    name: str | None = None
    state: str | None = None
    thread: str | None = None
    live: bool = False


async def listed(
    conn: AsyncConnection, tenant_id: str, tenant: str, chosen: Filter, wanted: paging.Page
) -> shapes.Page[shapes.RunSummary]:
    """One page of a tenant's runs, newest first."""
    query = sa.select(*_SUMMARY).where(_run.c.tenant_id == tenant_id).order_by(_run.c.id.desc()).limit(wanted.fetch)
    for column, value in (
        (_run.c.target_kind, chosen.kind),
        (_run.c.target_name, chosen.name),
        (_run.c.state, chosen.state),
        (_run.c.thread_id, chosen.thread),
    ):
        if value is not None:
            query = query.where(column == value)
    if chosen.live:
        query = query.where(_run.c.state.in_(tables.LIVE))
    if wanted.after is not None:
        query = query.where(_run.c.id < wanted.after[0])
    found = (await conn.execute(query)).all()
    rows, cursor = paging.cut(RUNS, found, wanted, lambda row: (row.id,))
    return {"items": [_summary(row, tenant) for row in rows], "nextCursor": cursor}


# Built once: it answers every start of a run, and building it costs more than executing it.
_ROW = sa.select(_run).where(
    _run.c.id == sa.bindparam("p_id", type_=_run.c.id.type),
    _run.c.tenant_id == sa.bindparam("p_tenant_id", type_=_run.c.tenant_id.type),
)


async def row(conn: AsyncConnection, tenant_id: str, run_id: str) -> forms.Row:
    """The row of a run.

    Raises:
        Problem: NotFound.
    """
    found = (await conn.execute(_ROW, {"p_id": run_id, "p_tenant_id": tenant_id})).one_or_none()
    if found is None:
        raise Problem("NotFound", f"there is no run {run_id}")
    return found


def shape(row: forms.Row, tenant: str) -> shapes.Run:
    """A whole run as JSON."""
    return {**_summary(row, tenant), "input": row.input, "output": row.output}


def version(row: forms.Row) -> str:
    """The ETag of a run: it moves with its state and its segments."""
    return f"{row.state}-{row.segment}-{row.updated_at}"


def _summary(row: forms.Row, tenant: str) -> shapes.RunSummary:
    return {
        "id": row.id,
        "tenant": tenant,
        "kind": row.target_kind,
        "name": row.target_name,
        "thread": row.thread_id,
        "state": row.state,
        "outcome": row.outcome,
        "generation": row.generation,
        "digest": row.digest,
        "revision": row.revision,
        "error": row.error,
        "tokensIn": row.tokens_in,
        "tokensOut": row.tokens_out,
        "costUsd": forms.money(row.cost),
        "steps": row.steps,
        "attempts": row.attempts,
        "cause": row.cause or {},
        "createdAt": forms.time(row.created_at),
        "startedAt": forms.time(row.started_at),
        "endedAt": forms.time(row.ended_at),
    }


async def steps(conn: AsyncConnection, run_id: str, wanted: paging.Page) -> shapes.Page[shapes.RunStep]:
    """One page of the steps of a run, in the order in which they began. The caller has checked whose run it is."""
    query = sa.select(_step).where(_step.c.run_id == run_id).order_by(_step.c.number, _step.c.path, _step.c.attempt)
    if wanted.after is not None:
        order = sa.tuple_(_step.c.number, _step.c.path, _step.c.attempt)
        query = query.where(order > sa.tuple_(*wanted.after))
    found = (await conn.execute(query.limit(wanted.fetch))).all()
    rows, cursor = paging.cut(STEPS, found, wanted, lambda row: (row.number, row.path, row.attempt))
    items: list[shapes.RunStep] = [
        {
            "path": row.path,
            "attempt": row.attempt,
            "type": row.type,
            "state": row.state,
            "input": row.input,
            "output": row.output,
            "error": row.error,
            "tokensIn": row.tokens_in,
            "tokensOut": row.tokens_out,
            "costUsd": forms.money(row.cost),
            "startedAt": forms.time(row.started_at),
            "endedAt": forms.time(row.ended_at),
        }
        for row in rows
    ]
    return {"items": items, "nextCursor": cursor}


async def events(conn: AsyncConnection, run_id: str, after: int, wanted: paging.Page) -> shapes.Page[shapes.RunEvent]:
    """One page of the events of a run later than number `after`. The caller has checked whose run it is."""
    start = max(after, int(wanted.after[0])) if wanted.after else after
    query = sa.select(_event).where(_event.c.run_id == run_id, _event.c.seq > start).order_by(_event.c.seq)
    found = (await conn.execute(query.limit(wanted.fetch))).all()
    rows, cursor = paging.cut(EVENTS, found, wanted, lambda row: (row.seq,))
    items = [event_shape(row.seq, row.type, row.step_path, row.data, row.at) for row in rows]
    return {"items": items, "nextCursor": cursor}


def event_shape(seq: int, type_: str, step: str | None, data: Any, at: int) -> shapes.RunEvent:
    """One event of a run as JSON."""
    return {"sequence": seq, "type": type_, "step": step, "data": data or {}, "at": forms.time(at)}


async def approvals(
    conn: AsyncConnection, tenant_id: str, tenant: str, state: str | None, run: str | None, wanted: paging.Page
) -> shapes.Page[shapes.Approval]:
    """One page of a tenant's approvals, newest first."""
    query = sa.select(_approval).where(_approval.c.tenant_id == tenant_id).order_by(_approval.c.id.desc())
    if state is not None:
        query = query.where(_approval.c.state == state)
    if run is not None:
        query = query.where(_approval.c.run_id == run)
    if wanted.after is not None:
        query = query.where(_approval.c.id < wanted.after[0])
    found: Sequence[forms.Row] = (await conn.execute(query.limit(wanted.fetch))).all()
    rows, cursor = paging.cut(APPROVALS, found, wanted, lambda row: (row.id,))
    return {"items": [_approval_shape(row, tenant) for row in rows], "nextCursor": cursor}


async def approval(conn: AsyncConnection, tenant_id: str, tenant: str, approval_id: str) -> shapes.Approval:
    """An approval by id.

    Raises:
        Problem: NotFound.
    """
    query = sa.select(_approval).where(_approval.c.id == approval_id, _approval.c.tenant_id == tenant_id)
    found = (await conn.execute(query)).one_or_none()
    if found is None:
        raise Problem("NotFound", f"there is no approval {approval_id}")
    return _approval_shape(found, tenant)


def approval_version(shown: shapes.Approval) -> str:
    """The ETag of an approval."""
    return f"{shown['state']}-{len(shown['votes'])}"


def _approval_shape(row: forms.Row, tenant: str) -> shapes.Approval:
    return {
        "id": row.id,
        "tenant": tenant,
        "run": row.run_id,
        "step": row.step_path,
        "requestedOf": list(row.requested_of or ()),
        "show": row.show,
        "edit": row.edit,
        "quorum": row.quorum,
        "votes": [_vote(vote) for vote in row.votes or ()],
        "state": row.state,
        "answer": row.answer,
        "comment": row.comment,
        "decidedBy": row.decided_by,
        "decidedAt": forms.time(row.decided_at),
        "createdAt": forms.time(row.created_at),
        "expiresAt": forms.time(row.expires_at),
    }


def _vote(stored: Mapping[str, Any]) -> shapes.Vote:
    return {
        "by": stored["by"],
        "subject": stored["subject"],
        "decision": stored["decision"],
        "at": forms.time(stored["at"]),
    }
