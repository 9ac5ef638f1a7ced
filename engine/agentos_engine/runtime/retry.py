"""The attempt loop around calls that may fail in passing.

Waiting and chance are injected. Waits are spent in place; nothing here survives a restart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from agentos_engine.runtime import errors

T = TypeVar("T")
PASSING = tuple(sorted(errors.PASSING))


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and how long: `delay` and `max_delay` in seconds, `on` the error classes that are tried again."""

    attempts: int = 1
    exponential: bool = True
    delay: float = 1.0
    max_delay: float = 30.0
    on: tuple[str, ...] = PASSING

    @classmethod
    def of(cls, body: Mapping[str, Any] | None) -> Policy:
        """From ``{attempts, backoff, delayMs, maxDelayMs, on}`` of an artifact; None is one attempt."""
        if body is None:
            return ONCE
        return cls(
            attempts=body.get("attempts", 3),
            exponential=body.get("backoff", "exponential") == "exponential",
            delay=body.get("delayMs", 1_000) / 1000,
            max_delay=body.get("maxDelayMs", 30_000) / 1000,
            on=tuple(body.get("on") or PASSING),
        )

    @classmethod
    def of_model(cls, step: Mapping[str, Any]) -> Policy:
        """Of a step that asks a model: its own, or what models get."""
        return cls.of(step["retry"]) if step.get("retry") is not None else MODEL

    def wait(self, attempt: int, error: errors.RunError, chance: float) -> float:
        """Seconds before the attempt after `attempt` (from 1); `chance` in [0, 1) takes up to half of it away."""
        raw = self.delay * 2 ** min(attempt - 1, 30) if self.exponential else self.delay
        wait = min(raw, self.max_delay) * (1 - chance / 2)
        return max(wait, error.retry_after) if error.retry_after is not None else wait

    def again(self, attempt: int, error: errors.RunError) -> bool:
        """Whether another attempt follows. Limits are never retried: they do not come back."""
        if attempt >= self.attempts or error.limit is not None:
            return False
        if error.retry_after is not None and error.retry_after > LONGEST_WAIT:
            return False
        return any(errors.matches(error.class_, name) for name in self.on)


LONGEST_WAIT = 300.0
"""Seconds; a server that asks for more is not waited for."""
ONCE = Policy()
MODEL = Policy(attempts=3)
"""Of model calls, unless their step says otherwise."""

Failed = Callable[[int, errors.RunError, float], None]


async def run(
    policy: Policy,
    attempt: Callable[[int], Awaitable[T]],
    *,
    sleep: Callable[[float], Awaitable[Any]],
    chance: Callable[[], float],
    failed: Failed,
) -> T:
    """Call `attempt` with its number (from 1) until it succeeds or `policy` gives up; then its error is raised.

    `failed` is told each failure that is tried again, with the wait in seconds.
    """
    number = 1
    while True:
        try:
            return await attempt(number)
        except errors.RunError as error:
            if not policy.again(number, error):
                raise
            wait = policy.wait(number, error, chance())
            failed(number, error, wait)
        await sleep(wait)
        number += 1
