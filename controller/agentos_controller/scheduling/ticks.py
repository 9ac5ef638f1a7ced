"""When a Schedule artifact ticks: pure arithmetic over its body, on APScheduler's cron trigger.

A tick is an epoch-microsecond moment and depends on nothing but the artifact: every process and every restart computes
the same ones. What a cron line means is said by the engine; the trigger, which would read it otherwise (weekdays from
Monday, both day fields at once), gets plain lists of values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from agentos_controller import clock
from agentos_engine import cron

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


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
    unless it ticks in every hour.
    """

    def __init__(self, line: str, zone: tzinfo) -> None:
        parsed = cron.parse(line)
        self._trigger = _trigger(parsed, zone)
        self._zone = zone
        self._both = len(parsed.hours) == 24

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


def _trigger(parsed: cron.Cron, zone: tzinfo) -> CronTrigger | OrTrigger:
    common = {
        "month": _listed(parsed.months),
        "hour": _listed(parsed.hours),
        "minute": _listed(parsed.minutes),
        "timezone": zone,
    }
    days = _listed(parsed.days)
    weekdays = ",".join(_WEEKDAYS[number] for number in sorted(parsed.weekdays))
    if parsed.days_restricted and parsed.weekdays_restricted:
        return OrTrigger([CronTrigger(day=days, **common), CronTrigger(day_of_week=weekdays, **common)])
    return CronTrigger(day=days, day_of_week=weekdays, **common)


def _listed(values: Iterable[int]) -> str:
    return ",".join(map(str, sorted(values)))
