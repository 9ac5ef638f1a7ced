"""The tool boundary against a real HTTP server."""

from __future__ import annotations

import asyncio
import base64
import gzip
from typing import Any
from urllib.parse import quote

import pytest

from agentos_engine.runtime import connector, errors, frame, scrub
from agentos_engine.runtime.cassette import Cassette
from tests.support import http_server, world

SECRET = "canary+0123/456789=="
BASIC = base64.b64encode(f"me:{SECRET}".encode()).decode()
Response = http_server.Response


def body(url: str, operation: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "shop", "baseUrl": f"{url}/v1/", "hosts": ["127.0.0.1"], "headers": {"x-team": "growth"},
        "auth": {"type": "bearer", "secret": "shop-key"}, "timeoutMs": 2000, "operations": {"get": operation}, **more,
    }  # fmt: skip


def operation(**more: Any) -> dict[str, Any]:
    return {"description": "", "effect": "read", "method": "get", "path": "/items/{id}", **more}


async def call(
    here: world.World,
    connector_body: dict[str, Any],
    args: Any,
    path: str = "fetch",
    record: world.Record | None = None,
) -> Any:
    it = frame.Frame.of(world.config(here, record))  # type: ignore[arg-type]
    return await connector.Operation(connector_body, "get").call(args, it, path)


@pytest.fixture
async def here() -> Any:
    made = world.World(secrets={"shop-key": SECRET})
    yield made
    if made.client is not None:
        await made.client.aclose()


async def echo(request: http_server.Request) -> Response:
    return Response(body={"path": request.path, "query": request.query, "body": request.body.decode()})


async def fails(here: world.World, answer: Response, **more: Any) -> errors.RunError:
    async def handler(request: http_server.Request) -> Response:
        return answer

    async with http_server.serve(handler) as server:
        with pytest.raises(errors.RunError) as raised:
            await call(here, body(server.url, operation(**more)), {"id": 1})
    return raised.value


async def test_a_request_is_made_of_its_arguments(here: world.World) -> None:
    made = operation(
        query={
            "tag": "${input.tags}",
            "none": "${input.none}",
            "deep": "${input.deep}",
            "sure": "${true}",
            "n": "${2.0}",
        },
        headers={"x-user": "${run.user}"},
        body={"name": "${input.name}", "fixed": 1},
        method="post",
        idempotency="Idempotency-Key",
        input={"type": "object", "required": ["id"], "properties": {"n": {"type": "integer", "default": 3}}},
    )
    args = {"id": "a/b ?ü", "tags": ["x", "y&z"], "none": None, "deep": {"k": 1}, "name": "Bo"}
    async with http_server.serve(echo) as server:
        answer = await call(here, body(server.url, made), args, "sub/charge[2]")
        (request,) = server.requests
    assert request.method == "POST"
    assert request.path == f"/v1/items/{quote('a/b ?ü', safe='')}"
    assert request.query == [("tag", "x"), ("tag", "y&z"), ("deep", '{"k":1}'), ("sure", "true"), ("n", "2")]
    assert request.json == {"name": "Bo", "fixed": 1}
    assert request.headers["x-team"] == "growth"
    assert request.headers["x-user"] == "ann"
    assert request.headers["idempotency-key"] == "run-1/sub/charge[2]"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert answer["path"] == request.path
    assert here.hosts == [("127.0.0.1",)]


@pytest.mark.parametrize("id_", ["", ".", "..", None, ["x"], {"a": 1}])
async def test_arguments_cannot_leave_their_place_in_the_path(here: world.World, id_: Any) -> None:
    with pytest.raises(errors.RunError) as raised:
        await call(here, body("http://127.0.0.1:1", operation()), {"id": id_})
    assert raised.value.class_ == "InvalidInput"
    assert "with.id" in raised.value.message


async def test_arguments_cannot_add_headers(here: world.World) -> None:
    made = operation(headers={"x-name": "${input.name}"})
    with pytest.raises(errors.RunError, match="header x-name"):
        await call(here, body("http://127.0.0.1:1", made), {"id": 1, "name": "a\r\nx-admin: 1"})


@pytest.mark.parametrize(
    ("auth", "header", "query"),
    [
        ({"type": "basic", "username": "me"}, ("authorization", f"Basic {BASIC}"), None),
        ({"type": "apiKey", "header": "X-Key"}, ("x-key", SECRET), None),
        ({"type": "apiKey", "query": "token"}, None, ("token", SECRET)),
    ],
)  # fmt: skip
async def test_ways_to_authenticate(here: world.World, auth: Any, header: Any, query: Any) -> None:
    async with http_server.serve(echo) as server:
        answer = await call(here, body(server.url, operation(), auth={**auth, "secret": "shop-key"}), {"id": 1})
        (request,) = server.requests
    if header is not None:
        assert request.headers[header[0]] == header[1]
    if query is not None:
        assert query in request.query
        assert SECRET not in str(answer)


@pytest.mark.parametrize(
    ("status", "class_", "retryable"),
    [
        (301, "ToolFailed", False), (400, "BadRequest", False), (401, "Unauthorized", False),
        (403, "Unauthorized", False), (404, "NotFound", False), (408, "Timeout", True), (409, "Conflict", False),
        (422, "BadRequest", False), (429, "RateLimited", True), (500, "Unavailable", True), (504, "Timeout", True),
    ],
)  # fmt: skip
async def test_statuses_are_error_classes(here: world.World, status: int, class_: str, retryable: bool) -> None:
    error = await fails(here, Response(status, {"why": "because"}, {"location": "http://127.0.0.1:1/"}))
    assert (error.class_, error.retryable, error.details) == (class_, retryable, {"status": status})
    assert "because" in error.message


