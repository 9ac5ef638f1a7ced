"""Deliveries of forges: who may send one, how much of it is read, and that one and the same wakes once.

A delivery only wakes: its body is hashed as it comes and neither parsed nor kept. Whatever is refused is refused
before anything is read that need not be: first by the source's id, which is a secret of 122 bits by itself, then by
the headers, the length, the pace, and at last the signature. Refusals tell the sender nothing of which it was; the log
does.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Literal

import sqlalchemy as sa
from starlette.datastructures import Headers

from agentos_controller import secrets, tables
from agentos_controller.api import limits, parts, schemes, wakes
from agentos_controller.views import tenants
from agentos_engine.errors import Problem

log = logging.getLogger(__name__)

Outcome = Literal["accepted", "duplicate", "ignored"]
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KNOWN = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What deliveries may cost."""

    body: int = 25 * 1024 * 1024
    """Bytes of one; the largest that GitHub sends."""
    read_s: float = 10.0
    """Seconds in which one has to be here."""
    readers: int = 16
    """Bodies of one source that are read at once."""
    burst: int = 2_000
    """Deliveries of one source that are taken at once; after that `per_second`."""
    per_second: float = 50.0
    failures: int = 100
    """Refusals at once, of all senders; after that `failures_per_second` until unknown ids are looked up again."""
    failures_per_second: float = 10.0
    fresh_s: float = 10.0
    """Seconds for which a secret is remembered: a burst costs one resolving, a new value is heeded after that."""
    window_s: float = 900.0
    """Seconds for which a delivery is remembered."""
    remembered: int = 20_000


@dataclass(slots=True)
class _Source:
    """A source that has, or had, a webhook, and how it is used."""

    id: str
    url: str
    secret: secrets.SecretValue | None
    until: float
    deliveries: limits.Bucket
    failures: limits.Bucket
    readers: int = 0
    asked: asyncio.Lock = field(default_factory=asyncio.Lock)


