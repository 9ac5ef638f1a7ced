"""Who may call what: generated from the routes, so that a route nobody thought of fails here.

Two tenants hold things of equal names. A key of one asks for the other's by every route there is.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.routing import APIRoute

from agentos_controller import clock, keys, tables
from agentos_controller.api import app, deps, parts
from tests.support import serving
from tests.support.apiworld import Tenant, World

OPERATION = tuple[str, APIRoute]

BODIES: dict[str, Any] = {
    "create_run": {"kind": "Workflow", "name": "flow"},
    "decide_approval": {"decision": "approved"},
    "rollback_tenant": {"generation": 1},
    "suspend_tenant": {"reason": "audit"},
    "suspend_resource": {"reason": "trial", "for": "2h"},
    "suspend_source": {"reason": "freeze"},
    "accept_revision": {"reason": "meant", "revision": "c" * 40},
    "approve_prune": {"orphans": True},
    "set_secret": {"value": "another-secret"},
    "reconcile": {"tenant": "{tenant}"},
    "create_plan": {"tenant": "{tenant}", "revision": "c" * 40},
    "create_key": {"name": "k", "permissions": ["read"], "tenant": "{tenant}"},
}
"""A body each route with one takes; ``{tenant}`` becomes the tenant asked about."""
LISTS = {"list_tenants", "list_sources", "list_keys", "list_audit", "verify_audit"}
"""Routes that name nothing: they have to leave out what is not the caller's."""
PLATFORM = {"rotate_secrets"}
"""Routes for keys that are bound to no tenant."""
ABOUT = {
    "create_run", "get_run", "list_run_steps", "list_run_events", "cancel_run",
    "get_resource", "get_artifact", "list_dependents", "list_history", "list_resource_events",
    "list_resource_diagnostics", "list_resource_runs", "suspend_resource", "resume_resource",
}  # fmt: skip
"""Routes about one resource, or what one run runs: grants limited to kinds or names count there, and nowhere else."""
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
                if route.name in PLATFORM:
                    assert (await client.request(**request(method, route, theirs))).status_code == 403
                elif route.name in LISTS:
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


ROLES: dict[str, dict[str, Any]] = {
    **{permission: {"permissions": [permission]} for permission in deps.PERMISSIONS},
    "this-kind": {"permissions": ["admin"], "kinds": ["Workflow"]},
    "this-name": {"permissions": ["admin"], "names": ["flow"]},
    "this-one": {"permissions": ["run"], "kinds": ["Agent", "Workflow"], "names": ["flow", "other"]},
    "another-kind": {"permissions": ["admin"], "kinds": ["Agent"]},
    "another-name": {"permissions": ["admin"], "names": ["other"]},
}
"""Roles by name, each with one rule."""


async def _roles_of(world: World, **members: list[str]) -> str:
    """Let the platform serve `ROLES`; the platform's id."""
    platform = await world.tenant("platform", platform=True)
    await serving.serve(
        world.db,
        platform,
        {
            f"Role/{name}": {
                "form": "role", "name": name, "members": members.get(name, []),
                "rules": {"only": {"kinds": [], "names": [], **rule}},
            }
            for name, rule in ROLES.items()
        },
    )  # fmt: skip
    return platform


async def _powerless(world: World, *roles: str, tenant_id: str | None = None) -> keys.Created:
    """A key without any permission of its own."""
    made = await world.new_key(("read",), tenant_id, roles)
    async with world.db.write() as conn:
        await conn.execute(sa.update(tables.api_key).where(tables.api_key.c.id == made.id).values(permissions=[]))
    return made


@pytest.mark.parametrize("role", ROLES)
async def test_each_role_opens_what_its_rules_say(world: World, role: str, subtests: pytest.Subtests) -> None:
    await _roles_of(world)
    key = (await _powerless(world, role)).text
    for number, (method, route) in enumerate(GUARDED):
        needs = deps.needs_of(route)[0]
        assert (needs.about is not None) == (route.name in ABOUT), route.name
        gives = needs.permission in set().union(*(IMPLIED[each] for each in ROLES[role]["permissions"]))
        if role not in deps.PERMISSIONS:
            gives = gives and route.name in ABOUT and role.startswith("this")
        if route.name == "watch_tenant" and gives:
            continue  # answers with a stream that does not end
        there = await world.populate(f"acme{number}")
        with subtests.test(route.name):
            async with world.client(key) as client:
                answer = await client.request(**request(method, route, there))
            if gives and answer.status_code != 403:
                assert answer.status_code in (200, 201, 202, 204, 409), answer.text
            elif gives:
                assert route.name == "decide_approval"
                assert "permission" not in answer.json()
            else:
                assert (answer.status_code, answer.json()["permission"]) == (403, needs.permission)


