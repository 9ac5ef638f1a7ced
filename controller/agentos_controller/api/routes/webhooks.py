"""Webhooks of sources: what a forge calls when somebody pushed. Authenticated by the signature, not by a key."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from agentos_controller.api import answers, deliveries, problems, routing
from agentos_engine.errors import Problem

router = routing.router("sources", "/v1/sources")

SourceId = Annotated[str, Path(max_length=64, description="Id of the source", json_schema_extra={"format": "uuid"})]
_STATUS: dict[deliveries.Outcome, int] = {"accepted": 202, "duplicate": 200, "ignored": 200}


@router.post(
    "/{id}/webhook",
    **answers.answers(
        "Delivery",
        "The source is looked at at once (202); or it was known or of no interest (200)",
        status=202,
        problems=("WebhookRefused", "RequestTooLarge", "RequestTimeout", "TooManyRequests", "InvalidRequest"),
    ),
)
async def deliver(id: SourceId, request: Request) -> Response:  # noqa: A002 - the path's word
    """Take a delivery of GitHub, GitLab, Gitea, Forgejo, Bitbucket, or whoever signs as Standard Webhooks do.

    It wakes the controller and says nothing: the body is not parsed. Send it as the forge does, signed with the secret
    that the source names under `webhook`.
    """
    taker = request.app.state.deliveries
    assert isinstance(taker, deliveries.Deliveries)
    try:
        outcome = await taker.take(id, request.headers, request.stream())
    except (Problem, ClientDisconnect) as error:
        problem = error if isinstance(error, Problem) else Problem("InvalidRequest", "the body ended too early")
        # What was not read is not waited for either.
        return problems.response(problem, request.scope.get("request_id"), {"connection": "close"})
    return answers.Json({"outcome": outcome}, status_code=_STATUS[outcome])
