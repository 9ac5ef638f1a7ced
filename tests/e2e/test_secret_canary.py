"""Secrets that were really sent, and came back in every form, stand nowhere but encrypted in their own row."""

from __future__ import annotations

import base64
import re
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest

from tests.support import controller, http_server, leaks, repos
from tests.support.manifests import HEAD

CONNECTOR_KEY = "cnry+Connector/7b1e93d0a5c84f26=&?%_x"
MODEL_KEY = "sk-cnry-Model+0f4a6b8c2d9e7135/=~x"
SECRETS = {"api-key": CONNECTOR_KEY, "model-key": MODEL_KEY}


def manifests(url: str) -> dict[str, str]:
    calls = {"told": "GET /told", "refused": "GET /refused", "redirected": "GET /redirected"}
    operations = "\n".join(
        f"    {name}: {{effect: read, request: {request}, retry: {{attempts: 1}}}}" for name, request in calls.items()
    )
    things = {
        "connectors/api.yaml": f"""{HEAD}kind: Connector
metadata: {{name: api}}
spec:
  http: {{baseUrl: {url}}}
  auth: {{bearer: {{secret: api-key}}}}
  operations:
{operations}
""",
        "agents/models.yaml": f"""{HEAD}kind: Model
metadata: {{name: told}}
spec: {{provider: openai, name: told, baseUrl: {url}/v1, auth: {{secret: model-key}}}}
---
{HEAD}kind: Model
metadata: {{name: refused}}
spec: {{provider: openai, name: refused, baseUrl: {url}/v1, auth: {{secret: model-key}}}}
---
{HEAD}kind: Agent
metadata: {{name: asker}}
spec:
  model: told
  instructions: Ask.
  tools: {{api: {{connector: api, operations: [told, refused]}}}}
""",
    }
    steps = {
        "connector-told": "connector: api.told",
        "connector-refused": "connector: api.refused",
        "connector-redirected": "connector: api.redirected",
        "model-told": "llm: {model: told, prompt: Say it}",
        "model-refused": "llm: {model: refused, prompt: Say it}",
        "agent-asks": "agent: asker\n      with: {message: Ask}",
    }
    for name, step in steps.items():
        things[f"workflows/{name}.yaml"] = f"""{HEAD}kind: Workflow
metadata: {{name: {name}}}
spec:
  steps:
    only:
      {step}
  output: {{got: "${{steps.only.output}}"}}
"""
    return things


def echo(secret: str) -> dict[str, Any]:
    """What a careless server says of the key it was sent."""
    raw = secret.encode()
    return {
        "raw": f"the key {secret} is not known",
        "base64": [base64.b64encode(b"x" * offset + raw + b"y").decode() for offset in range(3)],
        "url": [quote(secret, safe=""), quote(secret)],
        "hex": raw.hex(),
        secret: "as a key",
    }


@asynccontextmanager
async def careless() -> AsyncIterator[http_server.Server]:
    """A server that echoes the key it is sent: an API of its own, and OpenAI's."""

    async def answer(request: http_server.Request) -> http_server.Response:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if request.path == "/redirected":
            where = f"http://{request.headers['host']}/stolen/{quote(key, safe='')}"
            return http_server.Response(302, echo(key), {"location": where})
        if not request.path.endswith("/chat/completions"):
            return http_server.Response(401 if request.path == "/refused" else 200, echo(key))
        asked = request.json
        if asked["model"] == "refused":
            error = {"message": str(echo(key)), "type": "invalid_request_error", "code": "invalid_api_key"}
            return http_server.Response(401, {"error": error})
        message: dict[str, Any] = {"role": "assistant", "content": str(echo(key))}
        if asked.get("tools") and asked["messages"][-1]["role"] != "tool":
            calls = [("call_1", "api_told"), ("call_2", "api_refused")]
            message["tool_calls"] = [
                {"id": id_, "type": "function", "function": {"name": name, "arguments": "{}"}} for id_, name in calls
            ]
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if len(message) > 2 else "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        head = {"id": f"chatcmpl-{key}", "created": 1, "model": "m", "usage": usage}
        if asked.get("stream"):
            delta = {"index": 0, "delta": message, "finish_reason": None}
            if "tool_calls" in message:
                message["tool_calls"] = [{**call, "index": i} for i, call in enumerate(message["tool_calls"])]
            last = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
            chunks = [{**head, "object": "chat.completion.chunk", "choices": [one]} for one in (delta, last)]
            lines = [b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks]
            return http_server.Response(
                200, b"".join(lines) + b"data: [DONE]\n\n", {"content-type": "text/event-stream"}
            )
        return http_server.Response(200, {**head, "object": "chat.completion", "choices": [choice]})

    async with http_server.serve(answer) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgresql":
        yield request.getfixturevalue("empty_postgresql_url")
    else:
        yield f"sqlite:///{tmp_path / 'state' / 'agentos.db'}"


