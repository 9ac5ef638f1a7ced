"""Five-field cron lines: reading them, and saying what is wrong with one.

Minute, hour, day of month, month, day of week; ``*``, lists, ranges, steps; months and weekdays by number or English
name; Sunday is 0 or 7. When both day fields are restricted a day needs to match *either*, as in cron itself. Computing
ticks belongs to whoever has a clock and a timezone.
"""

from __future__ import annotations

from dataclasses import dataclass

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MACROS = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip


class CronError(ValueError):
    """A cron line that is none; `offset` is the character of the line where the trouble is."""

    def __init__(self, message: str, offset: int = 0, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Cron:
    """The values at which a line fires; `weekdays` count from Sunday = 0.

    `days_restricted` and `weekdays_restricted` tell whether the field is anything but ``*``.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    days_restricted: bool
    weekdays_restricted: bool

    def fires_on(self, month: int, day: int, weekday: int) -> bool:
        """Whether it fires on such a day; `weekday` counts from Sunday = 0."""
        if month not in self.months:
            return False
        if self.days_restricted and self.weekdays_restricted:
            return day in self.days or weekday in self.weekdays
        return day in self.days and weekday in self.weekdays


_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)


def parse(line: str) -> Cron:
    """Read a cron line.

    Raises:
        CronError: it is none, or no day can ever match.
    """
    if line.startswith("@"):
        macro = _MACROS.get(line)
        raise CronError(f"{line!r} is not a cron line", 0, f"Write `{macro}`." if macro else "Write five fields.")
    words = line.split()
    if len(words) != len(_FIELDS):
        hint = "There is no field for seconds or years." if len(words) > len(_FIELDS) else None
        names = ", ".join(name for name, *_ in _FIELDS)
        raise CronError(f"a cron line has five fields ({names}), this one {len(words)}", 0, hint)
    sets, offset = [], 0
    for word, (name, low, high, names_of) in zip(words, _FIELDS, strict=True):
        offset = line.index(word, offset)
        sets.append(_field(word, name, low, high, names_of, offset))
        offset += len(word)
    weekdays = frozenset(day % 7 for day in sets[4])
    cron = Cron(sets[0], sets[1], sets[2], sets[3], weekdays, words[2] != "*", words[4] != "*")
    if not cron.weekdays_restricted and all(min(cron.days) > _LONGEST[month - 1] for month in cron.months):
        raise CronError("no such day ever comes", line.index(words[2]), "The months named are shorter.")
    return cron


def _field(word: str, name: str, low: int, high: int, names: dict[str, int], offset: int) -> frozenset[int]:
    values: set[int] = set()
    for part in word.split(","):
        span, slash, step_text = part.partition("/")
        step = int(step_text) if step_text.isascii() and step_text.isdigit() else 0
        if slash and not 1 <= step <= high:
            raise CronError(f"{step_text!r} is no step for the {name}", offset, f"A number from 1 to {high}.")
        if span == "*":
            first, last = low, 6 if name == "day of week" else high
        else:
            begin, dash, end = span.partition("-")
            first = _value(begin, name, low, high, names, offset)
            last = _value(end, name, low, high, names, offset) if dash else (high if slash else first)
            if name == "day of week" and dash and last == 0:
                last = 7
        if first > last:
            raise CronError(
                f"the range {span!r} of the {name} runs backwards", offset, "Write it as two, with a comma."
            )
        values.update(range(first, last + 1, step or 1))
    return frozenset(values)


def _value(text: str, name: str, low: int, high: int, names: dict[str, int], offset: int) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if text.isascii() and text.isdigit() and len(text) <= 3 and low <= int(text) <= high:
        return int(text)
    words = f", or {'-'.join(list(names)[:2])}… by name" if names else ""
    raise CronError(f"{text!r} is no {name}", offset, f"A number from {low} to {high}{words}.")
