"""Artifact bodies by digest, read from the tenant's own rows and kept while memory allows.

An artifact never changes, so a cached body is never stale; one that somebody altered is not what its digest says, and
counts as missing until it is healed. Tenant and digest together are the key: what one tenant may run is no oracle for
another.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.views import blobs

MAX_CACHED = 512
_cache: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()


class ArtifactMissing(LookupError):
    """The tenant has no artifact with this digest, or not as it was compiled."""


def cached(tenant_id: str, digest: str) -> dict[str, Any] | None:
    """The body, if it was read before. Not to be changed."""
    body = _cache.get((tenant_id, digest))
    if body is not None:
        with contextlib.suppress(KeyError):  # another thread may have let it go
            _cache.move_to_end((tenant_id, digest))
    return body


async def read(conn: AsyncConnection, tenant_id: str, digest: str) -> dict[str, Any]:
    """The body of an artifact, plain JSON. Not to be changed.

    Raises:
        ArtifactMissing: the tenant has none with this digest.
    """
    body = cached(tenant_id, digest)
    return await conn.run_sync(load, tenant_id, digest) if body is None else body


def load(conn: sa.Connection, tenant_id: str, digest: str) -> dict[str, Any]:
    """`read` for a transaction that is one function."""
    body = cached(tenant_id, digest)
    if body is None:
        table = tables.artifact
        query = sa.select(table).where(table.c.tenant_id == tenant_id, table.c.digest == digest)
        row = conn.execute(query).one_or_none()
        data = blobs.genuine(row) if row is not None else None
        if data is None:
            raise ArtifactMissing(digest)
        body = orjson.loads(data)
        _cache[tenant_id, digest] = body
        while len(_cache) > MAX_CACHED:
            _cache.popitem(last=False)
    return body