async def test_a_secret_that_was_sent_stands_nowhere(url: str, tmp_path: Path) -> None:
    seen: dict[str, str | bytes] = {}
    cassettes = tmp_path / "cassettes"
    async with careless() as server:
        repo = repos.Repo(tmp_path / "repo")
        repo.commit(manifests(server.url))
        flags = ("--allow-egress", "127.0.0.0/8", "--record", str(cassettes), "--log-level", "debug")
        with controller.serving(repo.folder, tmp_path / "state", *flags, database_url=url, key=None) as served:
            admin = served.key
            assert admin is not None
            async with served.aclient() as client:
                await _use(client, seen)
                made = await _key(client)
                await _walk(client, seen)
            listing = served.agentos("get", "all", "-o", "json")
            seen["the command line"] = listing.stdout + listing.stderr
            assert served.stop() == 0
        sent = [request.headers.get("authorization", "") for request in server.requests]
    assert {f"Bearer {CONNECTOR_KEY}", f"Bearer {MODEL_KEY}"} <= set(sent), "the secrets were never sent"
    assert not [request for request in server.requests if "stolen" in request.path], "a redirect was followed"
    assert stat.S_IMODE((tmp_path / "state" / "admin.key").stat().st_mode) == 0o600
    seen["the log"] = served.words
    recorded = [path for path in cassettes.rglob("*") if path.is_file()]
    assert len(recorded) >= 4
    seen |= {f"cassette {path.name}": path.read_bytes() for path in recorded}
    leaked = {place: leak for place, content in seen.items() if (leak := _leaks(SECRETS, content))}
    assert not leaked
    _search_rows(url, SECRETS | {"the admin key": admin, "a key": made})


async def _use(client: httpx.AsyncClient, seen: dict[str, str | bytes]) -> None:
    """Set the secrets, wrongly too, and let everything send them."""
    answer = await client.post("/v1/reconcile", json={})
    await client.get(f"/v1/commands/{answer.json()['id']}", params={"wait": 60})
    for name, secret in SECRETS.items():
        path = f"/v1/tenants/default/secrets/{name}"
        for wrong in ({"value": [secret]}, {"valeu": secret}, {"value": secret + "\0"}):
            answer = await client.put(path, json=wrong)
            assert answer.status_code == 422
            seen[f"PUT {path} {list(wrong)} {answer.headers['x-request-id']}"] = answer.text
        answer = await client.put(path, json={"value": secret}, headers={"idempotency-key": f"set-{name}"})
        assert answer.status_code == 200, answer.text
        seen[f"PUT {path}"] = answer.text
    for path in ("workflow/connector", "workflow/model"):
        kind = path.partition("/")[2]
        for how in ("told", "refused"):
            run = await _run(client, f"{kind}-{how}", seen)
            assert run["state"] == ("succeeded" if how == "told" else "failed"), run
            assert how == "told" or run["error"]["class"] == "Unauthorized"
    for name in ("agent-asks", "connector-redirected"):
        await _run(client, name, seen)


async def _run(client: httpx.AsyncClient, name: str, seen: dict[str, str | bytes]) -> Mapping[str, Any]:
    answer = await client.post(
        "/v1/tenants/default/runs", json={"kind": "Workflow", "name": name, "input": {}, "wait": 60}
    )
    assert answer.status_code == 201, answer.text
    seen[f"run {name}"] = answer.text
    run: Mapping[str, Any] = answer.json()
    async with client.stream(
        "GET", f"/v1/tenants/default/runs/{run['id']}/events", headers={"accept": "text/event-stream"}
    ) as stream:
        seen[f"events of {name}"] = (await stream.aread()).decode()
    assert "run.started" in str(seen[f"events of {name}"])
    return run


