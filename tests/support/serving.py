"""A tenant that serves given artifacts, written as the reconciler writes it, for tests that begin at a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
import zstandard

from agentos_controller import bulk, database, ids, tables
from agentos_engine import artifacts

REVISION = "1" * 40


async def tenant(db: database.Database, name: str = "default", now: int = 0) -> str:
    """A new, active tenant without anything in it; its id."""
    tenant_id = ids.new()
    async with db.write() as conn:
        await conn.execute(
            sa.insert(tables.tenant).values(
                id=tenant_id, name=name, platform=False, state="active", ready="True", active_seq=None, created_at=now
            )
        )
    return tenant_id


async def serve(db: database.Database, tenant_id: str, bodies: Mapping[str, Mapping[str, Any]], now: int = 0) -> int:
    """Let the tenant serve `bodies` (``Kind/name`` → artifact body) from a new generation on; its number."""
    run = tables.generation_item
    made = [artifacts.Artifact(_type(name), name, dict(body)) for name, body in bodies.items()]
    async with db.write() as conn:
        seq = (await conn.scalar(sa.select(tables.tenant.c.active_seq).where(tables.tenant.c.id == tenant_id)) or 0) + 1
        for artifact in made:
            data = artifacts.canonical(artifact.body)
            row = {
                "tenant_id": tenant_id,
                "digest": artifact.digest,
                "type": artifact.type,
                "name": artifact.name,
                "body": zstandard.ZstdCompressor().compress(data),
                "size": len(data),
                "compiler": artifacts.COMPILER,
                "first_at": now,
            }
            await bulk.upsert_many(conn, tables.artifact, [row], ["tenant_id", "digest"])
            kind, _, short = artifact.name.partition("/")
            await conn.execute(
                sa.update(run)
                .where(run.c.tenant_id == tenant_id, run.c.kind == kind, run.c.name == short, run.c.to_seq.is_(None))
                .values(to_seq=seq)
            )
            item = {
                "tenant_id": tenant_id,
                "kind": kind,
                "name": short,
                "from_seq": seq,
                "digest": artifact.digest,
                "artifact_digest": artifact.digest,
                "path": f"workflows/{short}.yaml",
                "line": 1,
                "revision": REVISION,
            }
            await bulk.insert_many(conn, run, [item])
            if kind == "Schedule":
                state = {
                    "tenant_id": tenant_id,
                    "name": short,
                    "artifact_digest": artifact.digest,
                    "suspended": False,
                    "misses": 0,
                }
                await bulk.upsert_many(conn, tables.schedule_state, [state], ["tenant_id", "name"], ["artifact_digest"])
        await conn.execute(
            sa.update(tables.generation).where(tables.generation.c.tenant_id == tenant_id).values(state="superseded")
        )
        await conn.execute(
            sa.insert(tables.generation).values(
                tenant_id=tenant_id,
                seq=seq,
                revision=REVISION,
                state="applied",
                cause={"type": "push"},
                actor="system",
                changes=len(made),
                applied_at=now,
            )
        )
        await conn.execute(sa.update(tables.tenant).where(tables.tenant.c.id == tenant_id).values(active_seq=seq))
    db.notify("generations")
    return seq


def digest_of(name: str, body: Mapping[str, Any]) -> str:
    """The digest under which `serve` stores `body`."""
    return artifacts.Artifact(_type(name), name, dict(body)).digest


def workflow(
    name: str, steps: list[dict[str, Any]], *, takes: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """The body of a workflow's graph; steps fall through in order unless they say otherwise."""
    return {
        "form": "workflow",
        "name": name,
        "description": "",
        "input": takes,
        "state": {},
        "entry": steps[0]["id"],
        "steps": [
            {"line": 1, "onError": {}, "next": {"done": steps[at + 1]["id"] if at + 1 < len(steps) else "end"}, **step}
            for at, step in enumerate(steps)
        ],
        "output": None,
        "outcomes": ["done"],
        "limits": {},
        "models": {},
        "uses": {},
        "$defs": {},
        **more,
    }


def _type(name: str) -> artifacts.ArtifactType:
    types: dict[str, artifacts.ArtifactType] = {"Schedule": "schedule", "Connector": "connector", "Trigger": "trigger"}
    types |= {"Role": "access", "Tenant": "access"}
    return types.get(name.partition("/")[0], "graph")
