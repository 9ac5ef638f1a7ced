"""The one authorizer. Every route declares what it needs by one of its instances, or is in `PUBLIC`.

`Needs` resolves key, permission and tenant in that order of secrecy: a key of one tenant learns nothing of another,
not even that it exists, so a foreign tenant answers as a missing one (404) before any permission is looked at.

A permission comes from the key or from a Role. A Role's grant that is limited to kinds or names counts only where the
route says what it is `about`: one resource, or what one run runs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import sqlalchemy as sa
from fastapi import Depends, Path, Query, Request
from fastapi.routing import APIRoute
from pydantic import AfterValidator

from agentos_controller import keys, tables
from agentos_controller.api import directory, parts, roles
from agentos_controller.views import paging
from agentos_engine.errors import Problem

Permission = Literal["read", "run", "operate", "admin"]
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)
Scope = Literal["tenant", "own"]
"""``tenant``: the tenant in the path. ``own``: everything for a key of the platform, else only the key's own tenant."""

PUBLIC = frozenset({"/healthz", "/readyz", "/metrics", "/v1/openapi.json", "/v1/sources/{id}/webhook"})
"""Paths that need no key: they say nothing of any tenant. What a forge delivers is signed instead."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls, and on what: `tenant` is the tenant in the path, `only` limits lists to one tenant."""

    principal: keys.Principal
    parts: parts.Parts
    tenant: directory.Entry | None
    only: str | None

    @property
    def actor(self) -> str:
        """How the trail names the caller."""
        return self.principal.subject


@dataclass(frozen=True, slots=True)
class TenantCall(Call):
    """A call on the tenant in the path."""

    tenant: directory.Entry

    @property
    def tenant_id(self) -> str:
        return self.tenant.id

    @property
    def tenant_name(self) -> str:
        return self.tenant.name


About = Callable[[Request, directory.Entry], Awaitable[tuple[str, str] | None]]
"""Kind and name of the one thing a request on a tenant is about; None if that cannot be said."""


class Needs:
    """What a route needs of its caller, as a dependency that gives the `Call`."""

    def __init__(self, permission: Permission, about: About | None = None) -> None:
        self.permission: Permission = permission
        self.about = about

    scope: Scope = "own"

    async def caller(self, request: Request) -> roles.Standing:
        found: keys.Principal | None = None
        if (text := _presented(request)) is not None:
            found = await parts_of(request).keys.authenticate(text)
        if found is None:
            raise Problem("Unauthenticated", "no valid API key was sent")
        return await roles_of(request).standing(parts_of(request).database, found)

    async def permit(self, caller: roles.Standing, request: Request, tenant: directory.Entry | None) -> None:
        if caller.principal.may(self.permission):
            return
        if caller.limited and self.about is not None and tenant is not None:
            named = await self.about(request, tenant)
            if named is not None and caller.may(self.permission, *named):
                return
        raise Problem("Forbidden", f"this key lacks the permission `{self.permission}`", permission=self.permission)


class OfOwn(Needs):
    """For routes outside of `/v1/tenants/{tenant}`."""

    async def __call__(self, request: Request) -> Call:
        _known_parameters(request)
        caller = await self.caller(request)
        await self.permit(caller, request, None)
        return Call(caller.principal, parts_of(request), None, caller.principal.tenant_id)


class OfTenant(Needs):
    """For routes under `/v1/tenants/{tenant}`."""

    scope: Scope = "tenant"

    async def __call__(
        self, request: Request, tenant: Annotated[str, Path(description="Name of the tenant")]
    ) -> TenantCall:
        _known_parameters(request)
        caller = await self.caller(request)
        parts_ = parts_of(request)
        row = await directory_of(request).find(parts_.database, tenant)
        if row is None or caller.principal.tenant_id not in (None, row.id):
            raise Problem("NotFound", f"there is no tenant {tenant[:80]}")
        await self.permit(caller, request, row)
        return TenantCall(caller.principal, parts_, row, row.id)


async def resource_in_path(request: Request, _tenant: directory.Entry) -> tuple[str, str]:
    """The resource at `…/{kind}/{name}`."""
    return request.path_params["kind"], request.path_params["name"]


async def target_in_body(request: Request, _tenant: directory.Entry) -> tuple[str, str] | None:
    """What the run in the body is to run."""
    try:
        body = await request.json()
    except ValueError:
        return None
    kind, name = (body.get("kind"), body.get("name")) if isinstance(body, dict) else (None, None)
    return (kind, name) if isinstance(kind, str) and isinstance(name, str) else None


