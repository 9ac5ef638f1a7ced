"""When a Schedule artifact ticks: pure arithmetic over its body, on APScheduler's cron trigger.

A tick is an epoch-microsecond moment and depends on nothing but the artifact: every process and every restart computes
the same ones. Cron here means what cron means elsewhere, which the trigger does not: weekdays are counted from Sunday,
a range may wrap (``FRI-MON``), ``5/15`` starts at 5, and a day of month beside a weekday means either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from agentos_controller import clock

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_HIGHEST = {"minute": 59, "hour": 23, "day": 31, "month": 12}


class Times(Protocol):
    """The ticks of one schedule."""

    def after(self, moment_us: int) -> int | None:
        """The first tick later than `moment_us`, None if there is none any more."""
        ...


class Once:
    """One tick."""

    def __init__(self, at_us: int) -> None:
        self._at = at_us

    def after(self, moment_us: int) -> int | None:
        return self._at if self._at > moment_us else None


class Every:
    """A fixed interval, counted from the Unix epoch so that it does not depend on when anybody started counting."""

    def __init__(self, every_us: int) -> None:
        self._every = max(every_us, clock.SECOND)

    def after(self, moment_us: int) -> int | None:
        return (moment_us // self._every + 1) * self._every


class Cron:
    """Five fields in a timezone.

    A local time that a clock change skips ticks right after the change; one that it repeats ticks the first time only,
    unless the hour is ``*``.
    """

    def __init__(self, line: str, zone: tzinfo) -> None:
        self._trigger = _trigger(line, zone)
        self._zone = zone
        self._both = line.split()[1].startswith("*")

    def after(self, moment_us: int) -> int | None:
        start = clock.to_datetime(moment_us + 1).astimezone(self._zone)
        while True:
            found: datetime | None = self._trigger.get_next_fire_time(None, start)
            if found is None:
                return None
            tick = clock.from_datetime(found)
            start = clock.to_datetime(tick + 1).astimezone(self._zone)
            if self._both or not clock.to_datetime(tick).astimezone(self._zone).fold:
                return tick


def times(body: Mapping[str, Any]) -> Times:
    """The ticks of the Schedule artifact `body`: of its `cron`, `everyMs` or `at`."""
    if body.get("cron"):
        return Cron(body["cron"], ZoneInfo(body.get("timezone") or "UTC"))
    if body.get("everyMs"):
        return Every(int(body["everyMs"]) * 1_000)
    return Once(moment(body["at"]))


def moment(text: str) -> int:
    """Epoch microseconds of an RFC 3339 time."""
    return clock.from_datetime(datetime.fromisoformat(text))


def due(schedule: Times, last_us: int, now_us: int, limit: int) -> Iterator[int]:
    """The ticks later than `last_us` and not later than `now_us`, oldest first, at most `limit`."""
    tick = schedule.after(last_us)
    while tick is not None and tick <= now_us and limit > 0:
        yield tick
        limit -= 1
        tick = schedule.after(tick)


def jitter(tenant_id: str, name: str, jitter_us: int) -> int:
    """How long after its tick a schedule fires: within `jitter_us`, always alike for one schedule."""
    if jitter_us <= 0:
        return 0
    return int.from_bytes(hashlib.sha256(f"{tenant_id}/{name}".encode()).digest()[:8]) % jitter_us


def _trigger(line: str, zone: tzinfo) -> CronTrigger | OrTrigger:
    minute, hour, day, month, weekday = line.split()
    common = {
        "minute": _steps("minute", minute),
        "hour": _steps("hour", hour),
        "month": _steps("month", month),
        "timezone": zone,
    }
    days, weekdays = _steps("day", day), _weekdays(weekday)
    if day.startswith("*") or weekday.startswith("*"):
        return CronTrigger(day=days, day_of_week=weekdays, **common)
    return OrTrigger([CronTrigger(day=days, **common), CronTrigger(day_of_week=weekdays, **common)])


def _steps(field: str, text: str) -> str:
    """`text` with ``5/15`` written as the range it means."""
    parts = []
    for part in text.lower().split(","):
        start, slash, step = part.partition("/")
        if slash and start != "*" and "-" not in start:
            part = f"{start}-{_HIGHEST[field]}/{step}"
        parts.append(part)
    return ",".join(parts)


def _weekdays(text: str) -> str:
    """`text` as a list of weekday names: numbers count from Sunday (0 and 7), ranges may wrap, steps are taken."""
    if text == "*":
        return "*"
    chosen: set[int] = set()
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        if first == "*":
            start, end = 0, 6
        else:
            start = _weekday(first)
            end = _weekday(last) if dash else (6 if step else start)
        length = (end - start) % 7
        chosen.update((start + offset) % 7 for offset in range(0, length + 1, int(step or 1)))
    return ",".join(WEEKDAYS[number] for number in sorted(chosen))


def _weekday(text: str) -> int:
    return int(text) % 7 if text.isdigit() else WEEKDAYS.index(text[:3])
