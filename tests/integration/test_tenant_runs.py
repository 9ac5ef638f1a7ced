"""What the manifest of a tenant means for its runs: variables and limits, from the rows to the run's end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from agentos_controller import clock, database, tables
from tests.support import running, serving

MODEL = {
    "name": "fast", "provider": "scripted", "model": "script", "params": {}, "fallbacks": [],
    "script": [{"text": "ok", "usage": {"input": 10, "output": 5}}],
}  # fmt: skip
TALK = serving.workflow(
    "talk",
    [{"id": step, "type": "llm", "model": "fast", "prompt": "${vars.region}"} for step in ("one", "two", "three")],
    models={"fast": MODEL},
    output="${vars.region}/${tenant.labels.team}",
)


async def specify(db: database.Database, tenant_id: str, **spec: Any) -> None:
    """Set the tenant's access artifact, as the reconciler does it."""
    table = tables.tenant
    async with db.write() as conn:
        await conn.execute(sa.update(table).where(table.c.id == tenant_id).values(spec=spec, quota=spec.get("quota")))


async def test_vars_and_limits_of_a_tenant_reach_its_runs(
    database: database.Database, clock: clock.ManualClock, tmp_path: Path
) -> None:
    tenant_id = await serving.tenant(database)
    await serving.serve(database, tenant_id, {"Workflow/talk": TALK})
    await specify(database, tenant_id, vars={"region": "eu"}, labels={"team": "growth"}, limits={"tokens": 45})
    async with running.executing(database, clock, tmp_path / "keys") as works:
        for interactive in (True, False):
            made = await running.create(database, clock, tenant_id, "talk", starter=works, interactive=interactive)
            ended = await running.until(database, made.id)
            assert (ended.state, ended.output) == ("succeeded", "eu/growth")
        await specify(database, tenant_id, vars={"region": "eu"}, limits={"tokens": 30})
        made = await running.create(database, clock, tenant_id, "talk", starter=works)
        ended = await running.until(database, made.id)
    assert (ended.state, ended.reason, ended.tokens_in + ended.tokens_out) == ("failed", "BudgetExceeded", 30)
    assert ended.error["message"] == "limits.tokens of the run (30, set for the tenant) is used up"
