"""Stopping, resuming, approving and accepting through the API: what is written, what is refused and why."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from agentos_controller import clock, tables
from tests.support import apiworld
from tests.support.apiworld import Tenant, World, problem

TENANT = "/v1/tenants/acme"
ECHO = f"{TENANT}/resources/Agent/echo"
HOUR = 3600 * clock.SECOND
DIGEST = apiworld.digest("removal")


async def _commands(world: World) -> list[Any]:
    table = tables.command
    async with world.db.read() as conn:
        query = sa.select(table).where(table.c.state == "pending").order_by(table.c.id)
        return list((await conn.execute(query)).all())


async def test_each_thing_is_suspended_by_a_command_that_names_it(
    world: World, acme: Tenant, client: httpx.AsyncClient, clock: clock.ManualClock
) -> None:
    for path in (TENANT, ECHO, f"/v1/sources/{acme.source}"):
        with world.db.subscribe("commands") as woken:
            accepted = await client.post(f"{path}/suspend", json={"reason": "audit", "for": "1h"})
            assert await woken.wait(0)
        assert accepted.status_code == 202, accepted.text
        assert (accepted.json()["type"], accepted.json()["tenant"]) == ("suspend", "acme")
    until = clock.now_us() + HOUR
    assert [(row.tenant_id, row.args) for row in await _commands(world)] == [
        (acme.id, {"reason": "audit", "until": until}),
        (acme.id, {"kind": "Agent", "name": "echo", "reason": "audit", "until": until}),
        (acme.id, {"source": acme.source, "reason": "audit", "until": until}),
    ]
    async with world.db.read() as conn:
        told = await conn.execute(
            sa.select(tables.audit.c.object)
            .where(tables.audit.c.action == "suspend.request")
            .order_by(tables.audit.c.seq)
        )
        assert [row.object for row in told] == ["Tenant/acme", "Agent/echo", "Source/main"]


async def test_what_is_suspended_shows_by_whom_and_can_be_resumed(
    world: World, acme: Tenant, client: httpx.AsyncClient
) -> None:
    paths = (TENANT, ECHO, f"/v1/sources/{acme.source}")
    for path in paths:
        shown = (await client.get(path)).json()
        assert shown["suspension"] is None
        assert "is not suspended" in problem(await client.post(f"{path}/resume"), 409, "Conflict")["detail"]
    columns = {"suspended_by": "key:ada", "suspended_reason": "audit", "suspended_until": HOUR}
    async with world.db.write() as conn:
        for table in (tables.tenant, tables.resource, tables.source):
            await conn.execute(sa.update(table).values(**columns))
    for path in paths:
        shown = (await client.get(path)).json()
        assert shown["suspension"] == {"by": "key:ada", "reason": "audit", "until": "1970-01-01T01:00:00.000000Z"}
        assert (await client.post(f"{path}/resume")).status_code == 202
    assert [row.type for row in await _commands(world)] == ["resume"] * 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "reason"),
        ({"reason": "x", "for": "2 hours"}, "for"),
        ({"reason": "x", "for": "2h", "until": "2030-01-01T00:00:00Z"}, "not both"),
        ({"reason": "x", "until": "2020-01-01T00:00:00Z"}, "has passed"),
        ({"reason": "x", "until": "2030-01-01T00:00:00"}, "until"),
        ({"reason": "x", "for": "999999999d"}, "further away"),
        ({"reason": "x", "untl": "2030-01-01T00:00:00Z"}, "untl"),
    ],
)
async def test_a_term_that_makes_no_sense_is_refused(
    acme: Tenant, client: httpx.AsyncClient, body: dict[str, Any], said: str
) -> None:
    for path in (f"{TENANT}/suspend", f"{ECHO}/suspend", f"/v1/sources/{acme.source}/suspend"):
        assert said in (await client.post(path, json=body)).text
        problem(await client.post(path, json=body), 422, "InvalidRequest")


async def test_only_the_state_that_was_seen_is_suspended(acme: Tenant, client: httpx.AsyncClient) -> None:
    body = {"reason": "audit"}
    for path in (TENANT, ECHO):
        etag = (await client.get(path)).headers["etag"]
        problem(await client.post(f"{path}/suspend", json=body, headers={"if-match": '"0"'}), 412, "PreconditionFailed")
        assert (await client.post(f"{path}/suspend", json=body, headers={"if-match": etag})).status_code == 202
    problem(await client.post(f"{TENANT}/resources/Agent/nobody/suspend", json=body), 404, "NotFound")


async def test_a_repeated_request_suspends_once(world: World, acme: Tenant, client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "k"}
    first, second = [await client.post(f"{TENANT}/suspend", json={"reason": "x"}, headers=headers) for _ in range(2)]
    assert first.json() == second.json()
    assert len(await _commands(world)) == 1


async def test_a_rollback_says_how_long_it_holds(
    world: World, acme: Tenant, client: httpx.AsyncClient, clock: clock.ManualClock
) -> None:
    accepted = await client.post(f"{TENANT}/rollback", json={"generation": 1, "for": "2h"})
    assert accepted.json()["args"] == {"generation": 1, "reason": None, "until": clock.now_us() + 2 * HOUR}
    told = problem(
        await client.post(f"{TENANT}/rollback", json={"generation": 1, "until": "2020-01-01T00:00:00Z"}),
        422,
        "InvalidRequest",
    )
    assert told["errors"] == [{"in": "body", "path": "/until", "message": told["detail"].removeprefix("body /until: ")}]


async def test_a_removal_is_approved_as_it_was_looked_at(world: World, acme: Tenant, client: httpx.AsyncClient) -> None:
    path = f"{TENANT}/approve-prune"
    assert (await client.get(TENANT)).json()["prune"] is None
    assert (
        "asks about no removal" in problem(await client.post(path, json={"digest": DIGEST}), 409, "Conflict")["detail"]
    )
    asked = {"digest": DIGEST, "count": 4, "total": 5, "refs": ["Agent/echo"], "since": HOUR}
    async with world.db.write() as conn:
        await conn.execute(sa.update(tables.tenant).values(prune=asked))
    assert (await client.get(TENANT)).json()["prune"] == {
        "digest": DIGEST, "count": 4, "total": 5, "resources": ["Agent/echo"], "since": "1970-01-01T01:00:00.000000Z",
    }  # fmt: skip
    stale = problem(await client.post(path, json={"digest": apiworld.digest("other")}), 409, "Conflict")
    assert stale["current"] == DIGEST
    assert "4 of 5 resources would be removed now" in stale["detail"]
    assert (await client.post(path, json={"digest": DIGEST})).json()["args"] == {"digest": DIGEST}
    assert (await client.post(path, json={"orphans": True})).json()["args"] == {"orphans": True}
    for body in ({}, {"digest": DIGEST, "orphans": True}, {"digest": "x"}):
        problem(await client.post(path, json=body), 422, "InvalidRequest")


async def test_a_revision_is_accepted_by_name_or_as_it_was_last_seen(
    world: World, acme: Tenant, client: httpx.AsyncClient
) -> None:
    path = f"/v1/sources/{acme.source}"
    assert (
        "has seen no revision yet"
        in problem(await client.post(f"{path}/accept", json={"reason": "x"}), 409, "Conflict")["detail"]
    )
    async with world.db.write() as conn:
        await conn.execute(sa.update(tables.source).values(observed="e" * 40, accepted="f" * 40, accepted_by="key:ada"))
    shown = (await client.get(path)).json()
    assert (shown["observed"], shown["accepted"], shown["acceptedBy"]) == ("e" * 40, "f" * 40, "key:ada")
    await client.post(f"{path}/accept", json={"reason": "x"})
    await client.post(f"{path}/accept", json={"reason": "x", "revision": "d" * 40})
    assert [row.args["revision"] for row in await _commands(world)] == ["e" * 40, "d" * 40]
    problem(await client.post(f"{path}/accept", json={"reason": "x", "revision": "main"}), 422, "InvalidRequest")


async def test_runs_in_flight_of_a_resource_are_listed_and_a_draining_one_takes_no_new(
    world: World, acme: Tenant, client: httpx.AsyncClient
) -> None:
    listed = (await client.get(f"{TENANT}/resources/Workflow/flow/runs")).json()["items"]
    assert [row["id"] for row in listed] == [acme.waiting]
    async with world.db.write() as conn:
        await conn.execute(sa.update(tables.resource).values(drain_until=HOUR))
    assert (await client.get(ECHO)).json()["drainUntil"] == "1970-01-01T01:00:00.000000Z"
    refused = problem(
        await client.post(f"{TENANT}/runs", json={"kind": "Workflow", "name": "flow", "input": {"n": 1}}),
        409,
        "Conflict",
    )
    assert "Workflow/flow is removed and takes no new runs" in refused["detail"]


async def test_a_schedule_that_is_suspended_as_a_resource_shows_so(
    world: World, acme: Tenant, client: httpx.AsyncClient
) -> None:
    path = f"{TENANT}/schedules"
    assert (await client.get(path)).json()["items"][0]["suspended"] is False
    row = apiworld.resource(acme.id, acme.source, "Schedule", "daily", suspended_by="key:ada")
    await world.insert(tables.resource, row)
    assert (await client.get(path)).json()["items"][0]["suspended"] is True
