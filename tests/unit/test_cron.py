"""Cron lines: what they mean, and what is wrong with the others."""

from __future__ import annotations

import pytest

from agentos_engine import cron, literals


@pytest.mark.parametrize(
    ("line", "minutes", "hours", "weekdays"),
    [
        ("0 7 * * MON-FRI", {0}, {7}, {1, 2, 3, 4, 5}),
        ("*/20 9-17/4 * * 0,6", {0, 20, 40}, {9, 13, 17}, {0, 6}),
        ("5 0 * * 7", {5}, {0}, {0}),
        ("5 0 * * fri-sun", {5}, {0}, {5, 6, 0}),
        ("58/1 23 * * *", {58, 59}, {23}, {0, 1, 2, 3, 4, 5, 6}),
    ],
)
def test_fields(line: str, minutes: set[int], hours: set[int], weekdays: set[int]) -> None:
    parsed = cron.parse(line)
    assert (set(parsed.minutes), set(parsed.hours), set(parsed.weekdays)) == (minutes, hours, weekdays)


def test_either_day_field_suffices_when_both_are_restricted() -> None:
    both = cron.parse("0 0 13 * FRI")
    assert both.fires_on(1, 13, 2)
    assert both.fires_on(1, 14, 5)
    assert not both.fires_on(1, 14, 2)
    assert not cron.parse("0 0 13 * *").fires_on(1, 14, 5)
    assert not cron.parse("0 0 * 2 *").fires_on(1, 14, 5)


@pytest.mark.parametrize(
    ("line", "message", "offset"),
    [
        ("60 * * * *", "'60' is no minute", 0),
        ("0 24 * * *", "'24' is no hour", 2),
        ("0 0 0 * *", "'0' is no day of month", 4),
        ("0 0 * 13 *", "'13' is no month", 6),
        ("0 0 * * mo", "'mo' is no day of week", 8),
        ("*/0 * * * *", "'0' is no step for the minute", 0),
        ("0 9-5 * * *", "the range '9-5' of the hour runs backwards", 2),
        ("0 0 30,31 2 *", "no such day ever comes", 4),
        ("* * * *", "a cron line has five fields (minute, hour, day of month, month, day of week), this one 4", 0),
        ("@hourly", "'@hourly' is not a cron line", 0),
        ("0 0 1٣ * *", "'1٣' is no day of month", 4),
    ],
)
def test_what_is_wrong(line: str, message: str, offset: int) -> None:
    with pytest.raises(cron.CronError) as caught:
        cron.parse(line)
    assert (caught.value.message, caught.value.offset) == (message, offset)


@pytest.mark.parametrize(
    ("text", "ms"), [("500ms", 500), ("30s", 30_000), ("10m", 600_000), ("48h", 172_800_000), ("7d", 604_800_000)]
)
def test_durations(text: str, ms: int) -> None:
    assert literals.duration_ms(text) == ms
    assert literals.duration_ms(literals.duration_text(ms)) == ms


@pytest.mark.parametrize("text", ["", "0s", "1.5h", "10 m", "1h30m", "-1s", "10", "s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        literals.duration_ms(text)


def test_money_is_exact() -> None:
    assert [literals.money_micro(usd) for usd in (0.1, 2, 0.0000005, 0.29)] == [100_000, 2_000_000, 1, 290_000]
