"""Who may do what, what they may use, what they did: keys, secrets, the audit trail."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query, Request
from pydantic import Field, SecretStr
from starlette.responses import Response

from agentos_controller import audit, ids, secrets
from agentos_controller.api import answers, bodies, deps, idempotency, routing
from agentos_controller.api.routes import work
from agentos_controller.views import operations, paging, shapes
from agentos_engine import fields, literals
from agentos_engine.errors import Problem

router = routing.router("people", "/v1")

BoundHost = Annotated[str, Field(pattern=r"^(\*\.)?[^\s/@?#*,]{1,260}$", examples=["api.example.com"])]
"""``name``, ``name:port`` or ``*.domain``."""
SecretName = Annotated[str, Path(pattern=fields.SECRET_PATTERN, description="Name of the secret")]

CHAINS = 20
"""Chains verified by one request; each is read as a whole."""


class NewKey(bodies.Body):
    name: Annotated[str, Field(min_length=1, max_length=253)]
    """What it is for."""
    permissions: Annotated[tuple[Literal["read", "run", "operate", "admin"], ...], Field(min_length=1)]
    roles: Annotated[tuple[bodies.ResourceName, ...], Field(max_length=64)] = ()
    """Names of Roles, as approvals ask for them."""
    tenant: bodies.TenantName | None = None
    """The only tenant it is good for; left out: all this key may see."""
    expires_in: Annotated[str, Field(max_length=32, examples=["30d"])] | None = None


@router.get("/keys", **answers.answers("Page[KeyView]", "Keys, oldest first, without their text"))
async def list_keys(call: deps.Admin, limit: deps.Limit = paging.DEFAULT_LIMIT, cursor: deps.Cursor = None) -> Response:
    """List API keys."""
    page = paging.page(operations.KEYS, limit, cursor, operations.ID_CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await operations.keys(conn, call.only, page))


@router.post("/keys", **answers.answers("NewKey", "The key, shown this once", status=201, problems=("NotFound",)))
async def create_key(
    call: deps.Admin, request: Request, body: NewKey, idempotency_key: idempotency.Key = None
) -> Response:
    """Make an API key. Its text is in this answer and nowhere else; a repeated request does not show it again."""
    tenant_id = call.only if body.tenant is None else await work.tenant_named(call, body.tenant)
    expires_at = None if body.expires_in is None else call.parts.clock.now_us() + _duration(body.expires_in)

    async def perform() -> idempotency.Outcome:
        parts = call.parts
        async with parts.database.write() as conn:
            made = await parts.keys.create(
                conn,
                tenant_id=tenant_id,
                name=body.name,
                permissions=body.permissions,
                roles=body.roles,
                created_by=call.actor,
                expires_at=expires_at,
            )
            detail = {"name": body.name, "permissions": list(body.permissions), "roles": list(body.roles)}
            await audit.append(conn, tenant_id, call.actor, "key.create", f"Key/{made.id}", None, "done", detail)
            shown = await operations.key(conn, made.id, None)
        content = {**shown, "key": made.text}
        return idempotency.Outcome(content, 201, {"cache-control": "no-store"}, unstored=("key",))

    return await idempotency.once(call, request, idempotency_key, perform)


def _duration(text: str) -> int:
    """Microseconds."""
    try:
        return literals.duration_ms(text) * 1000
    except ValueError as error:
        message = f"{error}"
        wrong = [{"in": "body", "path": "/expiresIn", "message": message}]
        raise Problem("InvalidRequest", f"body /expiresIn: {message}", errors=wrong) from None


@router.delete("/keys/{id}", **answers.answers(None, "Revoked", status=204, problems=("NotFound",)))
async def revoke_key(call: deps.Admin, id: deps.Id) -> Response:  # noqa: A002 - the path's word
    """Revoke an API key at once. Revoking it again changes nothing."""
    parts = call.parts
    async with parts.database.write() as conn:
        shown = await operations.key(conn, id, call.only)
        if await parts.keys.revoke(conn, id, call.only):
            detail = {"name": shown["name"]}
            tenant_id = call.only or await operations.key_tenant(conn, id)
            await audit.append(conn, tenant_id, call.actor, "key.revoke", f"Key/{id}", None, "done", detail)
    return Response(status_code=204)


@router.get("/tenants/{tenant}/secrets", **answers.answers("Page[SecretView]", "Names of secrets, never values"))
async def list_secrets(
    call: deps.TenantOperate, limit: deps.Limit = paging.DEFAULT_LIMIT, cursor: deps.Cursor = None
) -> Response:
    """List the secrets of a tenant."""
    page = paging.page(operations.SECRETS, limit, cursor, operations.NAME_CURSOR)
    async with call.parts.database.read() as conn:
        found = await call.parts.secrets.listed(conn, call.tenant_id)
    return answers.Json(operations.secrets(found, page))


@router.get("/tenants/{tenant}/secrets/{secret}", **answers.answers("SecretView", "What may be known of it"))
async def get_secret(call: deps.TenantOperate, secret: SecretName) -> Response:
    """Show when a secret was set and by whom. There is no way to read its value."""
    return answers.Json(await _shown(call, secret))


class SecretValue(bodies.Body):
    value: Annotated[SecretStr, Field(max_length=65_536)] | None = None
    """The value; it is encrypted and cannot be read back. Left out: it stays, and only `hosts` change."""
    hosts: Annotated[tuple[BoundHost, ...], Field(min_length=1, max_length=64)] | None = None
    """The only hosts it may go to. Left out: those it is bound to, or those of its first use."""


@router.put("/tenants/{tenant}/secrets/{secret}", **answers.answers("SecretView", "Set"))
async def set_secret(call: deps.TenantAdmin, secret: SecretName, body: SecretValue) -> Response:
    """Set a secret of a tenant to a new version, bind it to hosts, or both."""
    parts = call.parts
    if body.value is None:
        if body.hosts is None:
            raise Problem("InvalidRequest", "body: neither value nor hosts is given: give one of them, or both")
        await _shown(call, secret)
    detail: dict[str, Any] = {}
    async with parts.database.write() as conn:
        if body.value is not None:
            plain = body.value.get_secret_value()
            detail["version"] = await parts.secrets.put(conn, call.tenant_id, secret, plain, call.actor)
        if body.hosts is not None:
            await parts.secrets.bind(conn, call.tenant_id, secret, body.hosts, call.actor)
            detail["hosts"] = sorted({host.lower() for host in body.hosts})
        action = "secret.bind" if body.value is None else "secret.set"
        await audit.append(conn, call.tenant_id, call.actor, action, f"Secret/{secret}", None, "done", detail)
    parts.database.notify("secrets")
    return answers.Json(await _shown(call, secret))


@router.delete(
    "/tenants/{tenant}/secrets/{secret}", **answers.answers(None, "Removed", status=204, problems=("Conflict",))
)
async def remove_secret(call: deps.TenantAdmin, secret: SecretName) -> Response:
    """Remove a secret with all its versions."""
    parts = call.parts
    async with parts.database.write() as conn:
        if await parts.secrets.remove(conn, call.tenant_id, secret):
            await audit.append(conn, call.tenant_id, call.actor, "secret.remove", f"Secret/{secret}", None, "done", {})
            return Response(status_code=204)
    await _shown(call, secret)
    raise Problem("Conflict", f"secret {secret} comes from a mounted directory, it can only be removed there")


async def _shown(call: deps.TenantCall, name: str) -> shapes.SecretView:
    async with call.parts.database.read() as conn:
        found = await call.parts.secrets.listed(conn, call.tenant_id)
    shown = [secret for secret in operations.secrets(found, paging.Page(len(found)))["items"] if secret["name"] == name]
    if not shown:
        raise Problem("NotFound", f"tenant {call.tenant_name} has no secret {name}")
    return shown[0]


@router.post(
    "/secrets/rotate", **answers.answers("SecretRotation", "The new key's id", problems=("Forbidden", "Conflict"))
)
async def rotate_secrets(call: deps.Admin, request: Request, idempotency_key: idempotency.Key = None) -> Response:
    """Put a new key into the key file, and wrap every stored secret with it. No value changes."""
    if call.only is not None:
        detail = "the key file is the platform's: this takes a key that is bound to no tenant"
        raise Problem("Forbidden", detail, permission="admin")

    async def perform() -> idempotency.Outcome:
        parts = call.parts
        try:
            async with parts.database.write() as conn:
                count = await parts.secrets.rotate(conn)
                made = parts.secrets.key
                told = {"rewrapped": count}
                await audit.append(conn, None, call.actor, "secret.rotate", f"SecretKey/{made}", None, "done", told)
        except (secrets.KeyFileError, secrets.Undecipherable) as error:
            raise Problem("Conflict", str(error)) from None
        return idempotency.Outcome({"key": made, "rewrapped": count}, 200, {})

    return await idempotency.once(call, request, idempotency_key, perform)


@router.get(
    "/audit/verify",
    **answers.answers("Page[AuditChain]", "Each chain, and whether it holds", problems=("NotFound",)),
)
async def verify_audit(
    call: deps.Admin,
    tenant: Annotated[bodies.TenantName | None, Query(description="Only its chain")] = None,
    limit: deps.Limit = CHAINS,
    cursor: deps.Cursor = None,
) -> Response:
    """Walk the chains of the audit trail, at most 20 at a time: an altered, missing or moved row shows."""
    only = call.only if tenant is None else await work.tenant_named(call, tenant)
    page = paging.page(operations.CHAINS, min(limit, CHAINS), cursor, operations.ID_CURSOR)
    items: list[shapes.AuditChain] = []
    async with call.parts.database.read() as conn:
        found, following = await operations.chains(conn, only, page)
    for chain in found:
        # At one moment, or what is appended meanwhile would look like a break.
        async with call.parts.database.read(snapshot=True) as conn:
            broken = await audit.verify(conn, None if chain.id == ids.NIL else chain.id)
        items.append({
            "tenant": chain.tenant,
            "entries": chain.entries,
            "intact": broken is None,
            "brokenAt": broken.seq if broken is not None else None,
            "reason": broken.reason if broken is not None else None,
        })  # fmt: skip
    return answers.Json({"items": items, "nextCursor": following})


@router.get("/audit", **answers.answers("Page[AuditEntry]", "The trail, newest first"))
async def list_audit(
    call: deps.Admin, limit: deps.Limit = paging.DEFAULT_LIMIT, cursor: deps.Cursor = None
) -> Response:
    """List who did what."""
    page = paging.page(operations.AUDIT, limit, cursor, operations.AUDIT_CURSOR)
    async with call.parts.database.read() as conn:
        return answers.Json(await operations.audit(conn, call.only, page))
