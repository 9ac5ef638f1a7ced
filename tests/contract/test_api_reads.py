"""What every client may rely on when it reads: forms, pages, filters."""

from __future__ import annotations

from typing import Any

import httpx
import jsonschema_rs
import pytest
import sqlalchemy as sa
from fastapi.routing import APIRoute

from agentos_controller import ids, tables
from agentos_controller.views import paging
from tests.support import apiworld
from tests.support.apiworld import Tenant, World, pages, problem


async def test_every_answer_has_the_form_the_openapi_document_says(
    world: World, acme: Tenant, client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    document = (await client.get("/v1/openapi.json")).json()
    path_values = {"tenant": "acme", "kind": "Agent", "name": "echo", "seq": "2", "secret": "token"}
    known = {
        "runs": acme.run,
        "approvals": acme.approval,
        "sources": acme.source,
        "plans": acme.plan,
        "commands": acme.command,
    }
    checked = 0
    await world.run(acme.id, state="waiting", target_kind="Agent", target_name="echo", ended_at=None)
    for route in world.app.routes:
        if not isinstance(route, APIRoute) or route.methods != {"GET"} or route.name in ("get_metrics", "get_openapi"):
            continue
        content = document["paths"][route.path_format]["get"]["responses"]["200"].get("content", {})
        if "application/json" not in content:
            continue
        noun = route.path.split("/{id}")[0].rsplit("/", 1)[1]
        with subtests.test(route.name):
            answer = await client.get(route.path.format(**path_values, id=known.get(noun, "")))
            assert answer.status_code == 200, answer.text
            _validate(document, content["application/json"]["schema"], answer.json())
            if "items" in answer.json() and route.name != "list_resource_diagnostics":
                assert answer.json()["items"], "an empty list shows no form"
            checked += 1
    assert checked > 20


def _validate(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    strict = {name: _closed(each) for name, each in document["components"]["schemas"].items()}
    whole = {**schema, "components": {"schemas": strict}}
    found = [
        f"{error.instance_path}: {error.message}" for error in jsonschema_rs.validator_for(whole).iter_errors(value)
    ]
    assert not found, found


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A member nobody declared is a mistake, so objects with declared members have no others."""
    return schema | {"additionalProperties": False} if "properties" in schema else schema


async def test_the_openapi_document_is_whole(client: httpx.AsyncClient) -> None:
    document = (await client.get("/v1/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert "500" in operation["responses"], (method, path)
            assert "422" not in operation["responses"] or "x-codes" in operation["responses"]["422"]
            if operation["security"]:
                assert {"401", "403"} <= set(operation["responses"])
                assert operation["x-permission"]
    references = {value for value in _strings(document) if value.startswith("#/components/schemas/")}
    assert {value.rsplit("/", 1)[1] for value in references} <= set(document["components"]["schemas"])


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return [value] if isinstance(value, str) else []


async def test_a_resource_says_what_serves_and_what_was_observed(acme: Tenant, client: httpx.AsyncClient) -> None:
    shown = (await client.get("/v1/tenants/acme/resources/Agent/echo")).json()
    assert shown["ready"] is True
    assert shown["digest"] == apiworld.digest("Agent/echo")
    assert shown["revision"] == apiworld.REVISION
    # No commit touched it since, but its source was reconciled up to its head.
    assert {condition["observedRevision"] for condition in shown["conditions"]} == {apiworld.HEAD}
    assert [condition["type"] for condition in shown["conditions"]][-3:] == ["Ready", "Reconciling", "Stalled"]
    assert shown["updatedAt"] == "1970-01-01T00:00:00.000001Z"
    stuck = (await client.get("/v1/tenants/acme/resources/Workflow/flow")).json()
    assert stuck["ready"] is False
    assert stuck["reason"] == "UnknownReference"


async def test_artifact_dependents_history_and_diagnostics_of_a_resource(
    acme: Tenant, client: httpx.AsyncClient
) -> None:
    path = "/v1/tenants/acme/resources"
    artifact = (await client.get(f"{path}/Agent/echo/artifact")).json()
    assert artifact["body"] == {"form": "agent", "name": "echo"}
    dependents = (await client.get(f"{path}/Connector/crm/dependents")).json()["items"]
    assert [(each["name"], each["direct"]) for each in dependents] == [("echo", True), ("flow", False)]
    found = (await client.get(f"{path}/Workflow/flow/diagnostics")).json()["items"]
    assert [(each["code"], each["line"], each["column"]) for each in found] == [("UnknownReference", 7, 9)]
    problem(await client.get(f"{path}/Agent/nobody/artifact"), 404, "NotFound")
    problem(await client.get(f"{path}/Agent/nobody/dependents"), 404, "NotFound")


async def test_history_tells_creation_change_deletion_and_return(world: World, client: httpx.AsyncClient) -> None:
    tenant_id = await world.tenant("acme", active_seq=9)
    for seq in (1, 3, 5, 8):
        await world.generation(tenant_id, seq, "superseded")
    await world.item(tenant_id, "Agent", "echo", 1, 3)
    await world.item(tenant_id, "Agent", "echo", 3, 5)
    await world.item(tenant_id, "Agent", "echo", 8)
    path = "/v1/tenants/acme/resources/Agent/echo/history"
    whole = (await client.get(path)).json()["items"]
    told = [(each["generation"], each["action"], each["live"]) for each in whole]
    assert told == [(8, "created", True), (5, "deleted", False), (3, "changed", False), (1, "created", False)]
    for size in (1, 2, 3):
        assert await pages(client, path, limit=size) == whole


async def test_every_list_is_the_same_in_pages_of_one(acme: Tenant, world: World, client: httpx.AsyncClient) -> None:
    await world.populate("globex")
    of = "/v1/tenants/acme"
    for path in (
        "/v1/tenants",
        "/v1/sources",
        f"/v1/sources/{acme.source}/revisions",
        "/v1/keys",
        "/v1/audit",
        f"{of}/resources",
        f"{of}/resources/Connector/crm/dependents",
        f"{of}/generations",
        f"{of}/runs",
        f"{of}/runs/{acme.run}/steps",
        f"{of}/runs/{acme.run}/events",
        f"{of}/approvals",
        f"{of}/events",
        f"{of}/diagnostics",
        f"{of}/schedules",
        f"{of}/secrets",
    ):
        whole = (await client.get(path)).json()["items"]
        assert whole, path
        assert await pages(client, path, limit=1) == whole, path
    items = (await client.get(f"{of}/generations/2")).json()["items"]
    assert await pages(client, f"{of}/generations/2", limit=1) == items


async def test_a_cursor_is_stable_while_rows_come_and_go(world: World, client: httpx.AsyncClient) -> None:
    tenant_id = await world.tenant("acme")
    source_id = await world.source(tenant_id)
    rows = [apiworld.resource(tenant_id, source_id, "Agent", name) for name in ("b", "d", "f", "h")]
    await world.insert(tables.resource, *rows)
    path = "/v1/tenants/acme/resources"
    first = (await client.get(path, params={"limit": 2})).json()
    assert [each["name"] for each in first["items"]] == ["b", "d"]
    more = [apiworld.resource(tenant_id, source_id, "Agent", name) for name in ("a", "c", "e")]
    await world.insert(tables.resource, *more)
    async with world.db.write() as conn:
        await conn.execute(sa.delete(tables.resource).where(tables.resource.c.name == "d"))
    second = (await client.get(path, params={"limit": 2, "cursor": first["nextCursor"]})).json()
    assert [each["name"] for each in second["items"]] == ["e", "f"]
    third = (await client.get(path, params={"limit": 2, "cursor": second["nextCursor"]})).json()
    assert [each["name"] for each in third["items"]] == ["h"]
    assert third["nextCursor"] is None


@pytest.mark.parametrize(
    "cursor",
    ["x", "", "%%%", "e30", paging.encode("runs", (ids.NIL,)), paging.encode("resources", ("Agent",)), "W10", "é",
     paging.encode("resources", ("Agent", 1)), paging.encode("resources", ("A\0", "b"))],
)  # fmt: skip
async def test_a_cursor_of_another_list_is_refused(acme: Tenant, client: httpx.AsyncClient, cursor: str) -> None:
    answer = await client.get("/v1/tenants/acme/resources", params={"cursor": cursor})
    if cursor == "":
        assert answer.status_code == 200  # no cursor
        return
    document = problem(answer, 422, "InvalidRequest")
    assert document["errors"][0]["path"] == "cursor"


async def test_a_run_cursor_with_no_id_is_refused(acme: Tenant, client: httpx.AsyncClient) -> None:
    cursor = paging.encode("runs", ("'; drop table run",))
    problem(await client.get("/v1/tenants/acme/runs", params={"cursor": cursor}), 422, "InvalidRequest")


async def test_resources_are_filtered_by_kind_label_and_condition(acme: Tenant, client: httpx.AsyncClient) -> None:
    async def names(**params: Any) -> list[str]:
        answer = await client.get("/v1/tenants/acme/resources", params=params)
        assert answer.status_code == 200, answer.text
        return [each["name"] for each in answer.json()["items"]]

    assert await names() == ["echo", "crm", "flow"]
    assert await names(kind="Agent") == ["echo"]
    assert await names(label="team=growth") == ["echo"]
    assert await names(label="team=other") == []
    assert await names(label=["team=growth", "team=other"]) == []
    assert await names(condition="Ready=False") == ["flow"]
    assert await names(ready="false") == ["flow"]
    assert await names(ready="true") == ["echo", "crm"]
    assert await names(condition="Stalled=True") == ["flow"]
    assert await names(condition="Stalled=False") == ["echo", "crm"]
    assert await names(condition=["Valid=True", "Resolved=False"]) == ["flow"]
    assert await names(condition="Resolved=True", kind="Agent") == ["echo"]
    assert await names(condition="Compiled=Unknown") == ["flow"]


async def test_a_condition_filter_goes_on_where_a_page_ends(world: World, client: httpx.AsyncClient) -> None:
    tenant_id = await world.tenant("acme")
    source_id = await world.source(tenant_id)
    rows = [
        apiworld.resource(tenant_id, source_id, "Agent", f"a{number:02}", **(apiworld.stalled() if number % 3 else {}))
        for number in range(20)
    ]
    await world.insert(tables.resource, *({"suspended_by": None, **row} for row in rows))
    expected = [f"a{number:02}" for number in range(20) if number % 3]
    for size in (1, 4, 7, 100):
        found = await pages(client, "/v1/tenants/acme/resources", limit=size, condition="Stalled=True")
        assert [each["name"] for each in found] == expected


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"label": "team"}, "label"),
        ({"condition": "Ready"}, "condition"),
        ({"condition": "Redy=True"}, "condition"),
        ({"condition": "Ready=Maybe"}, "condition"),
        ({"lable": "a=b"}, "lable"),
        ({"limit": "0"}, "limit"),
        ({"limit": "many"}, "limit"),
    ],
)
async def test_a_filter_that_cannot_be_meant_is_refused(
    acme: Tenant, client: httpx.AsyncClient, params: dict[str, str], path: str
) -> None:
    document = problem(await client.get("/v1/tenants/acme/resources", params=params), 422, "InvalidRequest")
    assert document["errors"][0]["path"] == path
    if path == "lable":
        assert "did you mean `label`" in document["detail"]


async def test_a_page_is_never_longer_than_the_cap(acme: Tenant, client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/tenants/acme/resources", params={"limit": 10**6})).status_code == 200


async def test_counts_of_a_tenant(acme: Tenant, client: httpx.AsyncClient) -> None:
    shown = (await client.get("/v1/tenants/acme")).json()
    assert shown["counts"] == {"total": 3, "ready": 2, "stalled": 1, "reconciling": 0}
    assert shown["activeGeneration"] == 2
    assert shown["hold"] is None
