"""The statements of every run's way from its making to its end, built once.

Building a statement costs several times what executing it does, and these run for every run. Parameters that would
share a name with a column begin with ``p_``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from agentos_controller import bulk, tables
from agentos_controller.runs import states

_run, _event, _step = tables.run, tables.run_event, tables.run_step
_thread, _tenant, _item, _resource = tables.thread, tables.tenant, tables.generation_item, tables.resource


def _given(name: str, column: sa.Column[Any]) -> sa.BindParameter[Any]:
    return sa.bindparam(f"p_{name}", type_=column.type)


PIN = (
    sa.select(
        _tenant.c.state,
        _tenant.c.active_seq,
        _tenant.c.name,
        _tenant.c.spec,
        _item.c.digest,
        _item.c.artifact_digest,
        _item.c.revision,
        sa.select(_resource.c.drain_until)
        .where(
            _resource.c.tenant_id == _given("tenant_id", _resource.c.tenant_id),
            _resource.c.kind == _given("kind", _resource.c.kind),
            _resource.c.name == _given("name", _resource.c.name),
        )
        .scalar_subquery()
        .label("drain_until"),
    )
    .select_from(
        _tenant.outerjoin(
            _item,
            sa.and_(
                _item.c.tenant_id == _tenant.c.id,
                _item.c.kind == _given("kind", _item.c.kind),
                _item.c.name == _given("name", _item.c.name),
                _item.c.to_seq.is_(None),
            ),
        )
    )
    .where(_tenant.c.id == _given("tenant_id", _tenant.c.id))
)
"""What serves under a kind and name, until when it drains, and the state of the tenant.

Takes p_tenant_id, p_kind, p_name.
"""

RUN = sa.insert(_run)
EVENT = sa.insert(_event)
THREAD = sa.insert(_thread)
"""For a thread that is new with its run; any other is taken by `claim`."""

BEGIN = (
    sa.update(_run)
    .where(
        _run.c.id == _given("run_id", _run.c.id),
        _run.c.segment == _given("segment", _run.c.segment),
        _run.c.state.in_(states.before("running")),
    )
    .values(
        state="running",
        fence=_run.c.fence + 1,
        attempts=_run.c.attempts + 1,
        started_at=sa.func.coalesce(_run.c.started_at, _given("now", _run.c.started_at)),
        updated_at=_given("now", _run.c.started_at),
    )
    .returning(
        *(column for column in _run.c if column.name not in ("output", "error")),
        sa.select(_tenant.c.name).where(_tenant.c.id == _run.c.tenant_id).scalar_subquery().label("tenant_name"),
        sa.select(_tenant.c.spec).where(_tenant.c.id == _run.c.tenant_id).scalar_subquery().label("tenant_spec"),
        sa.select(sa.func.max(_event.c.seq)).where(_event.c.run_id == _run.c.id).scalar_subquery().label("last_seq"),
        sa.select(sa.func.max(_step.c.number))
        .where(_step.c.run_id == _run.c.id)
        .scalar_subquery()
        .label("last_number"),
    )
)
"""Takes a pending run under a new fence. Takes p_run_id, p_segment, p_now."""

RELEASE = (
    sa.update(_thread)
    .where(
        _thread.c.tenant_id == _given("tenant_id", _thread.c.tenant_id),
        _thread.c.id == _given("thread_id", _thread.c.id),
        _thread.c.active_run_id == _given("run_id", _run.c.id),
    )
    .values(active_run_id=None, state="idle", updated_at=_given("now", _thread.c.updated_at))
)
"""Gives a thread back. Takes p_tenant_id, p_thread_id, p_run_id, p_now."""

FOLLOW = (
    sa.update(_run)
    .where(
        _run.c.tenant_id == _given("tenant_id", _run.c.tenant_id),
        _run.c.state == "pending",
        _run.c.queue == _given("queue", _run.c.queue),
    )
    .values(queue=None)
)
"""Lets the runs go on that waited for one. Takes p_tenant_id, p_queue."""


@cache
def end(state: states.State) -> sa.Update:
    """Ends a run under its fence, adds what it used, and answers its row.

    Takes p_run_id, p_fence, p_now, p_tokens_in, p_tokens_out, p_cost, p_steps, p_output, p_outcome, p_reason, p_error.
    """
    return (
        sa.update(_run)
        .where(
            _run.c.id == _given("run_id", _run.c.id),
            _run.c.fence == _given("fence", _run.c.fence),
            _run.c.state.in_(states.before(state)),
        )
        .values(
            state=state,
            ended_at=_given("now", _run.c.ended_at),
            updated_at=_given("now", _run.c.ended_at),
            **{
                name: _run.c[name] + _given(name, _run.c[name]) for name in ("tokens_in", "tokens_out", "cost", "steps")
            },
            **{name: _given(name, _run.c[name]) for name in ("output", "outcome", "reason", "error")},
        )
        .returning(*_run.c)
    )


@cache
def claim(dialect: str) -> Any:
    """Makes a thread, or takes one that has no run; answers its id, or nothing if it is busy."""
    insert = bulk.insert_in(dialect, _thread)
    taken = ("digest", "revision", "target_kind", "target_name", "state", "active_run_id", "updated_at")
    return insert.on_conflict_do_update(
        index_elements=["tenant_id", "id"],
        set_={name: insert.excluded[name] for name in taken},
        where=_thread.c.active_run_id.is_(None),
    ).returning(_thread.c.id)
