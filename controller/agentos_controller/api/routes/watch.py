"""Watching a tenant: its change log as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Header, Query
from starlette.responses import Response

from agentos_controller.api import answers, deps, routing, sse
from agentos_controller.views import happenings

router = routing.router("watch", "/v1/tenants/{tenant}")

CHANNELS = ("changes", "generations")
POLL = 2.0
"""Seconds after which the log is looked at without a wake-up: another process may have written."""
BATCH = 500


@router.get("/watch", **answers.answers(None, "Changes as they happen", stream="Change"))
async def watch_tenant(
    call: deps.TenantRead,
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="Sequence number to go on after")] = None,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> Response:
    """Follow the resources of a tenant.

    Events are `change`, each with the next sequence number as its id. It begins with `bookmark`, which carries the
    number the stream starts after. Where the log does not hold what came after the number asked for, `gap` says so,
    with the first and last number missed: list the resources anew.
    """
    return sse.Stream(_changes(call, sse.last_event_id(last_event_id, after)), call.parts.stopping)


async def _changes(call: deps.TenantCall, after: int | None) -> AsyncIterator[sse.Frame]:
    db = call.parts.database
    with db.subscribe(*CHANNELS) as woken:
        async with db.read(snapshot=True) as conn:
            first, last = await happenings.reach(conn, call.tenant_id)
        if after is None:
            place = last
        elif after < first - 1:
            yield sse.Frame("gap", {"from": after + 1, "to": first - 1}, first - 1)
            place = first - 1
        elif after > last:
            # A number this log never gave: the database is another one, or was restored.
            yield sse.Frame("gap", {"from": last + 1, "to": after}, last)
            place = last
        else:
            place = after
        yield sse.Frame("bookmark", {"sequence": place}, place)
        while True:
            async with db.read() as conn:
                found = await happenings.changes(conn, call.tenant_id, place, BATCH)
            for change in found:
                if change["sequence"] > place + 1:
                    yield sse.Frame("gap", {"from": place + 1, "to": change["sequence"] - 1}, change["sequence"] - 1)
                yield sse.Frame("change", change, change["sequence"])
                place = change["sequence"]
            if len(found) < BATCH:
                await woken.wait(POLL)
