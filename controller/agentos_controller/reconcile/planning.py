"""Plans: what a revision, or uncommitted files, would change in what serves. Nothing is applied.

A plan is the same build as a round, over the same job, with the outcome shown instead of written. Holds, suspensions
of the tenant and the guard of removals are looked through: a plan says what would serve without them. Requests are
rows (`plan`), answered in the row.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import sqlalchemy as sa
import zstandard

from agentos_controller import clock, tables
from agentos_controller.database import Database
from agentos_controller.reconcile import estate, gather, isolation, jobs, movement, rounds, ruling, values
from agentos_controller.source import overlay
from agentos_engine import artifacts, diff, errors

log = logging.getLogger(__name__)

MAX_FIELDS = 200
"""Differences shown of one resource; a reviewer reads no more."""


async def pending(
    db: Database,
    known: estate.Estate,
    seen: ruling.Rulings,
    policies: jobs.Policies,
    isolated: isolation.Isolation,
    time: clock.Clock,
) -> None:
    """Make every plan that was asked for."""
    table = tables.plan
    async with db.read() as conn:
        rows = (await conn.execute(sa.select(table).where(table.c.state == "pending").order_by(table.c.id))).all()
    for row in rows:
        columns: dict[str, Any]
        try:
            tenant = known.tenants.get(row.tenant_id)
            if tenant is None:
                raise errors.Stall("NotFound", "the tenant is gone")
            files = orjson.loads(zstandard.decompress(row.request)) if row.request is not None else None
            made = await make(db, tenant, seen, policies, isolated, revision=row.head, files=files, now=time.now_us())
            columns = {
                "state": "open",
                "base_seq": made["baseGeneration"],
                "head": made["revision"],
                "digest": made["digest"],
                "summary": made["summary"],
                "changes": _pack(made["changes"]),
                "diagnostics": _pack(made["diagnostics"]),
            }
        except errors.Handled as error:
            columns = {"state": "failed", "error": error.message}
        except Exception as error:
            log.exception("plan failed", extra={"plan": row.id})
            columns = {"state": "failed", "error": f"{type(error).__name__}: {error}"}
        async with db.write() as conn:
            await conn.execute(table.update().where(table.c.id == row.id).values(**columns))
    if rows:
        db.notify("commands:done")


async def make(
    db: Database,
    tenant: estate.Tenant,
    seen: ruling.Rulings,
    policies: jobs.Policies,
    isolated: isolation.Isolation,
    *,
    revision: str | None,
    files: Mapping[str, str] | None,
    now: int,
) -> dict[str, Any]:
    """The plan of `tenant` at `revision`, or with `files` (path to text) in place of those of its first source.

    Raises:
        errors.Stall: no source of the tenant has the revision, or none can be read.
    """
    views = movement.look(tenant, seen)
    if revision is not None and files is None:
        views = _at(views, seen, revision)
    if files is not None:
        first = next((view for view in views if view.snapshot is not None), None)
        if first is None or first.snapshot is None:
            raise errors.Stall("SourceUnavailable", "no source of the tenant can be read")
        content = {path: text.encode() for path, text in files.items()}
        first.snapshot = overlay.Overlay(first.snapshot, content)
    prepared = await rounds.prepare(db, tenant, views, policies, isolated, force=False, now=now, obey=False)
    built = await prepared.build(isolated)
    changes = await _changes(db, prepared, built)
    stalled = [
        {"kind": row["kind"], "name": row["name"], "reason": row["reason"], "message": row["message"]}
        for row in built.resources
        if row["ready"] != "True"
    ]
    actions = [change["action"] for change in changes]
    errors_ = sum(1 for row in built.diagnostics if row["severity"] == "error")
    return {
        "baseGeneration": prepared.job.tenant.active_seq,
        "revision": revision or next((view.revision for view in views), None),
        "digest": artifacts.digest_of([[change["kind"], change["name"], change["after"]] for change in changes]),
        "summary": {
            **{action: actions.count(action) for action in ("created", "changed", "deleted")},
            "errors": errors_,
            "warnings": len(built.diagnostics) - errors_,
            "stalled": stalled,
        },
        "changes": changes,
        "diagnostics": [_diagnostic(row) for row in built.diagnostics],
    }


async def plan_revision(
    db: Database,
    tenant: estate.Tenant,
    seen: ruling.Rulings,
    policies: jobs.Policies,
    isolated: isolation.Isolation,
    revision: str,
    now: int,
) -> dict[str, Any]:
    """What the commit `revision` would change in `tenant`; see `make`."""
    return await make(db, tenant, seen, policies, isolated, revision=revision, files=None, now=now)


def _at(views: list[movement.View], seen: ruling.Rulings, revision: str) -> list[movement.View]:
    found = []
    for view in views:
        where = view.source.address
        tree = seen.known.snapshot(where, revision, view.source.path) if where is not None else None
        found.append(replace(view, revision=revision, snapshot=tree) if tree is not None else view)
    if not any(view.revision == revision and view.snapshot is not None for view in found):
        raise errors.Stall("SourceInvalid", f"no source of the tenant has the commit {revision[:12]}")
    return found


async def _changes(db: Database, prepared: rounds.Round, built: values.Built) -> list[dict[str, Any]]:
    digests = [one.change.old.artifact_digest for one in built.applied if one.change.old is not None]
    async with db.read() as conn:
        bodies = await gather.bodies(conn, prepared.tenant.id, digests)
    interfaces = {(row["kind"], row["name"]): row["interface"] for row in built.resources}
    changes = []
    for one in built.applied:
        ref, old, new = one.change.ref, one.change.old, one.change.new
        packed = bodies.get(old.artifact_digest) if old is not None else None
        before = orjson.loads(zstandard.decompress(packed)) if packed is not None else None
        after = one.body
        if packed is None and after is None:
            # A kind that emits no artifact: what others see of it is compared.
            stored = prepared.job.stored.get(ref)
            before = stored.interface if stored is not None else None
            after = interfaces.get((ref.kind, ref.name)) if new is not None else None
        fields = diff.diff(before, after) if old is not None and new is not None else []
        changes.append(
            {
                "action": one.change.action,
                "kind": ref.kind,
                "name": ref.name,
                "path": one.path,
                "line": one.line,
                "before": old.digest if old is not None else None,
                "after": new.digest if new is not None else None,
                "fields": [change.as_json() for change in fields[:MAX_FIELDS]],
            }
        )
    return changes


def _diagnostic(row: values.Row) -> dict[str, Any]:
    shown = {key: row[key] for key in ("code", "severity", "path", "line", "message", "hint")}
    return {**shown, "column": row["col"]}


def _pack(value: Any) -> bytes:
    return zstandard.ZstdCompressor().compress(artifacts.canonical(value))
