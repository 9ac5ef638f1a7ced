"""One execution of a node of a workflow: the state as its steps see it, and the writes that become its checkpoint.

Steps that only compute run in the node of the step before them, so a turn may hold several: each sees what those
before it wrote, and can be taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentos_engine.expressions import library
from agentos_engine.runtime import channels, lg, limits
from agentos_engine.runtime import frame as frames

PENDING: Mapping[str, Any] = {
    "output": None, "status": "pending", "outcome": None, "error": None, "errors": [], "visits": 0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of a turn to return to."""

    writes: int
    steps: Any
    state: Any
    now: Any


class Turn:
    """`names` are what expressions see; `writes` are (channel, value) in order, of the state and at the end."""

    __slots__ = ("_channels", "_reducers", "_touched", "config", "frame", "meter", "names", "writes")

    def __init__(
        self,
        values: Mapping[str, Any],
        steps: Mapping[str, str],
        reducers: Mapping[str, channels.Reduce],
        frame: frames.Frame,
        meter: limits.Meter,
        config: lg.RunnableConfig,
    ) -> None:
        """`steps` maps step ids to their channels, `reducers` the fields of the state to theirs."""
        self._channels = steps
        self._reducers = reducers
        self._touched: set[str] = set()
        self.frame = frame
        self.meter = meter
        self.config = config
        self.writes: list[tuple[str, Any]] = []
        self.names: dict[str, Any] = {
            **frame.names,
            "input": values["input"],
            "state": {name: values.get(f"state.{name}") for name in reducers},
            "steps": {step: values.get(channel) or PENDING for step, channel in steps.items()},
            "now": values.get("now") or frame.names["run"]["startedAt"],
        }

    def put(self, step: str, record: Mapping[str, Any]) -> None:
        """Record what became of a step."""
        self.names["steps"] = {**self.names["steps"], step: record}
        self._touched.add(step)

    def set(self, writes: Iterable[tuple[str, Any]]) -> None:
        """Apply writes to fields of the state, through their reducers."""
        state = dict(self.names["state"])
        for name, value in writes:
            state[name] = self._reducers[name](state[name], value)
            self.writes.append((f"state.{name}", value))
        self.names["state"] = state

    def all_writes(self, *, last: bool) -> list[tuple[str, Any]]:
        """Everything to checkpoint: one record for a step, however often it ran in this turn.

        The `last` turn leaves out what only a next one would read: every write is a row.
        """
        records = self.names["steps"]
        touched = [(self._channels[step], records[step]) for step in records if step in self._touched]
        next_reads = [] if last else [("spent", self.meter.delta), ("now", self.names["now"])]
        return [*touched, *self.writes, *next_reads]

    def mark(self) -> Mark:
        return Mark(len(self.writes), self.names["steps"], self.names["state"], self.names["now"])

    def back_to(self, mark: Mark) -> None:
        del self.writes[mark.writes :]
        self.names |= {"steps": mark.steps, "state": mark.state, "now": mark.now}

    def tick(self) -> None:
        """Time goes on: the step after this one starts now. Checkpointed, so a step that runs again sees the same."""
        self.names["now"] = library.time_text(self.frame.services.now())
