"""The outermost layer of every request: its id, the body's cap, security headers, counting, and the last net.

Plain ASGI, because every microsecond here is paid by every request.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentos_controller import ids
from agentos_controller.api import problems
from agentos_engine import errors

log = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024
"""Bytes of a request body."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
Observe = Callable[[str, str, int, float], None]
"""Called with method, route template, status and seconds once a response has begun."""
CAPS_ITSELF = re.compile(r"/v1/sources/[^/]+/webhook")
"""Paths whose route reads bodies of its own bounds: forges send more than this API's clients, and are read apart."""


class Edge:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, observe: Observe, max_body: int = MAX_BODY) -> None:
        self._app = app
        self._observe = observe
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = dict(scope["headers"])
        offered = headers.get(b"x-request-id", b"")
        request_id = offered.decode("ascii") if _REQUEST_ID.fullmatch(offered) else ids.new()
        scope["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *_SECURITY]
            await send(message)

        try:
            if "\0" in scope["path"] or b"%00" in scope["query_string"]:
                # No name holds a NUL, and PostgreSQL takes none.
                await self._answer(errors.Problem("InvalidRequest", "the address holds a NUL"), scope, receive, answer)
                return
            capped = not CAPS_ITSELF.fullmatch(scope["path"])
            declared = headers.get(b"content-length", b"")
            if capped and declared.isdigit() and int(declared) > self._max_body:
                # Answered before a byte is read; the server closes the connection on what was not taken.
                await self._answer(errors.Problem("RequestTooLarge", self._too_large()), scope, receive, answer)
                return
            try:
                await self._app(scope, self._capped(receive) if capped else receive, answer)
            except Exception as error:
                if isinstance(error, errors.Problem):
                    problem = error
                else:
                    # The message may carry what a client or a server sent: only its type is logged, with the place.
                    log.error("request failed", extra={"request_id": request_id, "error": _place(error)})
                    problem = errors.Problem("InternalError", "the server failed; the log has the request id")
                if status:
                    raise
                await self._answer(problem, scope, receive, answer)
        finally:
            route = scope.get("route")
            template = getattr(route, "path", "other")
            self._observe(scope["method"], template, status, time.perf_counter() - began)

    async def _answer(self, problem: errors.Problem, scope: Scope, receive: Receive, send: Send) -> None:
        await problems.response(problem, scope["request_id"])(scope, receive, send)

    def _too_large(self) -> str:
        return f"a request body has at most {self._max_body} bytes"

    def _capped(self, receive: Receive) -> Receive:
        taken = 0

        async def capped() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > self._max_body:
                    raise HTTPException(413, self._too_large())
            return message

        return capped


def _place(error: BaseException) -> str:
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    line = f" at {where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else ""
    return f"{type(error).__name__}{line}"
