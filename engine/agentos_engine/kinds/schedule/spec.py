"""Spec of a Schedule: when to run what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agentos_engine import fields, kind


class ScheduleSpec(kind.Spec, fields.Node):
    """Runs a workflow or an agent at times; exactly one of `cron`, `every` and `at`."""

    cron: Annotated[str, Field(max_length=256, examples=["0 7 * * MON-FRI"])] | None = None
    """Five fields; day-of-month and day-of-week together mean either."""
    every: fields.Duration | None = None
    """A fixed interval."""
    at: fields.Time | None = None
    """Once."""
    timezone: Annotated[str, Field(max_length=64, examples=["Europe/Berlin"])] = "UTC"
    """IANA name; for `cron`."""
    run: fields.RunTarget
    """What to run: `{workflow: name}` or `{agent: name}`."""
    overlap: Literal["skip", "queue", "allow"] = "skip"
    """What a tick does while the run before it still works."""
    catch_up: fields.Duration | None = None
    """How late a missed tick may still run; default: not at all."""
    jitter: fields.Duration | None = None
    """Spread each tick over this time, always alike for one schedule."""
    suspend: bool = False
    """No ticks while true."""
    until: fields.Time | None = None
    """No ticks from then on."""
