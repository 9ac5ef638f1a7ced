"""How single values look outside: times, money, conditions.

Money is a decimal number of USD outside and an integer of micro-USD in the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, overload

import sqlalchemy as sa

from agentos_controller import clock
from agentos_controller.views import shapes

Row = sa.Row[*tuple[Any, ...]]
Query = sa.Select[*tuple[Any, ...]]


@overload
def time(micros: int) -> str: ...
@overload
def time(micros: None) -> None: ...
@overload
def time(micros: int | None) -> str | None: ...
def time(micros: int | None) -> str | None:
    """Epoch microseconds as RFC 3339 in UTC."""
    return None if micros is None else _time(micros)


# One apply gives thousands of conditions the same instant: hence the cache.
_time = lru_cache(maxsize=4096)(clock.rfc3339)


def money(micros: int | None) -> float:
    """Micro-USD as USD."""
    return (micros or 0) / 1_000_000


def conditions(packed: Iterable[Sequence[Any]] | None, observed: str | None = None) -> list[shapes.Condition]:
    """Stored conditions (`agentos_engine.conditions.Condition.pack`) as JSON.

    `observed` is the revision up to which the source was reconciled: a resource no commit touched since is not
    rewritten, so its own row may name an older one.
    """
    return [
        {
            "type": type_,
            "status": status,
            "reason": reason,
            "message": message,
            "observedRevision": observed or revision or None,
            "lastTransitionTime": time(since),
        }
        for type_, status, reason, message, revision, since in packed or ()
    ]


def suspension(row: Row) -> shapes.Suspension | None:
    """Who suspended what a row tells of, if anybody did."""
    if row.suspended_by is None:
        return None
    return {"by": row.suspended_by, "reason": row.suspended_reason, "until": time(row.suspended_until)}


def status_of(packed: Iterable[Sequence[Any]] | None, type_: str) -> str:
    """The status of one stored condition, ``Unknown`` if it was never reported."""
    return next((str(condition[1]) for condition in packed or () if condition[0] == type_), "Unknown")
