"""The application: parts in, ASGI out."""

from __future__ import annotations

from functools import cache, partial
from importlib import metadata
from typing import Any

from fastapi import FastAPI

from agentos_controller.api import deliveries, directory, edge, metrics, parts, problems, roles
from agentos_controller.api.routes import (
    approvals,
    people,
    resources,
    runs,
    sources,
    system,
    tenants,
    watch,
    webhooks,
    work,
)

DISTRIBUTION = "agentos-gitops"


def create(
    made_of: parts.Parts, *, max_body: int = edge.MAX_BODY, receiving: deliveries.Limits | None = None
) -> FastAPI:
    """The API over `made_of`. It opens and closes nothing: that is the caller's.

    There is no documentation page, because one would load scripts from elsewhere; `/v1/openapi.json` is complete.
    """
    app = FastAPI(
        title="AgentOS",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.parts = made_of
    app.state.directory = directory.Directory(made_of.clock.monotonic)
    app.state.roles = roles.Roles(made_of.clock.monotonic)
    app.state.metrics = counted = metrics.Metrics()
    app.state.deliveries = deliveries.Deliveries(made_of, receiving or deliveries.Limits(), counted.delivered)
    # Taken over as they are: an included router resolves its routes anew at every request. The busiest come first.
    for module in (runs, system, resources, tenants, watch, approvals, sources, webhooks, work, people):
        app.router.routes.extend(module.router.routes)
    problems.install(app)
    app.add_middleware(edge.Edge, observe=counted.observe, max_body=max_body)
    # FastAPI looks this attribute up: the document is made at the first call.
    app.openapi = cache(partial(_openapi, app))  # type: ignore[method-assign]
    return app


def version() -> str:
    """The version of this release, as installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0"


def _openapi(app: FastAPI) -> dict[str, Any]:
    # Imported here: it builds the schema of every form.
    from agentos_controller.api import openapi

    return openapi.build(app, version())
