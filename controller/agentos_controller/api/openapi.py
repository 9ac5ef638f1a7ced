"""The OpenAPI document: FastAPI's, completed with the forms of the read model, the problems, and who may call what.

Built when it is first asked for: the schemas of all forms cost more than the rest of the start.
"""

from __future__ import annotations

import operator
from typing import Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import ConfigDict, TypeAdapter

from agentos_controller.api import deps
from agentos_controller.views import shapes
from agentos_engine import errors

TITLE = "AgentOS"
DESCRIPTION = (
    "Times are RFC 3339 in UTC, keys are camelCase, lists are `{items, nextCursor}` with opaque cursors. "
    "Every error is a problem (RFC 9457) whose `code` is documented with the project."
)
_SCHEMA = "#/components/schemas/"


def build(app: FastAPI, version: str) -> dict[str, Any]:
    """The document of `app`."""
    document = get_openapi(title=TITLE, version=version, description=DESCRIPTION, routes=app.routes)
    document["paths"] = dict(sorted(document["paths"].items()))
    components = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    components["Problem"] = _problem()
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    for route in app.routes:
        if isinstance(route, APIRoute):
            for method in sorted(route.methods or ()):
                _complete(document["paths"][route.path_format][method.lower()], route, method)
    _add_shapes(document)
    return document


def _complete(operation: dict[str, Any], route: APIRoute, method: str) -> None:
    declared = operation.pop("x-problems", [])
    preconditions = operation.pop("x-preconditions", False)
    codes = {"InternalError", *declared}
    if needs := deps.needs_of(route):
        operation["security"] = [{"bearer": []}, {"apiKey": []}]
        operation["x-permission"] = needs[0].permission
        operation["x-scope"] = needs[0].scope
        codes |= {"Unauthenticated", "Forbidden"}
        if needs[0].scope == "tenant" or route.param_convertors:
            codes.add("NotFound")
    else:
        operation["security"] = []
    if operation.get("parameters") or route.body_field:
        codes.add("InvalidRequest")
    if route.body_field:
        codes.add("RequestTooLarge")
    if method == "POST" and any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", [])):
        codes |= {"IdempotencyMismatch", "Conflict"}
    if preconditions and method != "GET":
        codes.add("PreconditionFailed")
        operation.setdefault("parameters", []).append(
            {
                "name": "If-Match",
                "in": "header",
                "required": False,
                "schema": {"type": "string"},
                "description": "Only if the ETag is still this one",
            }
        )
    responses = operation["responses"]
    responses.pop("422", None)
    for answered in responses.values():
        # FastAPI takes it that every route answers JSON of some form.
        if answered.get("content", {}).get("application/json") == {"schema": {}}:
            del answered["content"]["application/json"]
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes):
        by_status.setdefault(cast("int", errors.REGISTRY[code].status), []).append(code)
    for status, names in sorted(by_status.items()):
        responses[str(status)] = {
            "description": "; ".join(errors.REGISTRY[name].summary for name in names),
            "x-codes": names,
            "content": {"application/problem+json": {"schema": {"$ref": f"{_SCHEMA}Problem"}}},
        }


def _problem() -> dict[str, Any]:
    codes = sorted(name for name, code in errors.REGISTRY.items() if code.status is not None)
    text = {"type": "string"}
    wrong = {
        "type": "object",
        "required": ["path", "message"],
        "properties": {"in": text, "path": text, "message": text},
    }
    return {
        "type": "object",
        "description": "RFC 9457; further members depend on the code.",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "code": {"type": "string", "enum": codes},
            "hint": text,
            "requestId": {"type": ["string", "null"]},
            "errors": {"type": "array", "items": wrong},
        },
    }


def _add_shapes(document: dict[str, Any]) -> None:
    """Every form that is answered somewhere, and the forms inside of it."""
    components = document["components"]["schemas"]
    for each in vars(shapes).values():
        if isinstance(each, type) and each.__module__ == shapes.__name__:
            each.__pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # type: ignore[attr-defined]
    for name in sorted(set(_referenced(document)) - set(components)):
        schema = TypeAdapter(_shape(name)).json_schema(mode="serialization", ref_template=_SCHEMA + "{model}")
        components.update(schema.pop("$defs", {}))
        if "$ref" not in schema:
            components[name] = schema
    document["components"]["schemas"] = dict(sorted(components.items()))


def _referenced(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"].removeprefix(_SCHEMA)] if isinstance(value.get("$ref"), str) else []
        own += [value["x-event"]] if "x-event" in value else []
        return own + [name for each in value.values() for name in _referenced(each)]
    if isinstance(value, list):
        return [name for each in value for name in _referenced(each)]
    return []


def _shape(name: str) -> Any:
    if name.endswith("Page") and not hasattr(shapes, name):
        return operator.getitem(cast("Any", shapes.Page), getattr(shapes, name.removesuffix("Page")))
    return getattr(shapes, name)
