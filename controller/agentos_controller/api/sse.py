"""Server-sent events: one response class that beats, notices a client that left, and ends when the server stops.

What is streamed comes from an async iterator of `Frame`; replay and gaps are the iterator's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that proxies keep the connection."""
RETRY_MS = 1000
"""How long a client waits before it connects again."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One event. `id` is what the client sends back as Last-Event-ID; None leaves its last one as it is."""

    event: str
    data: Any
    id: int | None = None

    def encode(self) -> bytes:
        identity = b"" if self.id is None else b"id: %d\r\n" % self.id
        # JSON by orjson has no line break, so `data` is always one line.
        return b"%sevent: %s\r\ndata: %s\r\n\r\n" % (identity, self.event.encode(), orjson.dumps(self.data))


class Stream(Response):
    """`frames` as ``text/event-stream`` until they end, the client leaves or `stopping` is set."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncIterator[Frame], stopping: asyncio.Event, heartbeat: float = HEARTBEAT) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        # Its length is not known: the base class counted an empty body.
        del self.headers["content-length"]
        self._frames = frames
        self._stopping = stopping
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await _body(send, b"retry: %d\r\n\r\n" % RETRY_MS)
        ends: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(_left(receive)),
            asyncio.ensure_future(self._stopping.wait()),
        ]
        upcoming: asyncio.Future[Frame] | None = None
        try:
            while not any(end.done() for end in ends):
                if upcoming is None:
                    upcoming = asyncio.ensure_future(anext(self._frames))
                await asyncio.wait([upcoming, *ends], timeout=self._heartbeat, return_when=asyncio.FIRST_COMPLETED)
                if not upcoming.done():
                    if not any(end.done() for end in ends):
                        await _body(send, b":\r\n\r\n")
                    continue
                try:
                    frame = upcoming.result()
                except StopAsyncIteration:
                    break
                upcoming = None
                await _body(send, frame.encode())
            with suppress(OSError):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            open_: list[asyncio.Future[Any]] = [*ends, *([upcoming] if upcoming else [])]
            for task in open_:
                task.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration):
                    await task
            close = getattr(self._frames, "aclose", None)
            if close is not None:
                await close()


async def _body(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def last_event_id(header: str | None, query: int | None) -> int | None:
    """Where a client wants to go on: the ``Last-Event-ID`` header, else the ``after`` parameter, else None.

    A header that is no number says nothing (a browser may send one from another stream).
    """
    if header is not None and header.strip().lstrip("-").isdigit():
        return int(header)
    return query
