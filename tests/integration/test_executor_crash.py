"""Executors that are killed: what they had begun goes on elsewhere, what was done is not done again."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agentos_controller import clock, database, tables
from agentos_controller.runs import approvals, events, records
from tests.support import running, serving

ROOT = Path(__file__).parents[2]


def model(name: str, text: str, delay_ms: int = 0) -> dict[str, Any]:
    script = [{"text": text, "delayMs": delay_ms, "usage": {"input": 1, "output": 1}}]
    return {"name": name, "provider": "scripted", "model": "script", "params": {}, "fallbacks": [], "script": script}


MODELS = {"fast": model("fast", "quick"), "slow": model("slow", "at last", 1_500)}
LONG = serving.workflow(
    "long",
    [
        {"id": "first", "type": "llm", "model": "fast", "prompt": "x"},
        {"id": "second", "type": "llm", "model": "slow", "prompt": "y"},
    ],
    models=MODELS,
    output={"first": "${steps.first.output}", "second": "${steps.second.output}"},
)
ASK = serving.workflow(
    "ask",
    [
        {"id": "first", "type": "llm", "model": "fast", "prompt": "x"},
        {"id": "consent", "type": "approve", "by": ["role/lead"], "show": "${steps.first.output}", "quorum": 1},
    ],
    models=MODELS,
    output="${steps.consent.output.decision}",
)
ASK["steps"][1]["next"] = {"approved": "end", "rejected": "end"}


class Person:
    subject = "key:7"
    name = "ann"
    roles = frozenset({"lead"})


@contextlib.asynccontextmanager
async def another_process(url: str, keys: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """An executor in another process; killed at the end of the block, if it was not before."""
    path = os.pathsep.join(str(ROOT / part) for part in ("engine", "controller", "."))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.executor_process",
        url,
        str(keys),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"launched\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_killed_executor_loses_nothing_and_repeats_nothing(
    database: database.Database, database_url: str, tmp_path: Path
) -> None:
    source = clock.SystemClock()
    keys = tmp_path / "key"
    tenant_id = await serving.tenant(database)
    await serving.serve(database, tenant_id, {"Workflow/long": LONG, "Workflow/ask": ASK})
    working = await running.create(database, source, tenant_id, "long", interactive=False)
    waiting = await running.create(database, source, tenant_id, "ask", interactive=False)
    cancelled = await running.create(database, source, tenant_id, "long", interactive=False)
    async with another_process(database_url, keys) as process:
        await running.until(database, waiting.id, "waiting")
        for run in (working, cancelled):
            await event_of(database, tenant_id, run.id, "step.started", "second")
        process.kill()
        await process.wait()
    await records.request_cancel(database, tenant_id, cancelled.id, "key:1", source)
    never_begun = await running.create(database, source, tenant_id, "long", interactive=True)
    (approval,) = await rows(database, tables.approval)
    await approvals.decide(
        database,
        tenant_id,
        approval.id,
        decision="approved",
        value=None,
        comment=None,
        principal=Person(),
        clock=source,
    )
    async with running.executing(database, source, keys):
        row = await running.until(database, working.id)
        assert (row.state, row.attempts, row.segment) == ("succeeded", 2, 0)
        assert row.output == {"first": "quick", "second": "at last"}
        assert (row.tokens_in, row.tokens_out) == (2, 2)
        answered = await running.until(database, waiting.id)
        assert (answered.state, answered.output) == ("succeeded", "approved")
        assert (await running.until(database, cancelled.id)).state == "cancelled"
        assert (await running.until(database, never_begun.id)).state == "succeeded"
    told = [event async for event in events.stream(database, tenant_id, working.id)]
    begun = collections.Counter(event.step_path for event in told if event.type == "step.started")
    assert begun == {"first": 1, "second": 2}
    assert [event.seq for event in told] == sorted({event.seq for event in told})
    assert told[-1].type == "run.succeeded"


async def test_a_stopped_executor_leaves_its_runs_to_the_next(sqlite: database.Database, tmp_path: Path) -> None:
    source = clock.SystemClock()
    tenant_id = await serving.tenant(sqlite)
    await serving.serve(sqlite, tenant_id, {"Workflow/long": LONG})
    async with running.executing(sqlite, source, tmp_path / "key", grace=0.0) as works:
        run = await running.create(sqlite, source, tenant_id, "long")
        works.start(run.id)
        await event_of(sqlite, tenant_id, run.id, "step.started", "second")
    assert (await running.run_row(sqlite, run.id)).state == "running"
    async with running.executing(sqlite, source, tmp_path / "key"):
        row = await running.until(sqlite, run.id)
    assert (row.state, row.attempts) == ("succeeded", 2)


async def event_of(db: database.Database, tenant_id: str, run_id: str, type_: str, step: str) -> None:
    async with asyncio.timeout(20):
        async for event in events.stream(db, tenant_id, run_id):
            if (event.type, event.step_path) == (type_, step):
                return
    raise AssertionError(f"{run_id} ended without {type_} of {step}")


async def rows(db: database.Database, table: Any) -> list[Any]:
    async with db.read() as conn:
        return list((await conn.execute(table.select())).all())
