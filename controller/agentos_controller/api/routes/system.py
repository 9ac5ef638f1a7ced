"""Is it alive, is it ready, what has it counted: the paths that need no key."""

from __future__ import annotations

import sqlalchemy as sa
from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from agentos_controller.api import answers, deps, metrics, routing
from agentos_engine.errors import Problem

router = routing.router("system")


@router.get(
    "/healthz", **answers.answers("Health", "The process lives and its loops go round", problems=("NotReadyYet",))
)
async def get_health(request: Request) -> Response:
    """Whether the process lives: every loop made progress in time. A failing one asks for a restart."""
    checks = _loops(request)
    return _judged(checks)


@router.get("/readyz", **answers.answers("Health", "Requests can be served", problems=("NotReadyYet",)))
async def get_readiness(request: Request) -> Response:
    """Whether requests can be served: the loops go round and the database answers."""
    checks = _loops(request)
    try:
        async with deps.parts_of(request).database.read() as conn:
            await conn.execute(sa.select(1))
        checks["database"] = {"ok": True}
    except (SQLAlchemyError, OSError):
        checks["database"] = {"ok": False}
    return _judged(checks)


@router.get("/metrics", responses={200: {"content": {metrics.CONTENT_TYPE: {"schema": {"type": "string"}}}}})
async def get_metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    counted = request.app.state.metrics
    assert isinstance(counted, metrics.Metrics)
    return Response(await counted.page(deps.parts_of(request)), headers={"content-type": metrics.CONTENT_TYPE})


@router.get("/v1/openapi.json", responses={200: {"description": "This API, as OpenAPI 3.1"}})
async def get_openapi(request: Request) -> Response:
    """The description of this API."""
    return answers.Json(request.app.openapi())


def _loops(request: Request) -> dict[str, dict[str, object]]:
    return {name: dict(progress()) for name, progress in deps.parts_of(request).loops.items()}


def _judged(checks: dict[str, dict[str, object]]) -> Response:
    bad = [name for name, check in checks.items() if not check.get("ok", True)]
    if bad:
        raise Problem("NotReadyYet", f"{', '.join(bad)}: no progress in time", checks=checks)
    return answers.Json({"ok": True, "checks": checks})
