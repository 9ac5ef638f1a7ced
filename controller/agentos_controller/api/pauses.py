"""What the routes that stop and resume things share: how long, why, and the command that does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from fastapi import Request
from pydantic import AwareDatetime, Field, model_validator
from starlette.responses import Response

from agentos_controller import clock
from agentos_controller.api import bodies, commands, deps, idempotency
from agentos_engine import literals
from agentos_engine.errors import Problem


class Term(bodies.Body):
    """Until when something stays as it is; with neither, until somebody ends it."""

    for_: Annotated[
        str | None, Field(alias="for", pattern=literals.DURATION_PATTERN, max_length=16, examples=["2h"])
    ] = None
    """How long, from now: 30m, 2h, 7d."""
    until: AwareDatetime | None = None
    """Or until when, as RFC 3339 with an offset."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if self.for_ is not None and self.until is not None:
            raise ValueError("give `for` or `until`, not both")
        return self

    def end(self, now: int) -> int | None:
        """The end in epoch microseconds.

        Raises:
            Problem: InvalidRequest, if that is no moment to come.
        """
        try:
            if self.for_ is not None:
                end = now + literals.duration_ms(self.for_) * 1_000
            elif self.until is not None:
                end = clock.from_datetime(self.until)
            else:
                return None
            clock.rfc3339(end)
        except OverflowError:
            raise _wrong("/for" if self.for_ is not None else "/until", "is further away than a date can say") from None
        if end <= now:
            raise _wrong("/until", f"has passed: it is {clock.rfc3339(now)} now")
        return end


def _wrong(path: str, message: str) -> Problem:
    errors = [{"in": "body", "path": path, "message": message}]
    return Problem("InvalidRequest", f"body {path}: {message}", errors=errors)


class Suspend(Term):
    reason: bodies.Line
    """Why; shown to everybody who asks, and kept in the audit trail."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is suspended or resumed. `args` names it in the command, `called` in the trail."""

    tenant_id: str
    args: Mapping[str, Any]
    called: str


async def order(
    call: deps.Call,
    request: Request,
    key: str | None,
    type_: Literal["suspend", "resume"],
    subject: Subject,
    body: Suspend | None,
    check: commands.Check | None = None,
) -> Response:
    """Write the command and answer it; `key` is the Idempotency-Key."""
    args = dict(subject.args)
    if body is not None:
        args |= {"reason": body.reason, "until": body.end(call.parts.clock.now_us())}
    wanted = commands.Wanted(type_, subject.tenant_id, args, subject.called, check)
    return await idempotency.once(call, request, key, lambda: commands.accept(call, wanted))


def require_suspended(by: str | None, called: str) -> None:
    """Refuse to resume what nobody suspended.

    Raises:
        Problem: Conflict.
    """
    if by is None:
        raise Problem("Conflict", f"{called} is not suspended")