async def target_of_run(request: Request, tenant: directory.Entry) -> tuple[str, str] | None:
    """What the run `{id}` runs."""
    run_id = request.path_params["id"].lower()
    if not _UUID.fullmatch(run_id):
        return None
    run = tables.run
    query = sa.select(run.c.target_kind, run.c.target_name).where(run.c.tenant_id == tenant.id, run.c.id == run_id)
    async with parts_of(request).database.read() as conn:
        row = (await conn.execute(query)).one_or_none()
    return None if row is None else (row.target_kind, row.target_name)


def _presented(request: Request) -> str | None:
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, credentials = authorization.partition(" ")
        return credentials.strip() if scheme.lower() == "bearer" else None
    return request.headers.get("x-api-key")


def parts_of(request: Request) -> parts.Parts:
    """What this application is made of."""
    found = request.app.state.parts
    assert isinstance(found, parts.Parts)
    return found


def directory_of(request: Request) -> directory.Directory:
    """The tenants this application knows."""
    found = request.app.state.directory
    assert isinstance(found, directory.Directory)
    return found


def roles_of(request: Request) -> roles.Roles:
    """The roles this application knows."""
    found = request.app.state.roles
    assert isinstance(found, roles.Roles)
    return found


def _known_parameters(request: Request) -> None:
    """A misspelt filter must not silently show everything."""
    route = request.scope.get("route")
    given = request.query_params.keys()
    if not given or not isinstance(route, APIRoute):
        return
    known = _parameters(route)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean `{near[0]}`?" if near else f"; it takes {', '.join(sorted(known)) or 'none'}"
            message = "is no parameter of this route" + hint
            errors = [{"in": "query", "path": name[:80], "message": message}]
            raise Problem("InvalidRequest", f"query {name[:80]}: {message}", errors=errors)


def _parameters(route: APIRoute) -> frozenset[str]:
    found: frozenset[str] | None = getattr(route, "known_parameters", None)
    if found is None:
        names: set[str] = set()
        waiting = [route.dependant]
        while waiting:
            dependant = waiting.pop()
            names.update(param.alias for param in dependant.query_params)
            waiting.extend(dependant.dependencies)
        found = frozenset(names)
        route.known_parameters = found  # type: ignore[attr-defined]
    return found


def _identity(value: str) -> str:
    if not _UUID.fullmatch(value):
        raise Problem("NotFound", f"{value[:80]!r} is no id")
    return value.lower()


def _kind(value: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Za-z]{0,62}", value):
        raise Problem("NotFound", f"{value[:80]!r} is no kind")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", value):
        raise Problem("NotFound", f"{value[:80]!r} is no name")
    return value


def _whole(value: int) -> int:
    return min(value, paging.MAX_LIMIT)


Id = Annotated[str, AfterValidator(_identity), Path(json_schema_extra={"format": "uuid"})]
Kind = Annotated[str, AfterValidator(_kind), Path(description="Kind, as in the manifest", examples=["Workflow"])]
Name = Annotated[str, AfterValidator(_name), Path(description="Name of the resource")]
Limit = Annotated[
    int,
    Query(ge=1, description=f"Items of a page; more than {paging.MAX_LIMIT} gives {paging.MAX_LIMIT}"),
    AfterValidator(_whole),
]
Cursor = Annotated[str | None, Query(max_length=2048, description="`nextCursor` of the page before")]

Read = Annotated[Call, Depends(OfOwn("read"))]
Operate = Annotated[Call, Depends(OfOwn("operate"))]
Admin = Annotated[Call, Depends(OfOwn("admin"))]
TenantRead = Annotated[TenantCall, Depends(OfTenant("read"))]
TenantRun = Annotated[TenantCall, Depends(OfTenant("run"))]
TenantOperate = Annotated[TenantCall, Depends(OfTenant("operate"))]
TenantAdmin = Annotated[TenantCall, Depends(OfTenant("admin"))]
ResourceOperate = Annotated[TenantCall, Depends(OfTenant("operate", resource_in_path))]
ResourceRead = Annotated[TenantCall, Depends(OfTenant("read", resource_in_path))]
RunCreate = Annotated[TenantCall, Depends(OfTenant("run", target_in_body))]
RunRead = Annotated[TenantCall, Depends(OfTenant("read", target_of_run))]
RunCancel = Annotated[TenantCall, Depends(OfTenant("run", target_of_run))]


def needs_of(route: APIRoute) -> list[Needs]:
    """The declarations of a route: one, or none for a public one."""
    calls: list[object] = [each.call for each in route.dependant.dependencies]
    return [call for call in calls if isinstance(call, Needs)]