class Deliveries:
    """Takes deliveries. `count` is told what became of each."""

    def __init__(self, made_of: parts.Parts, bounds: Limits, count: Callable[[str], None]) -> None:
        self._parts = made_of
        self._bounds = bounds
        self._count = count
        self._now = made_of.clock.monotonic
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._failures = limits.Bucket(bounds.failures, bounds.failures_per_second, self._now())
        self._lately = limits.Lately(bounds.window_s, bounds.remembered)
        self._wakes = wakes.Wakes()

    async def take(self, source_id: str, headers: Headers, body: AsyncIterator[bytes]) -> Outcome:
        """Take one delivery about the source `source_id`.

        Raises:
            Problem: WebhookRefused, RequestTooLarge, RequestTimeout, TooManyRequests.
        """
        try:
            outcome = await self._take(source_id.lower(), headers, body)
        except Problem as refused:
            self._count(_COUNTED[refused.code])
            raise
        self._count(outcome)
        return outcome

    async def _take(self, source_id: str, headers: Headers, body: AsyncIterator[bytes]) -> Outcome:
        source = await self._source(source_id)
        if source is None or source.secret is None:
            self._failures.take(self._now())
            raise _refused()
        if not source.failures.left(self._now()) or not source.deliveries.take(self._now()):
            raise _too_many()
        try:
            seen = await self._verified(source, source.secret, headers, body)
        except schemes.Refused as why:
            self._failures.take(self._now())
            source.failures.take(self._now())
            log.warning("webhook delivery refused", extra={"source": source_id, "reason": str(why)})
            raise _refused() from None
        if not schemes.moves(headers):
            return "ignored"
        now = self._now()
        self._lately.forget(now)
        if seen in self._lately:
            return "duplicate"
        await self._wakes.wake(self._parts.database, source.id, source.url, self._parts.clock.now_us())
        self._lately.add(seen, now)  # not before: what could not be done may be sent again
        return "accepted"

    async def _verified(
        self, source: _Source, secret: secrets.SecretValue, headers: Headers, body: AsyncIterator[bytes]
    ) -> bytes:
        scheme = schemes.scheme_of(headers)
        if scheme is None:
            raise schemes.Refused("it is signed by none of the ways known")
        check = schemes.Check(scheme, headers, secret.reveal(), self._parts.clock.now_us() / 1e6)
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._bounds.body:
            raise self._too_large()
        if source.readers >= self._bounds.readers:
            raise _too_many()
        source.readers += 1
        try:
            async with asyncio.timeout(self._bounds.read_s):
                await self._read(check, body)
        except TimeoutError:
            raise Problem("RequestTimeout", f"a delivery has to be here within {self._bounds.read_s:g} s") from None
        finally:
            source.readers -= 1
        return source.id.encode() + check.verdict()

    async def _read(self, check: schemes.Check, body: AsyncIterator[bytes]) -> None:
        taken = 0
        async for piece in body:
            taken += len(piece)
            if taken > self._bounds.body:
                raise self._too_large()
            check.feed(piece)

    async def _source(self, source_id: str) -> _Source | None:
        """The source of this id, with a secret no older than `fresh_s`."""
        known = self._sources.get(source_id)
        if known is None:
            if not _UUID.fullmatch(source_id):
                return None
            if not self._failures.left(self._now()):
                raise _too_many()
            known = await self._look_up(source_id)
            if known is None:
                return None
            known = self._sources.setdefault(source_id, known)
        self._sources.move_to_end(source_id)
        if len(self._sources) > _KNOWN:
            self._sources.popitem(last=False)
        if known.until <= self._now():
            async with known.asked:
                if known.until <= self._now():
                    anew = await self._look_up(source_id)
                    known.secret = anew.secret if anew is not None else None
                    known.url = anew.url if anew is not None else known.url
                    known.until = self._now() + self._bounds.fresh_s
        return known

    async def _look_up(self, source_id: str) -> _Source | None:
        """The source with this id as it is now; None if it has no webhook."""
        source, tenant = tables.source, tables.tenant
        living = sa.and_(tenant.c.id == source.c.tenant_id, tenant.c.deleted_at.is_(None))
        query = sa.select(source.c.name, source.c.url, tenant.c.platform, tenant.c.spec).join_from(
            source, tenant, living
        )
        owner = sa.select(tenant.c.id).where(tenant.c.platform.is_(True), tenant.c.deleted_at.is_(None))
        async with self._parts.database.read() as conn:
            row = (await conn.execute(query.where(source.c.id == source_id))).one_or_none()
            platform_id = await conn.scalar(owner)
        if row is None or platform_id is None:
            return None
        name = tenants.webhook_secret(row, self._parts.platform_webhook)
        if name is None:
            return None
        now = self._now()
        return _Source(
            source_id,
            row.url,
            await self._secret(platform_id, name, source_id),
            now + self._bounds.fresh_s,
            limits.Bucket(self._bounds.burst, self._bounds.per_second, now),
            limits.Bucket(self._bounds.failures, self._bounds.failures_per_second, now),
        )

    async def _secret(self, owner: str, name: str, source_id: str) -> secrets.SecretValue | None:
        """The secret's value. It goes nowhere, so it is bound to no host."""
        try:
            found = await self._parts.secrets.find(owner, name)
        except secrets.Undecipherable:
            found = None
        if found is None:
            log.warning("the secret of a webhook is not set", extra={"source": source_id, "secret": name})
        return found

    def _too_large(self) -> Problem:
        return Problem("RequestTooLarge", f"a delivery has at most {self._bounds.body} bytes")


_COUNTED = {
    "WebhookRefused": "refused",
    "RequestTooLarge": "too_large",
    "RequestTimeout": "slow",
    "TooManyRequests": "limited",
}


def _refused() -> Problem:
    return Problem("WebhookRefused", "there is no such webhook, or this is not signed with its secret")


def _too_many() -> Problem:
    return Problem("TooManyRequests", "too many deliveries at once")
