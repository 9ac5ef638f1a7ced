"""Idempotency-Key on POST: the same request sent twice is done once, and answered alike.

A key belongs to the principal that sent it and is remembered for a day, with a hash of the request it came with. What
is stored is the answer as it was, except what must not be kept (a new API key).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import orjson
import sqlalchemy as sa
from fastapi import Header, Request
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from agentos_controller import bulk, clock, tables
from agentos_controller.api import answers, deps
from agentos_engine.errors import Problem

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]+$",
        description="Send the same key again to repeat a request whose answer was lost",
    ),
]
KEPT_US = 24 * 3600 * clock.SECOND
ABANDONED_US = 60 * clock.SECOND
"""After this a request that never finished is taken to have died with its process."""
REPLAYED = "idempotency-replayed"

_row = tables.idempotency


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request did: its answer. `unstored` names members that are never kept."""

    content: Mapping[str, Any]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    unstored: Sequence[str] = ()

    def response(self) -> Response:
        return answers.Json(self.content, status_code=self.status, headers=dict(self.headers))


async def once(
    call: deps.Call, request: Request, key: str | None, perform: Callable[[], Awaitable[Outcome]]
) -> Response:
    """The answer of `perform`, or the one it gave before under this key.

    Raises:
        Problem: IdempotencyMismatch (the key came with another request), Conflict (the first is still under way).
    """
    if key is None:
        return (await perform()).response()
    digest = await _hash(request)
    stored = await _claim(call, key, digest)
    if stored is not None:
        status, body = stored
        return answers.Json(orjson.loads(body), status_code=status, headers={REPLAYED: "true"})
    try:
        outcome = await perform()
    except BaseException:
        await release(call, key)
        raise
    kept = {name: value for name, value in outcome.content.items() if name not in outcome.unstored}
    async with call.parts.database.write() as conn:
        await conn.execute(
            sa.update(_row).where(*_mine(call, key)).values(status=outcome.status, body=orjson.dumps(kept))
        )
    return outcome.response()


async def same(call: deps.Call, request: Request, key: str) -> None:
    """For what carries its own exactly-once (a run's key): only make sure that the key comes with one request.

    Raises:
        Problem: IdempotencyMismatch.
    """
    digest = await _hash(request)
    async with call.parts.database.write() as conn:
        row = await _insert(conn, call, key, digest)
        if row is not None and row.request_hash != digest:
            raise _mismatch()


async def release(call: deps.Call, key: str) -> None:
    """Forget a key whose request did nothing."""
    async with call.parts.database.write() as conn:
        await conn.execute(sa.delete(_row).where(*_mine(call, key), _row.c.status.is_(None)))


async def _claim(call: deps.Call, key: str, digest: str) -> tuple[int, bytes] | None:
    now = call.parts.clock.now_us()
    async with call.parts.database.write() as conn:
        row = await _insert(conn, call, key, digest)
        if row is None:
            return None
        if row.request_hash != digest:
            raise _mismatch()
        if row.status is not None:
            return row.status, row.body
        if row.created_at > now - ABANDONED_US:
            raise Problem("Conflict", "the first request with this Idempotency-Key is still under way")
        await conn.execute(sa.update(_row).where(*_mine(call, key)).values(created_at=now))
        return None


async def _insert(conn: AsyncConnection, call: deps.Call, key: str, digest: str) -> Any:
    """Take the key; the row of who has it already, None if it is ours."""
    now = call.parts.clock.now_us()
    await conn.execute(sa.delete(_row).where(_row.c.created_at < now - KEPT_US))
    mine = bulk.insert(conn, _row).values(principal=call.actor, key=key, request_hash=digest, created_at=now)
    mine = mine.on_conflict_do_nothing(index_elements=["principal", "key"]).returning(_row.c.key)
    if (await conn.execute(mine)).one_or_none() is not None:
        return None
    return (await conn.execute(sa.select(_row).where(*_mine(call, key)))).one()


def _mine(call: deps.Call, key: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (_row.c.principal == call.actor, _row.c.key == key)


def _mismatch() -> Problem:
    return Problem("IdempotencyMismatch", "this Idempotency-Key was sent before with another request")


async def _hash(request: Request) -> str:
    what = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return "sha256:" + hashlib.sha256(what + await request.body()).hexdigest()
