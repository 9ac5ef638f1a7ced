"""Errors, keys and secrets, health: what is told and what is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from agentos_controller import ids, secrets, tables
from tests.support.apiworld import Tenant, World, problem


async def test_every_error_is_a_problem(acme: Tenant, client: httpx.AsyncClient) -> None:
    problem(await client.get("/nothing"), 404, "NotFound")
    problem(await client.get("/v1/tenants/nobody"), 404, "NotFound")
    problem(await client.get("/v1/tenants/acme/resources/agent/echo"), 404, "NotFound")
    problem(await client.get("/v1/tenants/acme/resources/Agent/%00"), 422, "InvalidRequest")
    problem(await client.get("/v1/tenants/acme/resources?label=a%00=b"), 422, "InvalidRequest")
    problem(await client.get("/v1/tenants/acme/runs/nonsense"), 404, "NotFound")
    problem(await client.get(f"/v1/tenants/acme/generations/{2**70}"), 422, "InvalidRequest")
    problem(await client.get("/v1/tenants/acme/"), 404, "NotFound")
    answer = await client.patch("/v1/tenants/acme")
    problem(answer, 405, "MethodNotAllowed")
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["resources/Agent/echo", "generations/1"])
async def test_what_git_decides_cannot_be_written(
    acme: Tenant, client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, f"/v1/tenants/acme/{path}", json={})
    problem(answer, 405, "MethodNotAllowed")
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"[]", b'"x"', b'{"kind": "Agent"}', b'{"kind": "Agent", "name": "echo", "inptu": 1}', b"\xff\xfe",
     b'{"kind": "Agent", "name": "echo", "input": NaN}', b'{"kind": "Agent", "name": "echo", "input": "\\ud800"}',
     b'{"kind": "Tool", "name": "echo"}', b'{"kind": "Agent", "name": "echo", "thread": "x"}'],
)  # fmt: skip
async def test_a_body_that_cannot_be_meant_is_refused_and_not_repeated(
    acme: Tenant, client: httpx.AsyncClient, body: bytes
) -> None:
    headers = {"content-type": "application/json"}
    document = problem(await client.post("/v1/tenants/acme/runs", content=body, headers=headers), 422, "InvalidRequest")
    assert document["errors"][0]["in"] == "body"
    assert "inptu" not in document["errors"][0]["message"]


async def test_a_secret_in_a_bad_request_is_not_repeated(acme: Tenant, client: httpx.AsyncClient) -> None:
    answer = await client.put("/v1/tenants/acme/secrets/token", json={"value": {"nested": "canary-4711"}})
    problem(answer, 422, "InvalidRequest")
    assert "canary" not in answer.text


async def test_a_known_secret_in_a_wrong_input_is_not_repeated(acme: Tenant, client: httpx.AsyncClient) -> None:
    body = {"kind": "Workflow", "name": "flow", "input": {"n": "a-secret-value"}}
    document = problem(await client.post("/v1/tenants/acme/runs", json=body), 422, "InvalidRequest")
    assert document["errors"][0]["path"] == "/input/n"
    assert "a-secret-value" not in str(document)


async def test_a_body_too_large_is_refused_before_it_is_read(world: World, acme: Tenant) -> None:
    key = await world.key()
    async with world.served(key) as client:
        path = "/v1/tenants/acme/runs"
        problem(await client.post(path, content=b"x" * (1024 * 1024 + 1)), 413, "RequestTooLarge")

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"x" * 100_000

        problem(await client.post(path, content=chunks()), 413, "RequestTooLarge")
        assert (await client.get("/v1/tenants")).status_code == 200


async def test_an_unexpected_failure_tells_only_the_request_id(
    world: World, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.db.write() as conn:
        await conn.execute(sa.text("DROP TABLE tenant" + (" CASCADE" if world.db.dialect == "postgresql" else "")))
    answer = await client.get("/v1/tenants", headers={"x-request-id": "my-request-1"})
    document = problem(answer, 500, "InternalError")
    assert "tenant" not in document["detail"]
    assert document["requestId"] == "my-request-1"
    assert [record.request_id for record in caplog.records if hasattr(record, "request_id")] == ["my-request-1"]


async def test_every_answer_has_an_id_and_the_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/nothing", "/v1/tenants"):
        headers = (await client.get(path, headers={"x-request-id": "bad id\t"})).headers
        assert len(headers["x-request-id"]) == 36
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"


async def test_a_key_is_shown_once_works_and_is_revoked(world: World, acme: Tenant, client: httpx.AsyncClient) -> None:
    body = {"name": "ci", "permissions": ["run"], "roles": ["lead"], "tenant": "acme", "expiresIn": "30d"}
    headers = {"idempotency-key": "k1"}
    made = await client.post("/v1/keys", json=body, headers=headers)
    assert made.status_code == 201, made.text
    text = made.json()["key"]
    again = (await client.post("/v1/keys", json=body, headers=headers)).json()
    assert again == {name: value for name, value in made.json().items() if name != "key"}
    async with world.db.read() as conn:
        stored = (await conn.execute(sa.select(tables.idempotency.c.body))).scalars().all()
    assert all(text.encode() not in (each or b"") for each in stored)
    assert text not in (await client.get("/v1/keys")).text
    async with world.client() as other:
        assert (await other.get("/v1/tenants/acme", headers={"x-api-key": text})).status_code == 200
        assert (await client.delete(f"/v1/keys/{made.json()['id']}")).status_code == 204
        problem(await other.get("/v1/tenants/acme", headers={"x-api-key": text}), 401, "Unauthenticated")
    assert (await client.delete(f"/v1/keys/{made.json()['id']}")).status_code == 204
    problem(await client.delete(f"/v1/keys/{ids.new()}"), 404, "NotFound")
    problem(await client.post("/v1/keys", json=body | {"expiresIn": "soon"}), 422, "InvalidRequest")
    problem(await client.post("/v1/keys", json=body | {"permissions": ["root"]}), 422, "InvalidRequest")


async def test_a_tenants_admin_makes_keys_of_its_tenant_only(world: World, acme: Tenant) -> None:
    await world.populate("globex")
    async with world.client(await world.key(("admin",), acme.id)) as client:
        made = await client.post("/v1/keys", json={"name": "x", "permissions": ["admin"]})
        assert made.json()["tenant"] == "acme"
        body = {"name": "x", "permissions": ["read"], "tenant": "globex"}
        problem(await client.post("/v1/keys", json=body), 404, "NotFound")


async def test_a_secret_goes_in_and_never_comes_out(
    world: World, acme: Tenant, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    path = "/v1/tenants/acme/secrets"
    done = await client.put(f"{path}/api", json={"value": "canary-4711"})
    assert done.status_code == 200
    assert done.json()["version"] == 1
    assert (await client.put(f"{path}/api", json={"value": "canary-4712"})).json()["version"] == 2
    for text in (done.text, (await client.get(path)).text, (await client.get(f"{path}/api")).text):
        assert "canary" not in text
    assert (await client.delete(f"{path}/api")).status_code == 204
    problem(await client.delete(f"{path}/api"), 404, "NotFound")
    problem(await client.put(f"{path}/Bad_Name", json={"value": "xxxxxx"}), 422, "InvalidRequest")
    folder = tmp_path / "mounted" / "acme"
    folder.mkdir(parents=True)
    (folder / "from-disk").write_text("mounted-value\n")
    mounted = World(world.db, world.clock, tmp_path, mount=secrets.Mounted(tmp_path / "mounted"))
    async with mounted.client(await world.key()) as other:
        shown = (await other.get(path)).json()["items"]
        assert [(each["name"], each["provider"]) for each in shown] == [("from-disk", "mounted"), ("token", "stored")]
        problem(await other.delete(f"{path}/from-disk"), 409, "Conflict")


async def test_a_secret_is_bound_to_hosts(acme: Tenant, client: httpx.AsyncClient) -> None:
    path = "/v1/tenants/acme/secrets/api"
    made = await client.put(path, json={"value": "canary-4711", "hosts": ["B.example.com:8443", "*.a.org"]})
    assert (made.json()["version"], made.json()["hosts"]) == (1, ["*.a.org", "b.example.com:8443"])
    assert (await client.put(path, json={"value": "canary-4712"})).json()["hosts"] == made.json()["hosts"]
    anew = (await client.put(path, json={"hosts": ["c.example.com"]})).json()
    assert (anew["version"], anew["hosts"]) == (2, ["c.example.com"])
    for wrong in ({}, {"hosts": []}, {"hosts": ["https://c.example.com"]}, {"hosts": ["a b"]}, {"hosts": ["*"]}):
        problem(await client.put(path, json=wrong), 422, "InvalidRequest")
    problem(await client.put("/v1/tenants/acme/secrets/unset", json={"hosts": ["a.org"]}), 404, "NotFound")
    assert (await client.get(path)).json() == anew
    await client.delete(path)
    assert (await client.put(path, json={"value": "canary-4713"})).json()["hosts"] == []
    trail = (await client.get("/v1/audit")).json()["items"]
    (bound,) = [each for each in trail if each["action"] == "secret.bind"]
    assert bound["detail"] == {"hosts": ["c.example.com"]}


async def test_the_trail_shows_who_did_what(acme: Tenant, client: httpx.AsyncClient) -> None:
    await client.put("/v1/tenants/acme/secrets/api", json={"value": "canary-4711"})
    await client.delete("/v1/tenants/acme/secrets/api")
    trail = (await client.get("/v1/audit")).json()["items"]
    assert {"secret.set", "secret.remove"} <= {each["action"] for each in trail}
    assert all(each["actor"] for each in trail)
    assert "canary" not in str(trail)


async def test_health_readiness_and_metrics_need_no_key(world: World, acme: Tenant, tmp_path: Path) -> None:
    loop = {"ok": True, "rounds": 3}
    counters = {"blobsRead": 7.0}
    other = World(
        world.db, world.clock, tmp_path, loops={"reconcile": lambda: loop}, counters={"reconcile": lambda: counters}
    )
    async with other.client() as client:
        assert (await client.get("/healthz")).json() == {"ok": True, "checks": {"reconcile": loop}}
        assert (await client.get("/readyz")).json()["checks"]["database"] == {"ok": True}
        page = (await client.get("/metrics")).text
        assert "agentos_reconcile_blobs_read_total 7.0" in page
        assert 'agentos_runs{state="waiting"} 1.0' in page
        assert 'agentos_resources{ready="True"} 2.0' in page
        assert 'route="/healthz",status="200"' in page
        assert "acme" not in page
        loop["ok"] = False
        assert problem(await client.get("/healthz"), 503, "NotReadyYet")["checks"]["reconcile"]["ok"] is False
        problem(await client.get("/readyz"), 503, "NotReadyYet")