async def test_no_role_leads_into_another_tenant(world: World, subtests: pytest.Subtests) -> None:
    await _roles_of(world)
    theirs, mine = await world.populate("acme"), await world.populate("globex")
    key = await _powerless(world, *ROLES, tenant_id=mine.id)
    async with world.client(key.text) as client:
        for method, route in GUARDED:
            with subtests.test(route.name):
                if route.name in PLATFORM:
                    assert (await client.request(**request(method, route, theirs))).status_code == 403
                elif route.name in LISTS:
                    await _lists_only_its_own(client, method, route, theirs)
                else:
                    await _answers_as_if_missing(client, method, route, theirs, mine)


async def test_members_of_a_role_hold_it_as_long_as_it_serves(world: World, clock: clock.ManualClock) -> None:
    there = await world.populate("acme")
    named, subject, stranger = [await _powerless(world) for _ in range(3)]
    async with world.db.write() as conn:
        await conn.execute(sa.update(tables.api_key).where(tables.api_key.c.id == named.id).values(name="ci"))
    platform = await _roles_of(world, read=["key/ci", f"user/key:{subject.id}", "group/all"])

    async def statuses() -> list[int]:
        found = []
        for key in (named, subject, stranger):
            async with world.client(key.text) as client:
                found.append((await client.get(f"/v1/tenants/{there.name}/runs")).status_code)
        return found

    assert await statuses() == [200, 200, 403]
    nobody = {"form": "role", "name": "read", "members": [], "rules": {}}
    await serving.serve(world.db, platform, {"Role/read": nobody})
    clock.advance(1.1)
    assert await statuses() == [403, 403, 403]


async def test_roles_of_a_tenants_own_rows_mean_nothing(world: World) -> None:
    there = await world.populate("acme")
    rule = {"permissions": ["admin"], "kinds": [], "names": []}
    role = {"form": "role", "name": "boss", "members": [], "rules": {"all": rule}}
    await serving.serve(world.db, there.id, {"Role/boss": role})
    async with world.client((await _powerless(world, "boss")).text) as client:
        assert (await client.get("/v1/tenants/acme")).status_code == 403


async def test_members_decide_what_is_asked_of_their_role(world: World) -> None:
    there = await world.populate("acme")
    key = await world.new_key(("run",), there.id)
    async with world.db.read() as conn:
        asked = await conn.scalar(
            sa.select(tables.approval.c.requested_of).where(tables.approval.c.id == there.approval)
        )
    role = asked[0].removeprefix("role/")
    platform = await world.tenant("platform", platform=True)
    body = {"form": "role", "name": role, "members": [f"user/key:{key.id}"], "rules": {}}
    await serving.serve(world.db, platform, {f"Role/{role}": body})
    path = f"/v1/tenants/acme/approvals/{there.approval}/decision"
    for text, status in (((await world.new_key(("run",), there.id)).text, 403), (key.text, 200)):
        async with world.client(text) as client:
            assert (await client.post(path, json={"decision": "approved"})).status_code == status


@pytest.mark.parametrize(
    "sent", [{"content": b"{", "headers": {"content-type": "text/plain"}}, {"json": []}, {"json": {"kind": 1}}]
)
async def test_a_body_that_names_nothing_opens_nothing(world: World, sent: dict[str, Any]) -> None:
    await _roles_of(world)
    await world.populate("acme")
    async with world.client((await _powerless(world, "this-kind")).text) as client:
        answer = await client.post("/v1/tenants/acme/runs", **sent)
        assert answer.status_code in (403, 422)
        assert (await client.get("/v1/tenants/acme/runs/not-an-id")).status_code in (403, 404)
