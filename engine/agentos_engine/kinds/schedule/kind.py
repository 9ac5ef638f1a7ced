"""The kind Schedule: checks cron lines, times and timezones."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache

from agentos_engine import blockrules, cron, kind, model, suggest, userschema
from agentos_engine.kinds.schedule import compile as compiler
from agentos_engine.kinds.schedule.spec import ScheduleSpec

_AT: model.Location = ("spec",)
_WHEN = {"cron": "cron", "every": "every", "at": "at"}


def _rules(spec: ScheduleSpec) -> Iterator[userschema.Found]:
    yield from blockrules.exactly_one(spec, _WHEN, _AT, "a schedule")
    yield from blockrules.target_rules(spec.run, (*_AT, "run"))
    if spec.cron is not None:
        try:
            cron.parse(spec.cron)
        except cron.CronError as error:
            yield "InvalidSchedule", (*_AT, "cron"), error.message, error.hint
    if (wrong := _timezone(spec.timezone)) is not None:
        yield "InvalidSchedule", (*_AT, "timezone"), *wrong
    for key, text in (("at", spec.at), ("until", spec.until)):
        if text is not None and not _is_time(text):
            yield "InvalidSchedule", (*_AT, key), f"{text!r} is no time", "Write 2026-03-01T09:00:00Z."


@cache
def _timezone(name: str) -> tuple[str, str | None] | None:
    """What is wrong with the name of a timezone; the system's database answers, so nothing here goes stale."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        return f"{name!r} is no timezone", suggest.did_you_mean(name, known, "An IANA name, such as Europe/Berlin.")
    return None


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


class ScheduleKind:
    """See `agentos_engine.kind.Kind`."""

    name = "Schedule"
    scope: kind.Scope = "tenant"
    spec = ScheduleSpec

    def references(self, spec: ScheduleSpec) -> Iterable[model.Reference]:
        return blockrules.target_references(spec.run, (*_AT, "run"))

    def files(self, spec: ScheduleSpec) -> Iterable[tuple[str, model.Location]]:
        return ()

    def validate(self, manifest: model.Manifest, spec: ScheduleSpec) -> Iterable[model.Diagnostic]:
        return blockrules.diagnostics(manifest, _rules(spec))

    def compile(self, manifest: model.Manifest, spec: ScheduleSpec, context: kind.Context) -> kind.Compiled:
        return compiler.compile(manifest, spec, context)


KIND: kind.Kind[ScheduleSpec] = ScheduleKind()
