"""Responses: JSON by orjson, with ETags where a representation has a version.

Also the words in which a route declares what it answers: names of forms, resolved only when somebody asks for the
OpenAPI document, so that starting the server does not build a schema for each.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response

from agentos_engine.errors import Problem


class Json(Response):
    """A JSON body; `content` is plain JSON data."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class ProblemJson(Json):
    media_type = "application/problem+json"


def tagged(request: Request, content: Any, version: str) -> Response:
    """`content` with `version` as its ETag; 304 when the client has this version already."""
    quoted = f'"{version}"'
    headers = {"etag": quoted, "cache-control": "private, no-cache"}
    if any(_same(candidate, quoted) for candidate in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    return Json(content, headers=headers)


def require_match(request: Request, version: str, what: str) -> None:
    """Honour If-Match: nothing is changed in a state the client has not seen.

    Raises:
        Problem: PreconditionFailed, if the header is there and names another version.
    """
    wanted = request.headers.get("if-match")
    if wanted is None or wanted.strip() == "*":
        return
    if not any(_same(candidate, f'"{version}"') for candidate in wanted.split(",")):
        seen = wanted.strip()[:100]
        raise Problem("PreconditionFailed", f'{what} is at version "{version}", not {seen}', current=version)


def _same(candidate: str, quoted: str) -> bool:
    # Weak and strong tags compare alike: a version has one representation here.
    return candidate.strip().removeprefix("W/") == quoted


def answers(
    shape: str | None,
    description: str,
    *,
    status: int = 200,
    problems: tuple[str, ...] = (),
    preconditions: bool = False,
    stream: str | None = None,
) -> dict[str, Any]:
    """What a route answers, as keyword arguments of its decorator.

    `shape` names a form of `views.shapes` (``Page[Run]`` for a list of them; None: no body), `problems` the codes
    beyond those every route of its sort can give, `preconditions` that If-Match is honoured, `stream` the form of the
    events it gives as ``text/event-stream``.
    """
    content: dict[str, Any] = {}
    if shape:
        content["application/json"] = {"schema": {"$ref": f"#/components/schemas/{component(shape)}"}}
    if stream:
        content["text/event-stream"] = {"schema": {"type": "string"}, "x-event": component(stream)}
    answered: dict[str, Any] = {"description": description}
    if content:
        answered["content"] = content
    return {
        "status_code": status,
        "responses": {status: answered},
        "openapi_extra": {"x-problems": list(problems), "x-preconditions": preconditions},
    }


def component(shape: str) -> str:
    """The component name of a form: ``Page[Run]`` is ``RunPage``."""
    return f"{shape[5:-1]}Page" if shape.startswith("Page[") else shape
