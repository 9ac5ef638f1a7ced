"""What can go wrong in a run: one exception with a class from a tree, as authors route it in `onError` and `retry.on`.

Cancellation is not an error here, and neither is an interrupt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PARENTS: dict[str, str] = {
    "InvalidInput": "Error",
    "InvalidOutput": "Error",
    "Timeout": "Error",
    "RateLimited": "Error",
    "Unavailable": "Error",
    "Unauthorized": "Error",
    "NotFound": "Error",
    "Conflict": "Error",
    "BadRequest": "Error",
    "ToolFailed": "Error",
    "CodeFailed": "ToolFailed",
    "ModelRefused": "Error",
    "Denied": "Error",
    "Rejected": "Error",
    "Expired": "Error",
    "LimitExceeded": "Error",
    "BudgetExceeded": "LimitExceeded",
}
CLASSES: tuple[str, ...] = ("Error", *_PARENTS)
"""Every class of the language; authors add their own, which stand directly under ``Error``."""

PASSING = frozenset({"RateLimited", "Timeout", "Unavailable"})
"""Classes that may pass by themselves: what a retry is for."""


class RunError(Exception):
    """An error of a run: ``{class, message, step, details, retryable}``.

    `step` is the path of the step that raised it, `details` plain JSON. `retry_after` is what the other side asked
    for, in seconds. `limit` is the meter that was exceeded: a step cannot catch the limits of what it runs in.
    """

    def __init__(
        self,
        class_: str,
        message: str,
        step: str | None = None,
        details: Any = None,
        retryable: bool | None = None,
        *,
        retry_after: float | None = None,
        limit: object | None = None,
    ) -> None:
        super().__init__(class_, message)
        self.class_ = class_
        self.message = message
        self.step = step
        self.details = details
        self.retryable = class_ in PASSING if retryable is None else retryable
        self.retry_after = retry_after
        self.limit = limit

    def __str__(self) -> str:
        where = f" (step {self.step})" if self.step else ""
        return f"{self.class_}: {self.message}{where}"

    def as_json(self) -> dict[str, Any]:
        return {
            "class": self.class_,
            "message": self.message,
            "step": self.step,
            "details": self.details,
            "retryable": self.retryable,
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> RunError:
        return cls(value["class"], value["message"], value["step"], value["details"], value["retryable"])


def lineage(class_: str) -> tuple[str, ...]:
    """`class_` and its ancestors, the most specific first, ``Error`` last."""
    chain = [class_]
    while (parent := _PARENTS.get(chain[-1])) is not None:
        chain.append(parent)
    return tuple(chain) if chain[-1] == "Error" else (*chain, "Error")


def matches(class_: str, named: str) -> bool:
    """Whether an error of `class_` is meant by `named`."""
    return named in lineage(class_)


def route(on_error: Mapping[str, str], class_: str) -> str:
    """Where an error of `class_` leads: a step id, ``continue`` or ``fail``; the most specific entry decides."""
    return next((on_error[name] for name in lineage(class_) if name in on_error), "fail")


def class_of_status(status: int) -> str | None:
    """Error class of an HTTP status; None for one that is no error."""
    if status < 300:
        return None
    if status < 400:
        return "ToolFailed"
    named = {
        401: "Unauthorized",
        403: "Unauthorized",
        404: "NotFound",
        409: "Conflict",
        408: "Timeout",
        429: "RateLimited",
    }
    if status in named:
        return named[status]
    if status >= 500:
        return "Timeout" if status == 504 else "Unavailable"
    return "BadRequest"
