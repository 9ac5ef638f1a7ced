"""Every error as an RFC 9457 problem, from one registry of codes.

A problem never repeats what the client sent: input may hold a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from agentos_controller import redaction
from agentos_controller.api import answers
from agentos_engine import errors

URN = "urn:agentos:problem:"
_BY_STATUS = {
    400: "InvalidRequest",
    401: "Unauthenticated",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "RequestTooLarge",
}


def document(problem: errors.Problem, request_id: str | None) -> dict[str, Any]:
    """The problem document, without any secret this process knows; ``requestId`` finds the line in the log."""
    # What a library says of a wrong value may quote it.
    cleaned: dict[str, Any] = redaction.redactor.clean(
        {
            "type": URN + problem.code,
            "title": problem.title,
            "status": problem.status,
            "detail": problem.detail,
            "code": problem.code,
            "hint": errors.REGISTRY[problem.code].fix,
            "requestId": request_id,
            **problem.extra,
        }
    )
    return cleaned


def response(problem: errors.Problem, request_id: str | None, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for `problem`."""
    sent = dict(headers or {})
    sent["cache-control"] = "no-store"
    if problem.code == "Unauthenticated":
        sent["www-authenticate"] = 'Bearer realm="agentos"'
    elif problem.code in ("NotReadyYet", "TooManyRequests"):
        sent["retry-after"] = "1"
    return answers.ProblemJson(document(problem, request_id), status_code=problem.status, headers=sent)


def invalid(errors_: Sequence[Mapping[str, Any]]) -> errors.Problem:
    """InvalidRequest out of pydantic's list of errors."""
    listed = [_one(error) for error in errors_]
    first = listed[0]
    more = f" (and {len(listed) - 1} more)" if len(listed) > 1 else ""
    return errors.Problem("InvalidRequest", f"{first['in']} {first['path']}: {first['message']}{more}", errors=listed)


def _one(error: Mapping[str, Any]) -> dict[str, str]:
    where, *rest = [str(part) for part in error["loc"]]
    if error["type"] == "json_invalid":
        return {"in": "body", "path": "/", "message": "is not valid JSON"}
    path = "".join(f"/{part}" for part in rest) or "/" if where == "body" else ".".join(rest)
    return {"in": where, "path": path, "message": str(error["msg"])}


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem. Unexpected exceptions are the edge's."""

    def of_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.Problem)
        return response(error, request.scope.get("request_id"))

    def of_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return response(invalid(error.errors()), request.scope.get("request_id"))

    def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _BY_STATUS.get(error.status_code, "InternalError")
        path = request.url.path[:200]
        detail = {
            "NotFound": f"there is nothing at {path}",
            "MethodNotAllowed": f"{request.method} is not possible at {path}",
            "RequestTooLarge": "the request body is larger than this server takes",
            "InvalidRequest": "the request body cannot be read",
        }.get(code, errors.REGISTRY[code].summary)
        return response(errors.Problem(code, detail), request.scope.get("request_id"), error.headers)

    app.add_exception_handler(errors.Problem, of_problem)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, of_http)
