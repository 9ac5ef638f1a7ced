"""An executor on a test's database, with nothing to reach outside."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from agentos_controller import clock, database, secrets, tables
from agentos_controller.runs import executor, records


class NoGuard:
    """Reaches nothing."""

    def client(self, hosts: Sequence[str]) -> httpx.AsyncClient:
        def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("nothing is reached from here", request=request)

        return httpx.AsyncClient(transport=httpx.MockTransport(refuse))


@contextlib.asynccontextmanager
async def executing(
    db: database.Database,
    source: clock.Clock,
    keys: Path,
    *,
    vault: secrets.Secrets | None = None,
    guard: Any = None,
    grace: float = 5.0,
) -> AsyncIterator[executor.Executor]:
    """A launched executor that sweeps, stopped at the end of the block."""
    from agentos_controller.runs import services

    store = vault or secrets.Secrets(db, secrets.KeyRing.open(keys), source)
    made = executor.Executor(db, source, lambda: services.World(db, source, store, guard or NoGuard()), grace=grace)
    await made.launch()
    sweeping = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
        await made.stop()


async def run_row(db: database.Database, run_id: str) -> Any:
    async with db.read() as conn:
        return (await conn.execute(sa.select(tables.run).where(tables.run.c.id == run_id))).one()


async def until(db: database.Database, run_id: str, *states: str, timeout: float = 20.0) -> Any:
    """The run's row once it is in one of `states` (by default: once it has ended)."""
    wanted = states or tables.FINAL
    return await until_true(
        db, run_id, lambda row: row.state in wanted, f"{run_id} did not come to {' or '.join(wanted)}", timeout
    )


async def until_true(
    db: database.Database, run_id: str, holds: Callable[[Any], bool], what: str, timeout: float = 20.0
) -> Any:
    with db.subscribe(f"run:{run_id}") as news:
        row = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while True:
                    row = await run_row(db, run_id)
                    if holds(row):
                        return row
                    await news.wait(0.2)
    raise AssertionError(f"{what}: {row}")


async def create(db: database.Database, source: clock.Clock, tenant_id: str, name: str, **given: Any) -> records.RunRow:
    """A run of a workflow."""
    values: dict[str, Any] = {
        "kind": "Workflow",
        "input": {},
        "cause": {"type": "api"},
        "actor": "key:1",
        "interactive": True,
    }
    return await records.create_run(db, tenant_id=tenant_id, name=name, clock=source, **(values | given))
