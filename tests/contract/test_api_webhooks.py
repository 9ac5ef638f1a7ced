"""Webhooks of sources on both databases: who is heard, what one delivery does, and what a thousand do."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from agentos_controller import clock, database, ids, tables
from agentos_controller.api import deliveries
from tests.support import webhooks
from tests.support.apiworld import World, problem

SECRET = "canary-4711"
BODY = b'{"ref": "refs/heads/main"}'


class Hooked:
    """A tenant with two sources of one repository, and the forge that delivers about the first."""

    def __init__(self, world: World, source: str, other: str, client: httpx.AsyncClient) -> None:
        self.world, self.source, self.other, self.client = world, source, other, client

    def signed(self, forge: str = "github", body: bytes = BODY, **given: Any) -> dict[str, str]:
        return webhooks.signed(forge, body, given.pop("secret", SECRET), self.world.clock.now_us() / 1e6, **given)

    async def push(self, body: bytes = BODY, source: str | None = None, **given: Any) -> httpx.Response:
        path = f"/v1/sources/{source or self.source}/webhook"
        return await self.client.post(path, content=body, headers=self.signed(body=body, **given))

    async def due(self) -> dict[str, int | None]:
        async with self.world.db.read() as conn:
            rows = await conn.execute(sa.select(tables.source.c.id, tables.source.c.next_at))
            return {row.id: row.next_at for row in rows}

    async def looked(self) -> None:
        """As the loop does when it begins to look."""
        async with self.world.db.write() as conn:
            await conn.execute(tables.source.update().values(next_at=None))

    async def metric(self, outcome: str) -> float:
        page = (await self.client.get("/metrics")).text
        line = f'agentos_webhook_deliveries_total{{outcome="{outcome}"}} '
        return sum(float(each.removeprefix(line)) for each in page.splitlines() if each.startswith(line))


async def hooked(world: World, client: httpx.AsyncClient) -> Hooked:
    platform = await world.tenant("platform", platform=True)
    spec = {"sources": [{"name": name, "webhook": {"secret": "hook"}} for name in ("main", "other")]}
    tenant = await world.tenant("acme", spec=spec)
    source, other = await world.source(tenant), await world.source(tenant, "other")
    await world.source(platform)
    async with world.db.write() as conn:
        await world.secrets.put(conn, platform, "hook", SECRET, "test")
    return Hooked(world, source, other, client)


@pytest.fixture
async def hook(world: World) -> AsyncIterator[Hooked]:
    async with world.client() as client:
        yield await hooked(world, client)


@pytest.mark.parametrize("forge", webhooks.FORGES)
async def test_a_push_of_each_forge_makes_the_source_due(hook: Hooked, forge: str) -> None:
    with hook.world.db.subscribe("sources") as woken:
        answer = await hook.push(forge=forge)
        assert (answer.status_code, answer.json()) == (202, {"outcome": "accepted"})
        assert await woken.wait(10)
    due = await hook.due()
    assert due[hook.source] == hook.world.clock.now_us()
    assert due[hook.other] is None
    await hook.looked()
    again = await hook.push(forge=forge)
    assert (again.status_code, again.json()) == (200, {"outcome": "duplicate"})
    assert not any((await hook.due()).values())


async def test_a_ping_wakes_nobody(hook: Hooked) -> None:
    for forge, event in (("github", "ping"), ("gitlab", "System Hook"), ("bitbucket", "diagnostics:ping")):
        answer = await hook.push(forge=forge, event=event)
        assert (answer.status_code, answer.json()) == (200, {"outcome": "ignored"})
    assert not any((await hook.due()).values())
    assert await hook.metric("ignored") == 3


async def test_whoever_is_not_believed_is_told_the_same(hook: Hooked, caplog: pytest.LogCaptureFixture) -> None:
    told = [
        await hook.push(secret="another"),
        await hook.push(source=ids.new()),
        await hook.push(source="nonsense"),
        await hook.client.post(f"/v1/sources/{hook.source}/webhook", content=BODY),
        await hook.client.post(f"/v1/sources/{hook.source}/webhook", content=BODY + b" ", headers=hook.signed()),
        await hook.push(forge="standard", secret="another"),
    ]
    documents = [problem(answer, 401, "WebhookRefused") | {"requestId": None} for answer in told]
    assert all(document == documents[0] for document in documents)
    assert not any((await hook.due()).values())
    assert await hook.metric("refused") == len(told)
    reasons = [getattr(record, "reason", "") for record in caplog.records]
    assert "the signature is not that of the body under this secret" in reasons


async def test_a_source_without_a_webhook_has_none(hook: Hooked) -> None:
    async with hook.world.db.write() as conn:
        await conn.execute(tables.tenant.update().values(spec={"sources": [{"name": "main"}]}))
    problem(await hook.push(), 401, "WebhookRefused")


async def test_a_new_secret_counts_after_a_moment(hook: Hooked) -> None:
    assert (await hook.push()).status_code == 202
    async with hook.world.db.write() as conn:
        owner = await conn.scalar(sa.select(tables.tenant.c.id).where(tables.tenant.c.platform.is_(True)))
        assert owner is not None
        await hook.world.secrets.put(conn, owner, "hook", "canary-4712", "test")
    hook.world.clock.advance(10)  # type: ignore[attr-defined]
    assert (await hook.push(b"next", secret="canary-4712")).status_code == 202
    problem(await hook.push(b"old"), 401, "WebhookRefused")


async def test_a_stamp_out_of_time_is_refused(hook: Hooked) -> None:
    headers = hook.signed("standard")
    hook.world.clock.advance(301)  # type: ignore[attr-defined]
    path = f"/v1/sources/{hook.source}/webhook"
    problem(await hook.client.post(path, content=BODY, headers=headers), 401, "WebhookRefused")


async def test_a_body_is_neither_parsed_nor_unpacked(hook: Hooked) -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    for number, (body, kind) in enumerate([(bomb, "application/json"), (b"\xff{", "text/xml"), (b"", "image/png")]):
        headers = hook.signed(body=body) | {"content-type": kind, "content-encoding": "gzip"}
        answer = await hook.client.post(f"/v1/sources/{hook.source}/webhook", content=body, headers=headers)
        assert answer.status_code == 202, number


async def test_a_thousand_deliveries_make_two_looks(hook: Hooked) -> None:
    now = hook.world.clock.now_us()
    with hook.world.db.subscribe("sources") as woken:
        assert (await hook.push(b"0")).status_code == 202
        assert await woken.wait(10)
        await hook.looked()
        sources = (hook.source, hook.other)
        pushes = (hook.push(f"{number}".encode(), sources[number % 2]) for number in range(1, 1_000))
        answers = await asyncio.gather(*pushes)
        assert {answer.status_code for answer in answers} == {202}
        assert await woken.wait(10)
        due = [at for at in (await hook.due()).values() if at is not None]
        assert due == [now + clock.SECOND], "one more look, at the end of the second"
        hook.world.clock.advance(1)  # type: ignore[attr-defined]
        await hook.looked()
        hook.world.clock.advance(1)  # type: ignore[attr-defined]
        assert (await hook.push(b"later")).status_code == 202
        assert [at for at in (await hook.due()).values() if at is not None] == [now + 2 * clock.SECOND]
    assert await hook.metric("accepted") == 1_001


async def test_too_many_at_once_are_refused(
    database: database.Database, clock: clock.ManualClock, tmp_path: Path
) -> None:
    bounds = deliveries.Limits(burst=3, per_second=1, failures=2, failures_per_second=1)
    world = World(database, clock, tmp_path, receiving=bounds)
    async with world.client() as client:
        hook = await hooked(world, client)
        assert [(await hook.push(bytes([number]))).status_code for number in range(3)] == [202, 202, 202]
        limited = await hook.push(b"4")
        problem(limited, 429, "TooManyRequests")
        assert limited.headers["retry-after"] == "1"
        clock.advance(1)
        assert (await hook.push(b"5")).status_code == 202
        for _ in range(2):
            problem(await hook.push(source=ids.new()), 401, "WebhookRefused")
        problem(await hook.push(source=ids.new()), 429, "TooManyRequests")
        clock.advance(1)
        assert (await hook.push(b"6")).status_code == 202, "who is known is heard while strangers are not"
        assert await hook.metric("limited") == 2


async def test_the_path_is_shown_and_the_secret_never(hook: Hooked, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = [await hook.push(), await hook.push(), await hook.push(forge="gitlab"), await hook.push(secret="wrong")]
    async with hook.world.client(await hook.world.key()) as admin:
        shown = await admin.get("/v1/sources")
        told += [shown, await admin.get(f"/v1/sources/{hook.source}"), await admin.get("/metrics")]
    paths = {each["id"]: each["webhook"] for each in shown.json()["items"]}
    assert paths[hook.source] == f"/v1/sources/{hook.source}/webhook"
    assert sum(path is None for path in paths.values()) == 1
    assert not any(SECRET in answer.text for answer in told)
    assert not any(SECRET in f"{record.getMessage()} {record.__dict__}" for record in caplog.records)


async def test_the_platforms_own_source_has_the_secret_the_operator_names(
    database: database.Database, clock: clock.ManualClock, tmp_path: Path
) -> None:
    world = World(database, clock, tmp_path, platform_webhook="hook")
    async with world.client() as client:
        hook = await hooked(world, client)
        async with world.db.read() as conn:
            owner = tables.tenant.c.id == tables.source.c.tenant_id
            query = sa.select(tables.source.c.id).join(tables.tenant, owner).where(tables.tenant.c.platform.is_(True))
            source = await conn.scalar(query)
        assert (await hook.push(source=source)).status_code == 202


async def test_what_is_too_large_or_too_slow_is_not_read_on(
    database: database.Database, clock: clock.ManualClock, tmp_path: Path
) -> None:
    bounds = deliveries.Limits(body=100_000, read_s=0.2, readers=1)
    world = World(database, clock, tmp_path, receiving=bounds)
    async with world.served() as client:
        hook = await hooked(world, client)
        large = b"x" * 100_001
        path = f"/v1/sources/{hook.source}/webhook"

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x" * 10_000

        for content in (large, pieces()):
            # The answer may find a client that still sends, and the connection closed.
            with contextlib.suppress(httpx.TransportError):
                answer = await client.post(path, content=content, headers=hook.signed(body=large))
                problem(answer, 413, "RequestTooLarge")
        host, port = client.base_url.host, client.base_url.port
        slow = await _begun(host, port or 0, path, hook.signed())
        answered = (await slow.read()).decode()
        assert "408" in answered.partition("\r\n")[0]
        assert "RequestTimeout" in answered
        assert answered.endswith("}"), "the connection is closed behind the answer"
        assert (await hook.push()).status_code == 202
        assert not hook.world.app.state.deliveries._sources[hook.source].readers
        assert (await hook.metric("too_large"), await hook.metric("slow")) == (2, 1)


async def test_bodies_of_one_source_are_not_read_without_end(
    database: database.Database, clock: clock.ManualClock, tmp_path: Path
) -> None:
    world = World(database, clock, tmp_path, receiving=deliveries.Limits(read_s=60, readers=1))
    async with world.served() as client:
        hook = await hooked(world, client)
        path = f"/v1/sources/{hook.source}/webhook"
        slow = await _begun(client.base_url.host, client.base_url.port or 0, path, hook.signed())
        known = world.app.state.deliveries._sources
        while hook.source not in known or not known[hook.source].readers:
            await client.get("/healthz")
        problem(await hook.push(), 429, "TooManyRequests")
        slow.end()
        while known[hook.source].readers:
            await client.get("/healthz")
        assert (await hook.push()).status_code == 202


class _Begun:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        async with asyncio.timeout(20):
            found = await self._reader.read()
        self.end()
        return found

    def end(self) -> None:
        self._writer.close()


async def _begun(host: str, port: int, path: str, headers: dict[str, str]) -> _Begun:
    """A delivery that announces ten bytes and sends one."""
    reader, writer = await asyncio.open_connection(host, port)
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Length: 10", *(f"{k}: {v}" for k, v in headers.items())]
    writer.write("\r\n".join([*lines, "", "x"]).encode())
    await writer.drain()
    return _Begun(reader, writer)
