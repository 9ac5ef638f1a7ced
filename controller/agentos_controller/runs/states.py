"""The states of a run and the legal transitions between them, enumerated once.

Every UPDATE of `run.state` takes its guard from `before`; nothing else in the project compares states by hand. The
picture and who may cause what: `docs/architecture.md`, "A run's life".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

State = Literal[
    "pending",
    "running",
    "waiting",
    "paused",
    "cancelling",
    "succeeded",
    "failed",
    "cancelled",
    "rejected",
    "dead",
]

FINAL: frozenset[State] = frozenset({"succeeded", "failed", "cancelled", "rejected", "dead"})
"""Never left, except by a retry a person asks for."""

RETRYABLE: frozenset[State] = frozenset({"failed", "dead"})
"""From here a person's retry leads to `pending`, under a new segment number."""

TRANSITIONS: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        # A run without a worker has nobody to cancel cooperatively, so it is cancelled in one step.
        "pending": frozenset({"running", "cancelled", "rejected"}),
        "running": frozenset({"succeeded", "failed", "dead", "waiting", "paused", "cancelling", "pending"}),
        "waiting": frozenset({"pending", "cancelled"}),
        "paused": frozenset({"pending", "cancelled"}),
        "cancelling": frozenset({"cancelled"}),
        "succeeded": frozenset(),
        "failed": frozenset(),
        "cancelled": frozenset(),
        "rejected": frozenset(),
        "dead": frozenset(),
    }
)
"""Where each state may go. A retry is not among them: it is `RETRYABLE` → ``pending``."""

LIVE: frozenset[State] = frozenset(TRANSITIONS) - FINAL


def before(target: State) -> tuple[State, ...]:
    """The states from which `target` may be reached, sorted: the guard of the UPDATE that leads there."""
    return tuple(sorted(state for state, targets in TRANSITIONS.items() if target in targets))


def may(current: State, target: State) -> bool:
    """Whether `current` → `target` is legal."""
    return target in TRANSITIONS[current]