async def _key(client: httpx.AsyncClient) -> str:
    """The text of a new key, which is told once, also to who asks twice."""
    again = {"headers": {"idempotency-key": "one-key"}, "json": {"name": "k", "permissions": ["read"]}}
    text: str = (await client.post("/v1/keys", **again)).json()["key"]
    repeated = await client.post("/v1/keys", **again)
    assert repeated.headers["idempotency-replayed"] == "true"
    assert "key" not in repeated.json()
    return text


async def _walk(client: httpx.AsyncClient, seen: dict[str, str | bytes]) -> None:
    """Read everything that can be read: every GET of the API, for everything there is."""
    plan = await client.post("/v1/plans", json={"tenant": "default", "files": {}}, params={"wait": 30})
    assert plan.status_code == 202, plan.text
    document = (await client.get("/v1/openapi.json")).json()
    listed: dict[str, list[dict[str, Any]]] = {}
    for path in ("tenants/default/resources", "tenants/default/runs", "sources", "tenants/default/generations"):
        listed[path] = (await client.get(f"/v1/{path}")).json()["items"]
    command = (await client.post("/v1/reconcile", json={})).json()["id"]
    ids = {
        "/v1/sources/{id}": [one["id"] for one in listed["sources"]],
        "/v1/commands/{id}": [command],
        "/v1/plans/{id}": [plan.json()["id"]],
        "/v1/tenants/{tenant}/runs/{id}": [one["id"] for one in listed["tenants/default/runs"]],
        "/v1/tenants/{tenant}/approvals/{id}": ["01999999-9999-7999-8999-999999999999"],
    }
    for path, operations in document["paths"].items():
        if "get" not in operations:
            continue
        for where in _filled(path, ids, listed):
            if path.endswith("/watch"):
                async with client.stream("GET", where, params={"after": 0}) as stream:
                    chunks = stream.aiter_text()
                    seen[where] = await anext(chunks) + await anext(chunks)
                continue
            answer = await client.get(where)
            # A Model folds into what uses it and has no artifact; nothing here asks for an approval.
            absent = path.endswith(("/artifact", "/approvals/{id}"))
            assert answer.status_code == 200 or (absent and answer.status_code == 404), f"{where}: {answer.text}"
            seen[where] = answer.text + str(answer.headers)


def _filled(path: str, ids: Mapping[str, list[str]], listed: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Every address of a route, with what is there for its parameters."""
    if "{id}" in path:
        (found,) = [each for start, each in ids.items() if path.startswith(start)]
        yield from (path.format(tenant="default", id=one) for one in found)
    elif "{kind}" in path:
        resources = listed["tenants/default/resources"]
        yield from (path.format(tenant="default", kind=one["kind"], name=one["name"]) for one in resources)
    elif "{seq}" in path:
        generations = listed["tenants/default/generations"]
        yield from (path.format(tenant="default", seq=one["generation"]) for one in generations)
    elif "{secret}" in path:
        yield from (path.format(tenant="default", secret=one) for one in SECRETS)
    else:
        filled = path.format(tenant="default")
        assert not re.search(r"[{}]", filled), f"no value for {path}"
        yield filled


def _leaks(secrets: Mapping[str, str], content: str | bytes) -> dict[str, list[str]]:
    return {name: forms for name, secret in secrets.items() if (forms := leaks.found(secret, content))}


def _search_rows(url: str, secrets: Mapping[str, str]) -> None:
    tables = set()
    leaked = []
    for table, data in leaks.rows(url):
        tables.add(table.rpartition(".")[2])
        if leak := _leaks(secrets, data):
            leaked.append((table, leak, data[:1000]))
    assert not leaked
    assert {"secret", "run", "run_event", "checkpoints", "workflow_status", "audit", "plan", "idempotency"} <= tables