async def test_retry_after_is_a_number_or_a_date(here: world.World) -> None:
    assert (await fails(here, Response(429, b"", {"retry-after": "12"}))).retry_after == 12
    at = "Sun, 22 Nov 2026 09:30:30 GMT"
    assert (await fails(here, Response(503, b"", {"retry-after": at}))).retry_after == 30
    assert (await fails(here, Response(503, b"", {"retry-after": "soon"}))).retry_after is None


async def test_authors_name_their_own_errors(here: world.World) -> None:
    classes = {"OutOfStock": "status == 409 && body.code == 'oos'", "Broken": "body.ok == false"}
    assert (await fails(here, Response(409, {"code": "oos", "ok": True}), errors=classes)).class_ == "OutOfStock"
    assert (await fails(here, Response(200, {"ok": False}), errors=classes)).class_ == "Broken"


@pytest.mark.parametrize(
    "shown",
    [
        SECRET, quote(SECRET, safe=""), base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(), base64.urlsafe_b64encode(f"x{SECRET}y".encode()).decode(),
    ],
)  # fmt: skip
async def test_an_echoed_secret_is_taken_out(here: world.World, shown: str) -> None:
    error = await fails(here, Response(401, f"bad key <{shown}>".encode(), {"x-request-id": SECRET}))
    assert scrub.MASK in error.message
    for form in scrub.forms(SECRET):
        assert form not in repr((error.message, error.details))


async def test_results_are_shaped_and_validated(here: world.World) -> None:
    async def handler(request: http_server.Request) -> Response:
        return Response(200, {"data": [{"price": 3}], "next": None}, {"x-request-id": "r1"})

    output = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number"}}}},
            "id": {"type": "string"},
        },
    }
    result = {"items": "${body.data}", "id": "${headers['x-request-id']}"}
    async with http_server.serve(handler) as server:
        answer = await call(here, body(server.url, operation(output=output, result=result)), {"id": 1})
        assert answer == {"items": [{"price": 3.0}], "id": "r1"}
        assert isinstance(answer["items"][0]["price"], float)
        with pytest.raises(errors.RunError) as raised:
            await call(here, body(server.url, operation(output={"type": "array"})), {"id": 1})
    assert raised.value.class_ == "InvalidOutput"


async def test_arguments_are_validated_before_anything_is_sent(here: world.World) -> None:
    made = operation(input={"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}})
    with pytest.raises(errors.RunError) as raised:
        await call(here, body("http://127.0.0.1:1", made), {"id": "x"})
    assert (raised.value.class_, here.hosts) == ("InvalidInput", [])


async def test_large_answers_are_cut_off(here: world.World) -> None:
    bomb = gzip.compress(b"0" * (connector.MAX_BODY + 1))
    error = await fails(here, Response(200, bomb, {"content-encoding": "gzip"}))
    assert error.class_ == "ToolFailed"


async def test_text_stays_text(here: world.World) -> None:
    async def handler(request: http_server.Request) -> Response:
        return Response(200, b"\xff[1, 2]", {"content-type": "text/plain; charset=no-such"})

    async with http_server.serve(handler) as server:
        assert await call(here, body(server.url, operation()), {"id": 1}) == "\ufffd[1, 2]"


async def test_silence_is_a_timeout_and_nobody_there_is_unavailable(here: world.World) -> None:
    async def silent(request: http_server.Request) -> Response:
        await asyncio.Event().wait()
        return Response()

    async with http_server.serve(silent) as server:
        with pytest.raises(errors.RunError) as raised:
            await call(here, body(server.url, operation(), timeoutMs=50), {"id": 1})
        assert raised.value.class_ == "Timeout"
    with pytest.raises(errors.RunError) as raised:
        await call(here, body(server.url, operation()), {"id": 1})
    assert raised.value.class_ == "Unavailable"


async def test_a_secret_that_is_not_set_is_named(here: world.World) -> None:
    here.secrets.clear()
    with pytest.raises(errors.RunError, match="the secret shop-key is not set") as raised:
        await call(here, body("http://127.0.0.1:1", operation()), {"id": 1})
    assert raised.value.class_ == "Unauthorized"


async def test_recording_and_replaying(here: world.World) -> None:
    async def handler(request: http_server.Request) -> Response:
        return Response(body={"authorization": request.headers.get("authorization"), "path": request.path})

    here.cassette = Cassette(mode="record")
    async with http_server.serve(handler) as server:
        made = body(server.url, operation())
        first = await call(here, made, {"id": 1})
    assert first == {"authorization": f"Bearer {scrub.MASK}", "path": "/v1/items/1"}
    recorded = here.cassette.exchanges()
    assert SECRET not in repr(recorded)

    replayed = world.World(cassette=Cassette(recorded))
    assert await call(replayed, made, {"id": 1}) == first
    assert replayed.hosts == []
    with pytest.raises(errors.RunError, match=r'nearest recorded request is {"args":{"id":1}}') as raised:
        await call(replayed, made, {"id": 2})
    assert raised.value.class_ == "ToolFailed"

    # A secret that is set means the real thing.
    real = world.World(secrets={"shop-key": "x" * 12}, cassette=Cassette(recorded))
    with pytest.raises(errors.RunError) as raised:
        await call(real, made, {"id": 1})
    assert raised.value.class_ == "Unavailable"


async def test_without_authentication_a_recording_answers(here: world.World) -> None:
    here.cassette = Cassette(mode="record")
    async with http_server.serve(echo) as server:
        made = body(server.url, operation(), auth=None)
        first = await call(here, made, {"id": 1})
    assert await call(world.World(cassette=Cassette(here.cassette.exchanges())), made, {"id": 1}) == first
