"""Streams over real sockets: changes of a tenant, events of a run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from agentos_controller import clock, database, tables
from agentos_controller.api import sse
from tests.support.apiworld import World


@pytest.fixture
async def world(sqlite: database.Database, clock: clock.ManualClock, tmp_path: Path) -> World:
    return World(sqlite, clock, tmp_path)


async def frames(answer: httpx.Response) -> AsyncIterator[tuple[str, str, Any]]:
    """Events as (id, event, data); a comment is (``""``, ``":"``, None)."""
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line == ":":
            yield "", ":", None
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
            fields = {}


class Reader:
    """Reads a stream event by event."""

    def __init__(self, answer: httpx.Response) -> None:
        self._frames = frames(answer)

    async def next(self) -> tuple[str, str, Any]:
        return await anext(self._frames)

    async def rest(self) -> list[tuple[str, str, Any]]:
        return [frame async for frame in self._frames]


WATCH = "/v1/tenants/acme/watch"


async def test_a_watch_begins_now_and_sees_each_change_once(world: World) -> None:
    tenant_id, other = await world.tenant("acme"), await world.tenant("globex")
    await world.change(tenant_id, 1, 2, 3)
    async with world.served(await world.key()) as client, client.stream("GET", WATCH) as answer:
        reader = Reader(answer)
        assert await reader.next() == ("3", "bookmark", {"sequence": 3})
        await world.change(other, 1)
        await world.change(tenant_id, 4, 5)
        seen = [await reader.next(), await reader.next()]
        assert [(id_, event, data["sequence"]) for id_, event, data in seen] == [("4", "change", 4), ("5", "change", 5)]
        assert seen[0][2]["kind"] == "Agent"


async def test_a_watch_goes_on_after_the_last_event_id(world: World) -> None:
    tenant_id = await world.tenant("acme")
    await world.change(tenant_id, *range(1, 6))
    async with world.served(await world.key()) as client:
        for given in ({"headers": {"last-event-id": "3"}}, {"params": {"after": 3}}):
            async with client.stream("GET", WATCH, **given) as answer:  # type: ignore[arg-type]
                reader = Reader(answer)
                assert [(await reader.next())[0] for _ in range(3)] == ["3", "4", "5"]


async def test_a_watch_says_what_the_log_holds_no_more(world: World) -> None:
    tenant_id = await world.tenant("acme")
    await world.change(tenant_id, *range(10, 13))
    async with world.served(await world.key()) as client:
        async with client.stream("GET", WATCH, headers={"last-event-id": "4"}) as answer:
            reader = Reader(answer)
            assert await reader.next() == ("9", "gap", {"from": 5, "to": 9})
            assert await reader.next() == ("9", "bookmark", {"sequence": 9})
            assert (await reader.next())[0] == "10"
        async with client.stream("GET", WATCH, headers={"last-event-id": "9"}) as answer:
            assert (await Reader(answer).next())[1] == "bookmark"
        async with client.stream("GET", WATCH, headers={"last-event-id": "99"}) as answer:
            assert await Reader(answer).next() == ("12", "gap", {"from": 13, "to": 99})
        async with client.stream("GET", WATCH) as answer:
            reader = Reader(answer)
            await reader.next()
            await world.change(tenant_id, 20)
            assert await reader.next() == ("19", "gap", {"from": 13, "to": 19})
            assert (await reader.next())[0] == "20"


async def test_a_watch_of_an_empty_log_begins_at_nothing(world: World) -> None:
    await world.tenant("acme")
    async with world.served(await world.key()) as client:
        async with client.stream("GET", WATCH) as answer:
            assert await Reader(answer).next() == ("0", "bookmark", {"sequence": 0})
        async with client.stream("GET", WATCH, headers={"last-event-id": "nonsense"}) as answer:
            assert (await Reader(answer).next())[1] == "bookmark"


async def test_events_of_a_run_are_replayed_then_followed_to_the_end(world: World) -> None:
    tenant_id = await world.tenant("acme")
    run_id = await world.run(tenant_id, state="running")
    await world.event(tenant_id, run_id, 1, "run.created")
    await world.event(tenant_id, run_id, 2, "step.started", step_path="pull")
    path = f"/v1/tenants/acme/runs/{run_id}/events"
    headers = {"accept": "text/event-stream"}
    async with world.served(await world.key()) as client:
        async with client.stream("GET", path, headers=headers) as answer:
            reader = Reader(answer)
            first, second = await reader.next(), await reader.next()
            assert (first[0], first[1], second[2]["step"]) == ("1", "run.created", "pull")
            async with world.db.write() as conn:
                await conn.execute(sa.update(tables.run).values(state="succeeded"))
            await world.event(tenant_id, run_id, 3, "run.succeeded")
            assert [(id_, event) for id_, event, _ in await reader.rest()] == [("3", "run.succeeded")]
        async with client.stream("GET", path, headers={**headers, "last-event-id": "2"}) as answer:
            assert [id_ for id_, _, _ in await Reader(answer).rest()] == ["3"]
        listed = (await client.get(path, params={"after": 1})).json()["items"]
        assert [each["sequence"] for each in listed] == [2, 3]


async def test_a_silent_stream_beats_and_an_ending_server_ends_it(world: World) -> None:
    await world.tenant("acme")
    async with world.served(await world.key()) as client, client.stream("GET", WATCH) as answer:
        reader = Reader(answer)
        await reader.next()
        world.parts.stopping.set()
        assert await reader.rest() == []


async def test_a_stream_beats_while_nothing_happens() -> None:
    async def nothing() -> AsyncIterator[sse.Frame]:
        await asyncio.Event().wait()
        yield sse.Frame("never", None)

    sent: list[bytes] = []
    stopping = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if sent.count(b":\r\n\r\n") == 3:
            stopping.set()

    async def receive() -> Any:
        await asyncio.Event().wait()

    await sse.Stream(nothing(), stopping, heartbeat=0.001)({"type": "http"}, receive, send)
    assert sent.count(b":\r\n\r\n") == 3


async def test_a_client_that_leaves_ends_its_iterator() -> None:
    closed = asyncio.Event()

    async def forever() -> AsyncIterator[sse.Frame]:
        try:
            yield sse.Frame("one", {"a": "line\nbreak"}, 1)
            await asyncio.Event().wait()
        finally:
            closed.set()

    arrived = asyncio.Event()
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if b"event: one" in sent[-1]:
            arrived.set()

    async def receive() -> Any:
        await arrived.wait()
        return {"type": "http.disconnect"}

    await sse.Stream(forever(), asyncio.Event())({"type": "http"}, receive, send)
    assert closed.is_set()
    assert b'id: 1\r\nevent: one\r\ndata: {"a":"line\\nbreak"}\r\n\r\n' in sent
