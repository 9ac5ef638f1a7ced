"""kill -9 of the whole controller while runs are under way: nothing is lost, done twice or left behind."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import controller, http_server, repos
from tests.support.manifests import HEAD

ITEMS = 6
STUCK = 3
"""The item during whose call the controller dies."""


def manifests(url: str) -> dict[str, str]:
    return {
        "connectors/api.yaml": f"""{HEAD}kind: Connector
metadata: {{name: api}}
spec:
  http: {{baseUrl: {url}}}
  operations:
    double:
      effect: read
      request: GET /double/{{n}}
      input: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}
      output: {{type: object, required: [got], properties: {{got: {{type: integer}}}}}}
""",
        "workflows/asking.yaml": f"""{HEAD}kind: Workflow
metadata: {{name: asking}}
spec:
  steps:
    before: {{connector: api.double, with: {{n: 100}}}}
    consent: {{approve: {{by: role/lead, show: "${{steps.before.output}}"}}}}
    after: {{connector: api.double, with: {{n: 200}}}}
  output: {{value: "${{steps.after.output.got + steps.before.output.got}}"}}
""",
        "workflows/many.yaml": f"""{HEAD}kind: Workflow
metadata: {{name: many}}
spec:
  input: {{type: object, required: [items], properties: {{items: {{type: array, items: {{type: integer}}}}}}}}
  steps:
    each:
      map: {{over: "${{input.items}}", as: n, concurrency: 1}}
      connector: api.double
      with: {{n: "${{n}}"}}
  output: {{all: "${{steps.each.output.map(one, one.got)}}"}}
""",
        "agents/role.yaml": f"{HEAD}kind: Role\nmetadata: {{name: lead}}\nspec: {{description: Decides.}}\n",
    }


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("empty_postgresql_url") if request.param == "postgresql" else None


async def test_killed_while_runs_wait_and_work(database_url: str | None, tmp_path: Path) -> None:
    stuck, release = asyncio.Event(), asyncio.Event()
    calls: list[int] = []

    async def answer(request: http_server.Request) -> http_server.Response:
        n = int(request.path.rpartition("/")[2])
        calls.append(n)
        if n == STUCK and not release.is_set():
            stuck.set()
            await release.wait()
        return http_server.Response(200, {"got": 2 * n})

    async with http_server.serve(answer) as server:
        repo = repos.Repo(tmp_path / "repo")
        repo.commit(manifests(server.url))
        flags = ("--allow-egress", "127.0.0.0/8")
        with controller.serving(repo.folder, tmp_path / "state", *flags, database_url=database_url) as served:
            async with served.aclient() as client:
                await _reconcile(client)
                asking = await _run(client, "asking", {}, wait=60)
                assert asking["state"] == "waiting", asking
                many = await _run(client, "many", {"items": list(range(ITEMS))})
                await asyncio.wait_for(stuck.wait(), 60)
                before = await _state(client)
            served.kill()
            release.set()
            await asyncio.to_thread(served.start)
            async with served.aclient() as client:
                # Known from the rows, before anything was reconciled.
                assert await _state(client) == before
                ended = await _until(client, many["id"])
                assert (ended["state"], ended["output"]) == ("succeeded", {"all": [2 * n for n in range(ITEMS)]})
                await _decide(served, client, asking["id"])
                ended = await _until(client, asking["id"])
                assert (ended["state"], ended["output"]) == ("succeeded", {"value": 600})
                await _reconcile(client)
                assert await _state(client) == before
                await _nothing_is_left(client)
            assert served.stop(signal.SIGTERM) == 0
    counted = {n: calls.count(n) for n in set(calls)}
    assert counted.pop(STUCK) == 2, "the call under way is made again, nothing else is"
    assert set(counted.values()) == {1}, counted


async def _reconcile(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/reconcile", json={})
    done = await client.get(f"/v1/commands/{made.json()['id']}", params={"wait": 60})
    assert done.json()["state"] == "done", done.text


async def _run(client: httpx.AsyncClient, name: str, given: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = await client.post(
        "/v1/tenants/default/runs", json={"kind": "Workflow", "name": name, "input": given, **more}
    )
    assert answer.status_code == 201, answer.text
    run: dict[str, Any] = answer.json()
    return run


async def _state(client: httpx.AsyncClient) -> tuple[Any, ...]:
    """Generations and what is known of every resource."""
    generations = (await client.get("/v1/tenants/default/generations")).json()["items"]
    resources = (await client.get("/v1/tenants/default/resources")).json()["items"]
    assert len(resources) == 4
    assert all(one["ready"] for one in resources)
    return generations, resources


async def _decide(served: controller.Controller, client: httpx.AsyncClient, run_id: str) -> None:
    key = await client.post("/v1/keys", json={"name": "ada", "permissions": ["run"], "roles": ["lead"]})
    (approval,) = (await client.get("/v1/tenants/default/approvals", params={"state": "open"})).json()["items"]
    assert approval["run"] == run_id
    async with served.aclient(key.json()["key"]) as ada:
        path = f"/v1/tenants/default/approvals/{approval['id']}/decision"
        answers = [await ada.post(path, json={"decision": "approved"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 409], "the first decision counts"


async def _until(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    """The run, once its stream of events ends."""
    headers = {"accept": "text/event-stream"}
    async with client.stream("GET", f"/v1/tenants/default/runs/{run_id}/events", headers=headers) as stream:
        await stream.aread()
    run: dict[str, Any] = (await client.get(f"/v1/tenants/default/runs/{run_id}")).json()
    return run


async def _nothing_is_left(client: httpx.AsyncClient) -> None:
    for state in ("pending", "running", "waiting", "cancelling"):
        assert (await client.get("/v1/tenants/default/runs", params={"state": state})).json()["items"] == []
    for one in (await client.get("/v1/tenants/default/runs")).json()["items"]:
        events = (await client.get(f"/v1/tenants/default/runs/{one['id']}/events", params={"limit": 500})).json()
        numbers = [event["sequence"] for event in events["items"]]
        assert numbers == list(range(1, len(numbers) + 1))
        assert [event["type"] for event in events["items"]][-1] == "run.succeeded"
