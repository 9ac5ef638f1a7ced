"""Runs asked for over HTTP and worked off in the same process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentos_controller import clock, database, egress, secrets
from agentos_controller.runs import executor, services
from tests.support import serving
from tests.support.apiworld import World

BODIES = {
    "Workflow/flow": serving.workflow("flow", [{"id": "a", "type": "set", "set": {}}]),
    "Workflow/asks": serving.workflow(
        "asks",
        [
            {
                "id": "consent",
                "type": "approve",
                "by": ["role/lead"],
                "show": {"sum": 5},
                "quorum": 1,
                "next": {"approved": "end", "rejected": "end"},
            }
        ],
    ),
}


@pytest.fixture
async def world(database: database.Database, tmp_path: Path) -> AsyncIterator[World]:
    time = clock.SystemClock()
    vault = secrets.Secrets(database, secrets.KeyRing.open(tmp_path / "runs.key"), time)
    working = executor.Executor(database, time, lambda: services.World(database, time, vault, egress.Egress(())))
    await working.launch()
    loop = asyncio.create_task(working.run())
    yield World(database, time, tmp_path, starter=working)
    loop.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await loop
    await working.stop()


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    tenant_id = await serving.tenant(world.db, "acme")
    await serving.serve(world.db, tenant_id, BODIES)
    async with world.client(await world.key(roles=("lead",))) as made:
        yield made


RUNS = "/v1/tenants/acme/runs"


def asked(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "Workflow", "name": name, "input": {}, "wait": 30, **more}


async def test_a_run_that_is_waited_for_comes_back_finished(client: httpx.AsyncClient) -> None:
    answer = await client.post(RUNS, json=asked("flow"), headers={"idempotency-key": "once"})
    run = answer.json()
    assert (answer.status_code, run["state"], run["outcome"]) == (201, "succeeded", "done"), run
    again = await client.post(RUNS, json=asked("flow"), headers={"idempotency-key": "once"})
    assert (again.status_code, again.json()["id"], again.json()["state"]) == (200, run["id"], "succeeded")
    types = [event["type"] for event in (await client.get(f"{RUNS}/{run['id']}/events")).json()["items"]]
    assert (types[0], types[-1]) == ("run.created", "run.succeeded")
    steps = (await client.get(f"{RUNS}/{run['id']}/steps")).json()["items"]
    assert [(step["path"], step["state"]) for step in steps] == [("a", "succeeded")]


async def test_waiting_ends_where_a_person_is_asked_and_the_answer_goes_on(client: httpx.AsyncClient) -> None:
    run = (await client.post(RUNS, json=asked("asks"))).json()
    assert run["state"] == "waiting", run
    (approval,) = (await client.get("/v1/tenants/acme/approvals", params={"run": run["id"]})).json()["items"]
    assert (approval["show"], approval["requestedOf"], approval["state"]) == ({"sum": 5}, ["role/lead"], "open")
    path = f"/v1/tenants/acme/approvals/{approval['id']}/decision"
    assert (await client.post(path, json={"decision": "approved"})).json()["state"] == "approved"
    async with client.stream("GET", f"{RUNS}/{run['id']}/events", headers={"accept": "text/event-stream"}) as events:
        text = "".join([chunk async for chunk in events.aiter_text()])
    assert "event: run.succeeded" in text
    assert (await client.get(f"{RUNS}/{run['id']}")).json()["state"] == "succeeded"


async def test_waiting_is_over_after_the_time_given(client: httpx.AsyncClient) -> None:
    run = (await client.post(RUNS, json=asked("flow", wait=0))).json()
    assert run["state"] in ("pending", "running", "succeeded")
