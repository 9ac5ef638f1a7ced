"""What every client may rely on when it writes: versions, repeated requests, what is refused and why."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import sqlalchemy as sa

from agentos_controller import clock, ids, tables
from tests.support import apiworld
from tests.support.apiworld import Tenant, World, problem


async def test_an_etag_spares_the_body_until_something_changes(
    world: World, acme: Tenant, client: httpx.AsyncClient
) -> None:
    for path in (
        "/v1/tenants/acme/resources/Agent/echo",
        "/v1/tenants/acme/resources/Agent/echo/artifact",
        f"/v1/tenants/acme/runs/{acme.run}",
        f"/v1/tenants/acme/approvals/{acme.approval}",
    ):
        etag = (await client.get(path)).headers["etag"]
        again = await client.get(path, headers={"if-none-match": f"W/{etag}"})
        assert again.status_code == 304
        assert again.content == b""
    echo = "/v1/tenants/acme/resources/Agent/echo"
    etag = (await client.get(echo)).headers["etag"]
    async with world.db.write() as conn:
        await conn.execute(sa.update(tables.source).values(head="c" * 40))
    moved = await client.get(echo, headers={"if-none-match": etag})
    assert moved.status_code == 200
    assert moved.json()["conditions"][0]["observedRevision"] == "c" * 40


async def test_a_rollback_is_a_command_row_and_honours_if_match(
    world: World, acme: Tenant, client: httpx.AsyncClient
) -> None:
    path = "/v1/tenants/acme/rollback"
    assert (await client.get("/v1/tenants/acme")).headers["etag"] == '"2"'
    stale = await client.post(path, json={"generation": 1}, headers={"if-match": '"1"'})
    assert problem(stale, 412, "PreconditionFailed")["current"] == "2"
    with world.db.subscribe("commands") as woken:
        accepted = await client.post(path, json={"generation": 1, "reason": "bad"}, headers={"if-match": '"2"'})
        assert await woken.wait(0)
    assert accepted.status_code == 202
    command = accepted.json()
    assert (command["type"], command["state"], command["tenant"]) == ("rollback", "pending", "acme")
    assert command["args"] == {"generation": 1, "reason": "bad"}
    assert (await client.get(accepted.headers["location"])).json() == command
    problem(await client.post(path, json={"generation": 2}), 409, "Conflict")
    problem(await client.post(path, json={"generation": 7}), 404, "NotFound")
    problem(await client.post("/v1/tenants/acme/release"), 409, "Conflict")
    async with world.db.read() as conn:
        rows = await conn.scalars(sa.select(tables.audit.c.action).where(tables.audit.c.action == "rollback.request"))
        assert len(rows.all()) == 1


async def test_a_held_tenant_shows_its_hold_and_can_be_released(world: World, client: httpx.AsyncClient) -> None:
    hold = {"seq": 1, "revision": apiworld.REVISION, "reason": "bad", "by": "key:x", "until": None}
    await world.tenant("acme", active_seq=3, hold=hold)
    shown = (await client.get("/v1/tenants/acme")).json()
    assert shown["hold"] == {
        "generation": 1, "revision": apiworld.REVISION, "reason": "bad", "by": "key:x", "until": None,
    }  # fmt: skip
    assert (await client.post("/v1/tenants/acme/release")).status_code == 202


async def test_reconcile_is_a_command_for_what_the_key_may_see(world: World, acme: Tenant) -> None:
    async with world.client(await world.key(("operate",))) as client:
        assert (await client.post("/v1/reconcile", json={})).json()["tenant"] is None
        done = await client.post("/v1/reconcile", json={"tenant": "acme", "source": "main"})
        assert done.json()["args"] == {"tenant": "acme", "source": "main"}
        problem(await client.post("/v1/reconcile", json={"tenant": "acme", "source": "other"}), 404, "NotFound")
        problem(await client.post("/v1/reconcile", json={"source": "main"}), 422, "InvalidRequest")
    async with world.client(await world.key(("operate",), acme.id)) as client:
        assert (await client.post("/v1/reconcile", json={})).json()["tenant"] == "acme"


async def test_the_same_request_with_one_key_is_done_once(
    world: World, acme: Tenant, client: httpx.AsyncClient
) -> None:
    async def post(body: dict[str, Any], key: str = "k1") -> httpx.Response:
        return await client.post("/v1/reconcile", json=body, headers={"idempotency-key": key})

    first, second = await post({}), await post({})
    assert first.json() == second.json()
    assert first.status_code == second.status_code == 202
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    problem(await post({"tenant": "acme"}), 422, "IdempotencyMismatch")
    assert (await post({}, "k2")).json()["id"] != first.json()["id"]
    problem(await post({}, "bad key"), 422, "InvalidRequest")
    async with world.client(await world.key()) as other:
        answer = await other.post("/v1/reconcile", json={}, headers={"idempotency-key": "k1"})
        assert answer.json()["id"] != first.json()["id"]


async def test_a_failed_request_leaves_its_idempotency_key_free(acme: Tenant, client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "k1"}
    problem(await client.post("/v1/tenants/acme/release", headers=headers), 409, "Conflict")
    assert (await client.post("/v1/reconcile", json={}, headers=headers)).status_code == 202


async def test_two_at_once_with_one_key_make_one_command(world: World, acme: Tenant, client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "k1"}
    answers = await asyncio.gather(*(client.post("/v1/reconcile", json={}, headers=headers) for _ in range(5)))
    made = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert len(made) == 1
    for answer in answers:
        if answer.status_code != 202:
            problem(answer, 409, "Conflict")
    async with world.db.read() as conn:
        count = sa.select(sa.func.count()).where(tables.command.c.state == "pending")
        assert await conn.scalar(count) == 1


async def test_an_abandoned_request_is_taken_over(
    world: World, acme: Tenant, client: httpx.AsyncClient, clock: clock.ManualClock
) -> None:
    headers = {"idempotency-key": "k1"}
    assert (await client.post("/v1/reconcile", json={}, headers=headers)).status_code == 202
    async with world.db.write() as conn:
        await conn.execute(sa.update(tables.idempotency).values(status=None, body=None))
    problem(await client.post("/v1/reconcile", json={}, headers=headers), 409, "Conflict")
    clock.advance(61)
    assert (await client.post("/v1/reconcile", json={}, headers=headers)).status_code == 202
    clock.advance(24 * 3600 + 1)
    assert (await client.post("/v1/reconcile", json={"tenant": "acme"}, headers=headers)).status_code == 202


async def test_a_run_is_made_shown_listed_and_cancelled(world: World, acme: Tenant, client: httpx.AsyncClient) -> None:
    path = "/v1/tenants/acme/runs"
    made = await client.post(path, json={"kind": "Workflow", "name": "flow", "input": {"n": 5}})
    assert made.status_code == 201, made.text
    run = made.json()
    assert (run["state"], run["input"], run["generation"]) == ("pending", {"n": 5}, 2)
    assert run["digest"] == apiworld.artifact("Workflow/flow")
    shown = await client.get(made.headers["location"])
    assert shown.json() == run
    listed = (await client.get(path, params={"kind": "Workflow", "name": "flow", "state": "pending"})).json()["items"]
    assert [each["id"] for each in listed] == [run["id"]]
    assert "input" not in listed[0]
    stale = await client.post(f"{path}/{run['id']}/cancel", headers={"if-match": '"other"'})
    problem(stale, 412, "PreconditionFailed")
    cancelled = await client.post(f"{path}/{run['id']}/cancel", headers={"if-match": shown.headers["etag"]})
    assert cancelled.json()["state"] == "cancelled"
    problem(await client.post(f"{path}/{run['id']}/cancel"), 409, "Conflict")


async def test_a_run_is_refused_with_the_reason(acme: Tenant, client: httpx.AsyncClient) -> None:
    path = "/v1/tenants/acme/runs"
    wrong = await client.post(path, json={"kind": "Workflow", "name": "flow", "input": {"n": "five"}})
    assert problem(wrong, 422, "InvalidRequest")["errors"][0]["path"] == "/input/n"
    problem(await client.post(path, json={"kind": "Agent", "name": "nobody"}), 404, "NotFound")
    thread = ids.new()
    body = {"kind": "Workflow", "name": "flow", "thread": thread}
    assert (await client.post(path, json=body)).json()["thread"] == thread
    problem(await client.post(path, json=body), 409, "Conflict")
    problem(await client.get(path, params={"state": "done"}), 422, "InvalidRequest")


async def test_one_idempotency_key_makes_one_run(acme: Tenant, client: httpx.AsyncClient) -> None:
    path = "/v1/tenants/acme/runs"
    body = {"kind": "Workflow", "name": "flow", "input": {"n": 1}}
    headers = {"idempotency-key": "order-1"}
    first = await client.post(path, json=body, headers=headers)
    again = await client.post(path, json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    other = await client.post(path, json=body | {"input": {"n": 2}}, headers=headers)
    problem(other, 422, "IdempotencyMismatch")
    bad = {"idempotency-key": "order-2"}
    problem(await client.post(path, json=body | {"input": {"n": "x"}}, headers=bad), 422, "InvalidRequest")
    assert (await client.post(path, json=body, headers=bad)).status_code == 201


async def test_an_approval_is_decided_by_those_it_is_asked_of(
    world: World, acme: Tenant, client: httpx.AsyncClient
) -> None:
    path = f"/v1/tenants/acme/approvals/{acme.approval}"
    async with world.client(await world.key(("run",), acme.id, ("intern",))) as other:
        problem(await other.post(f"{path}/decision", json={"decision": "approved"}), 403, "Forbidden")
    etag = (await client.get(path)).headers["etag"]
    stale = await client.post(f"{path}/decision", json={"decision": "approved"}, headers={"if-match": '"approved-1"'})
    problem(stale, 412, "PreconditionFailed")
    body = {"decision": "approved", "comment": "fine"}
    done = await client.post(f"{path}/decision", json=body, headers={"if-match": etag})
    assert done.status_code == 200, done.text
    assert (done.json()["state"], done.json()["comment"]) == ("approved", "fine")
    assert done.json()["votes"][0]["decision"] == "approved"
    problem(await client.post(f"{path}/decision", json={"decision": "rejected"}), 409, "Conflict")
    problem(await client.post(f"{path}/decision", json={"decision": "maybe"}), 422, "InvalidRequest")
    assert (await client.get("/v1/tenants/acme/approvals", params={"state": "open"})).json()["items"] == []


async def test_a_plan_is_asked_for_and_read_when_made(world: World, acme: Tenant, client: httpx.AsyncClient) -> None:
    asked = await client.post("/v1/plans", json={"tenant": "acme", "revision": "c" * 40})
    assert asked.status_code == 202
    assert (asked.json()["state"], asked.json()["revision"]) == ("pending", "c" * 40)
    assert (await client.get(asked.headers["location"])).json() == asked.json()
    files = await client.post("/v1/plans", json={"tenant": "acme", "files": {"agents/a.yaml": "x"}})
    assert files.status_code == 202
    problem(await client.post("/v1/plans", json={"tenant": "acme"}), 422, "InvalidRequest")
    problem(await client.post("/v1/plans", json={"tenant": "nobody", "revision": "c" * 40}), 404, "NotFound")
    problem(await client.post("/v1/plans", json={"tenant": "acme", "revision": "main"}), 422, "InvalidRequest")


async def test_waiting_for_a_plan_ends_when_it_is_made(world: World, acme: Tenant, client: httpx.AsyncClient) -> None:
    asked = (await client.post("/v1/plans", json={"tenant": "acme", "revision": "c" * 40})).json()
    waiting = asyncio.create_task(client.get(f"/v1/plans/{asked['id']}", params={"wait": 30}))
    async with world.db.write() as conn:
        await conn.execute(sa.update(tables.plan).where(tables.plan.c.id == asked["id"]).values(state="open"))
    world.db.notify("commands:done")
    assert (await waiting).json()["state"] == "open"
