"""Deliveries of forges: every way to sign, and everything that is refused; a delivery only wakes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from agentos_controller import clock as clocks
from agentos_controller import tables
from agentos_controller.api import app, deliveries
from tests.support.apiworld import World, problem

SECRET = "It's a Secret to Everybody"
BODY = b"Hello, World!"
GITHUB = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
"""What GitHub's documentation gives for the two above."""


def mac(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def stamped(body: bytes, now_s: int, identity: str = "msg_1", secret: bytes = SECRET.encode()) -> dict[str, str]:
    content = f"{identity}.{now_s}.".encode() + body
    signature = base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
    return {"webhook-id": identity, "webhook-timestamp": str(now_s), "webhook-signature": f"v1,{signature}"}


@dataclass
class Hook:
    world: World
    client: httpx.AsyncClient
    source: str

    @property
    def path(self) -> str:
        return f"/v1/sources/{self.source}/webhook"

    async def send(self, headers: Mapping[str, str], body: Any = BODY, path: str | None = None) -> httpx.Response:
        return await self.client.post(path or self.path, content=body, headers=dict(headers))

    async def due(self) -> int | None:
        async with self.world.db.read() as conn:
            value: int | None = await conn.scalar(
                sa.select(tables.source.c.next_at).where(tables.source.c.id == self.source)
            )
            return value


@pytest.fixture
async def hook(world: World) -> AsyncIterator[Hook]:
    await world.tenant("platform", platform=True)
    spec = {"sources": [{"name": "main", "webhook": {"secret": "forge"}}, {"name": "silent"}]}
    owner = await world.tenant("hooked", spec=spec)
    source = await world.source(owner)
    platform = (await _tenant(world, "platform")).id
    async with world.db.write() as conn:
        await world.secrets.put(conn, platform, "forge", SECRET, "test")
    async with world.client() as client:
        yield Hook(world, client, source)


async def _tenant(world: World, name: str) -> Any:
    async with world.db.read() as conn:
        return (await conn.execute(sa.select(tables.tenant).where(tables.tenant.c.name == name))).one()


SIGNED = {
    "GitHub": {"x-github-event": "push", "x-hub-signature-256": GITHUB},
    "Gitea": {"x-gitea-event": "push", "x-gitea-signature": mac(BODY)},
    "Forgejo": {"x-forgejo-event": "push", "x-forgejo-signature": mac(BODY), "x-gitea-signature": mac(BODY)},
    "Bitbucket": {"x-event-key": "repo:push", "x-hub-signature": f"sha256={mac(BODY)}"},
    "GitLab": {"x-gitlab-event": "Push Hook", "x-gitlab-token": SECRET},
    "generic": {"x-signature-256": f"sha256={mac(BODY)}"},
}


@pytest.mark.parametrize("forge", SIGNED)
async def test_a_signed_push_makes_the_source_due(hook: Hook, forge: str, clock: clocks.ManualClock) -> None:
    with hook.world.db.subscribe("sources") as woken:
        taken = await hook.send(SIGNED[forge])
        assert await woken.wait(0)
    assert (taken.status_code, taken.json()) == (202, {"outcome": "accepted"})
    assert await hook.due() == clock.now_us()


async def test_standard_webhooks_are_signed_with_their_time(hook: Hook, clock: clocks.ManualClock) -> None:
    now = clock.now_us() // 1_000_000
    assert (await hook.send(stamped(BODY, now))).status_code == 202
    two = stamped(BODY, now, "msg_2")
    two["webhook-signature"] = f"v1,bm90IGl0 v1a,x {two['webhook-signature']}"  # a secret that is being changed
    assert (await hook.send(two)).status_code == 202
    for wrong in (now - 301, now + 301):
        problem(await hook.send(stamped(BODY, wrong, "msg_3")), 401, "WebhookRefused")
    moved = {**stamped(BODY, now, "msg_4"), "webhook-id": "msg_5"}
    problem(await hook.send(moved), 401, "WebhookRefused")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-hub-signature-256": GITHUB.replace("7", "8")},
        {"x-hub-signature-256": GITHUB.removeprefix("sha256=")},
        {"x-hub-signature-256": GITHUB.upper()},
        {"x-hub-signature-256": ""},
        {"x-hub-signature": "sha1=" + "0" * 40},
        {"x-gitlab-token": SECRET.upper()},
        {"x-gitlab-token": ""},
        {"x-hub-signature-256": "sha256=" + "0" * 64, "x-gitlab-token": SECRET},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v1,AAAA", "webhook-id": "a", "webhook-timestamp": "now"},
        {"x-gitea-signature": mac(BODY, "another")},
    ],
)
async def test_what_is_not_signed_rightly_is_refused_and_wakes_nothing(hook: Hook, headers: dict[str, str]) -> None:
    refused = await hook.send(headers)
    problem(refused, 401, "WebhookRefused")
    assert await hook.due() is None


async def test_a_webhook_that_is_not_there_answers_like_a_wrong_signature(hook: Hook) -> None:
    wrong = await hook.send({"x-hub-signature-256": "sha256=" + "0" * 64})
    silent = await hook.world.source((await _tenant(hook.world, "hooked")).id, "silent")
    for other in (silent, "0192f0c4-0000-7000-8000-000000000000", "x", "'; --"):
        answer = await hook.send(SIGNED["GitHub"], path=f"/v1/sources/{other}/webhook")
        told = problem(answer, 401, "WebhookRefused")
        assert told["detail"] == wrong.json()["detail"]


