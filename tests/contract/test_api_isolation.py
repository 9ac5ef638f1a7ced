"""Who may call what: generated from the routes, so that a route nobody thought of fails here.

Two tenants hold things of equal names. A key of one asks for the other's by every route there is.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from agentos_controller import clock
from agentos_controller.api import app, deps, parts
from tests.support.apiworld import Tenant, World

OPERATION = tuple[str, APIRoute]

BODIES: dict[str, Any] = {
    "create_run": {"kind": "Workflow", "name": "flow"},
    "decide_approval": {"decision": "approved"},
    "rollback_tenant": {"generation": 1},
    "set_secret": {"value": "another-secret"},
    "reconcile": {"tenant": "{tenant}"},
    "create_plan": {"tenant": "{tenant}", "revision": "c" * 40},
    "create_key": {"name": "k", "permissions": ["read"], "tenant": "{tenant}"},
}
"""A body each route with one takes; ``{tenant}`` becomes the tenant asked about."""
LISTS = {"list_tenants", "list_sources", "list_keys", "list_audit"}
"""Routes that name nothing: they have to leave out what is not the caller's."""
IMPLIED = {"read": {"read"}, "run": {"run", "read"}, "operate": {"operate", "read"}, "admin": set(deps.PERMISSIONS)}
_NONE = "01999999-9999-7999-8999-999999999999"
NOBODY = Tenant(_NONE, "nobody", *[_NONE] * 7)


def routes(application: FastAPI) -> list[OPERATION]:
    found = [(method, route) for route in application.routes if isinstance(route, APIRoute) for method in route.methods]
    return sorted(found, key=lambda each: (each[1].path, each[0]))


def _application() -> FastAPI:
    return app.create(parts.Parts(None, clock.SystemClock(), None, None))  # type: ignore[arg-type]


ALL = routes(_application())
GUARDED = [each for each in ALL if each[1].path not in deps.PUBLIC]


def values(route: APIRoute, of: Tenant) -> dict[str, str]:
    """What to fill in the path of `route` to speak of something that `of` has."""
    if "{id}" not in route.path:
        return {
            "tenant": of.name, "kind": "Workflow", "name": "flow", "seq": "1", "secret": "token",
        }  # fmt: skip
    noun = route.path.split("/{id}")[0].rsplit("/", 1)[1]
    known = {
        "runs": of.run, "approvals": of.approval, "sources": of.source, "keys": of.key, "plans": of.plan,
        "commands": of.command,
    }  # fmt: skip
    return {"tenant": of.name, "id": known[noun]}


def request(method: str, route: APIRoute, of: Tenant, path_tenant: str | None = None) -> dict[str, Any]:
    filled = values(route, of)
    path = route.path.format(**(filled | ({"tenant": path_tenant} if path_tenant else {})))
    sent: dict[str, Any] = {"method": method, "url": path}
    if route.body_field is not None:
        body = BODIES[route.name]
        sent["json"] = {key: of.name if value == "{tenant}" else value for key, value in body.items()}
    return sent


def test_every_route_declares_what_it_needs() -> None:
    for method, route in ALL:
        needs = deps.needs_of(route)
        if route.path in deps.PUBLIC:
            assert not needs, f"{method} {route.path} is public and asks for a key"
            continue
        assert len(needs) == 1, f"{method} {route.path} does not say what it needs"
        assert (needs[0].scope == "tenant") == ("{tenant}" in route.path), f"{method} {route.path} has the wrong scope"
        if method != "GET":
            # Asking for a plan changes nothing.
            assert needs[0].permission != "read" or route.name == "create_plan", f"{route.path} writes with `read`"


def test_operation_ids_are_the_functions_names_and_unique() -> None:
    document = _application().openapi()
    found = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert sorted(found) == sorted(route.endpoint.__name__ for _, route in ALL)
    assert len(found) == len(set(found))


async def test_without_a_valid_key_nothing_is_told(world: World, subtests: pytest.Subtests) -> None:
    there = await world.populate("acme")
    guesses = [{}, {"authorization": "Bearer aos_abcdefgh_" + "x" * 43}, {"x-api-key": "guess"}]
    async with world.client() as client:
        for method, route in GUARDED:
            for headers in [*guesses, {"authorization": "Basic eDp5"}]:
                with subtests.test(route.name, headers=headers):
                    answer = await client.request(**request(method, route, there), headers=headers)
                    assert answer.status_code == 401
                    assert answer.json()["code"] == "Unauthenticated"
                    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_another_tenants_things_are_not_there(world: World, subtests: pytest.Subtests) -> None:
    theirs, mine = await world.populate("acme"), await world.populate("globex")
    async with world.client(await world.key(("admin",), mine.id)) as client:
        for method, route in GUARDED:
            with subtests.test(route.name):
                if route.name in LISTS:
                    await _lists_only_its_own(client, method, route, theirs)
                else:
                    await _answers_as_if_missing(client, method, route, theirs, mine)


async def _lists_only_its_own(client: httpx.AsyncClient, method: str, route: APIRoute, theirs: Tenant) -> None:
    answer = await client.request(**request(method, route, theirs))
    assert answer.status_code == 200
    assert answer.json()["items"]
    for secret in (theirs.id, theirs.source, theirs.key, '"acme"'):
        assert secret not in answer.text


async def _answers_as_if_missing(
    client: httpx.AsyncClient, method: str, route: APIRoute, theirs: Tenant, mine: Tenant
) -> None:
    answer = await client.request(**request(method, route, theirs))
    assert answer.status_code == 404, answer.text
    assert answer.json()["code"] == "NotFound"
    missing = await client.request(**request(method, route, NOBODY))
    assert missing.status_code == 404
    assert _told(answer.json(), theirs) == _told(missing.json(), NOBODY)
    if "{tenant}" in route.path and "{id}" in route.path:
        # Their id under the caller's own tenant is not there either.
        own = await client.request(**request(method, route, theirs, path_tenant=mine.name))
        assert own.status_code == 404, own.text


def _told(problem: dict[str, Any], of: Tenant) -> dict[str, Any]:
    """The problem without what the caller sent itself."""
    text = problem["detail"]
    for sent in (of.name, of.run, of.approval, of.source, of.key, of.plan, of.command):
        text = text.replace(sent, "…")
    return {**problem, "detail": text, "requestId": None}


async def test_each_permission_opens_what_it_says(world: World, subtests: pytest.Subtests) -> None:
    for number, (method, route) in enumerate(GUARDED):
        needed = deps.needs_of(route)[0].permission
        # What a route changes must not be there for the next one.
        there = await world.populate(f"acme{number}")
        for permission, gives in IMPLIED.items():
            if route.name == "watch_tenant" and needed in gives:
                continue  # answers with a stream that does not end
            bound_to = there.id if permission in ("read", "run") else None
            with subtests.test(route.name, permission=permission):
                async with world.client(await world.key((permission,), bound_to)) as client:
                    answer = await client.request(**request(method, route, there))
                if needed not in gives:
                    assert answer.status_code == 403
                    assert answer.json()["permission"] == needed
                elif answer.status_code == 403:
                    # Approvals are decided by those they are asked of, whatever the key may do.
                    assert route.name == "decide_approval"
                    assert "permission" not in answer.json()
                else:
                    assert answer.status_code in (200, 201, 202, 204, 409), answer.text
