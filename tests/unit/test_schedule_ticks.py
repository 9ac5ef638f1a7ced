"""When schedules tick."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentos_controller import clock
from agentos_controller.scheduling import ticks


def found(body: dict[str, Any], after: str, count: int) -> list[str]:
    times, moment, out = ticks.times(body), ticks.moment(after), []
    for _ in range(count):
        tick = times.after(moment)
        if tick is None:
            break
        moment = tick
        local = clock.to_datetime(tick).astimezone(ZoneInfo(body.get("timezone", "UTC")))
        out.append(local.strftime("%a %m-%d %H:%M %z"))
    return out


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 7 * * MON-FRI", ["Mon 11-23 07:00 +0000", "Tue 11-24 07:00 +0000"]),
        ("0 9 * * 0", ["Sun 11-22 09:00 +0000", "Sun 11-29 09:00 +0000"]),
        ("0 9 * * 7", ["Sun 11-22 09:00 +0000", "Sun 11-29 09:00 +0000"]),
        ("0 9 * * 1", ["Mon 11-23 09:00 +0000", "Mon 11-30 09:00 +0000"]),
        ("5/20 8 * * *", ["Sat 11-21 08:05 +0000", "Sat 11-21 08:25 +0000", "Sat 11-21 08:45 +0000"]),
        # Both day fields: either, as in cron.
        ("0 9 1 * SUN", ["Sun 11-22 09:00 +0000", "Sun 11-29 09:00 +0000", "Tue 12-01 09:00 +0000"]),
    ],
)
def test_cron_means_what_it_means_elsewhere(cron: str, expected: list[str]) -> None:
    assert found({"cron": cron}, "2026-11-20T12:00:00Z", len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        # The hour from 2 to 3 does not exist on this day.
        ("30 2 * * *", "2026-03-28T12:00:00Z", ["Sun 03-29 03:30 +0200", "Mon 03-30 02:30 +0200"]),
        # And here it comes twice.
        ("30 2 * * *", "2026-10-24T12:00:00Z", ["Sun 10-25 02:30 +0200", "Mon 10-26 02:30 +0100"]),
        ("30 * * * *", "2026-10-25T00:00:00Z", ["Sun 10-25 02:30 +0200", "Sun 10-25 02:30 +0100"]),
    ],
)
def test_clock_changes(cron: str, after: str, expected: list[str]) -> None:
    assert found({"cron": cron, "timezone": "Europe/Berlin"}, after, len(expected)) == expected


def test_a_schedule_for_one_moment_ticks_once() -> None:
    assert found({"at": "2026-11-21T08:00:00Z"}, "2026-11-20T00:00:00Z", 3) == ["Sat 11-21 08:00 +0000"]


@given(st.integers(1_000, 10**9), st.integers(0, 4 * 10**15))
def test_an_interval_does_not_depend_on_when_one_asks(every_ms: int, moment: int) -> None:
    times = ticks.times({"everyMs": every_ms})
    tick = times.after(moment)
    assert tick is not None
    assert moment < tick <= moment + every_ms * 1_000
    assert tick % (every_ms * 1_000) == 0
    assert times.after(tick - 1) == tick


@given(st.text(min_size=1), st.integers(1, 10**10))
def test_jitter_is_bounded_and_always_alike(name: str, most: int) -> None:
    assert 0 <= ticks.jitter("t", name, most) < most
    assert ticks.jitter("t", name, most) == ticks.jitter("t", name, most)
    assert ticks.jitter("t", name, 0) == 0