FORGES = "x-github-event", "x-gitlab-event", "x-gitea-event"


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("x-github-event", "ping"),
        ("x-github-event", "issues"),
        ("x-gitlab-event", "Note Hook"),
        ("x-gitea-event", "fork"),
    ],
)
async def test_other_events_wake_nothing(hook: Hook, name: str, event: str) -> None:
    taken = await hook.send({name: event, "x-hub-signature-256": GITHUB})
    assert (taken.status_code, taken.json()["outcome"]) == (200, "ignored")
    assert await hook.due() is None


async def test_a_replay_wakes_nothing(hook: Hook, clock: clocks.ManualClock) -> None:
    assert (await hook.send(SIGNED["GitHub"])).json()["outcome"] == "accepted"
    await _clear(hook)
    again = await hook.send({**SIGNED["GitHub"], "x-github-delivery": "another"})
    assert (again.status_code, again.json()["outcome"]) == (200, "duplicate")
    assert await hook.due() is None
    clock.advance(901)
    assert (await hook.send(SIGNED["GitHub"])).json()["outcome"] == "accepted"


async def _clear(hook: Hook) -> None:
    async with hook.world.db.write() as conn:
        await conn.execute(tables.source.update().values(next_at=None))


async def test_a_storm_makes_it_due_twice_at_most(hook: Hook, clock: clocks.ManualClock) -> None:
    bodies = [json.dumps({"after": number}).encode() for number in range(1_000)]
    sent = (hook.send({"x-hub-signature-256": f"sha256={mac(body)}"}, body) for body in bodies)
    first = clock.now_us()
    assert {answer.status_code for answer in await asyncio.gather(*sent)} <= {202, 429}
    due = await hook.due()
    assert due in (first, first + 100_000)
    clock.advance(0.1)
    await _clear(hook)
    for number in range(3):
        await hook.send({"x-hub-signature-256": f"sha256={mac(b'%d' % number)}"}, b"%d" % number)
    assert await hook.due() == first + 300_000  # the pauses double while it lasts
    clock.advance(5)
    await _clear(hook)
    await hook.send({"x-hub-signature-256": f"sha256={mac(b'quiet')}"}, b"quiet")
    assert await hook.due() == clock.now_us()


async def test_bodies_are_bounded_before_and_while_they_are_read(world: World, hook: Hook) -> None:
    bounds = deliveries.Limits(body=1_000)
    small = httpx.AsyncClient(transport=_transport(world, bounds), base_url="http://test")
    taken: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            taken.append(number)
            yield b"x" * 100

    async with small as client:
        declared = await client.post(hook.path, content=b"x" * 1_001, headers=SIGNED["GitHub"])
        problem(declared, 413, "RequestTooLarge")
        streamed = await client.post(hook.path, content=pieces(), headers=SIGNED["GitHub"])
        problem(streamed, 413, "RequestTooLarge")
    assert len(taken) < 100
    assert await hook.due() is None


async def test_a_body_that_never_comes_is_not_waited_for(world: World, hook: Hook) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"H"
        await asyncio.Event().wait()

    async with httpx.AsyncClient(
        transport=_transport(world, deliveries.Limits(read_s=0.05)), base_url="http://test"
    ) as client:
        slow = await client.post(hook.path, content=never(), headers=SIGNED["GitHub"])
    problem(slow, 408, "RequestTimeout")


async def test_too_many_are_told_to_come_later(world: World, hook: Hook) -> None:
    bounds = deliveries.Limits(burst=2, per_second=0.0)
    async with httpx.AsyncClient(transport=_transport(world, bounds), base_url="http://test") as client:
        answers = [await client.post(hook.path, content=BODY, headers=SIGNED["GitHub"]) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 200, 429]
    problem(answers[2], 429, "TooManyRequests")
    assert answers[2].headers["retry-after"] == "1"


def _transport(world: World, bounds: deliveries.Limits) -> httpx.ASGITransport:
    return httpx.ASGITransport(app.create(world.parts, receiving=bounds))


async def test_the_secret_is_heeded_anew_and_never_shown(
    hook: Hook, clock: clocks.ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert (await hook.send(SIGNED["GitHub"])).status_code == 202
    platform = (await _tenant(hook.world, "platform")).id
    async with hook.world.db.write() as conn:
        await hook.world.secrets.put(conn, platform, "forge", "another secret", "test")
    clock.advance(11)
    refused = await hook.send({"x-gitlab-token": SECRET})
    assert refused.status_code == 401
    assert (await hook.send({"x-gitlab-token": "another secret"})).status_code == 202
    assert SECRET not in refused.text + caplog.text
    metrics = (await hook.client.get("/metrics")).text
    assert 'agentos_webhook_deliveries_total{outcome="accepted"} 2.0' in metrics
    assert 'agentos_webhook_deliveries_total{outcome="refused"} 1.0' in metrics


async def test_the_source_shows_where_a_forge_delivers(hook: Hook) -> None:
    key = await hook.world.key(["read"])
    async with hook.world.client(key) as client:
        shown = (await client.get(f"/v1/sources/{hook.source}")).json()
    assert shown["webhook"] == hook.path
