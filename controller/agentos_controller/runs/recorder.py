"""What a run tells while it runs, turned into step and event rows that appear only once they cannot be taken back.

The runtime calls `step` and `emit` in memory. Rows of a finished step are held until the saver reports the checkpoint
of its task (`task_saved`) or of its superstep (`superstep_saved`) durable: an event then never shows a step as done
that would run again after a crash. That a step began, and text that streams, are shown at once: both are true anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from agentos_controller import clock
from agentos_controller.runs import events, segments

MAX_VALUE = 64 * 1024
"""Bytes of JSON that stand in a step's or an event's row; the whole value is in the checkpoint."""
TOKEN = "token"  # noqa: S105 - a piece of a model's text
TOKEN_WINDOW_US = 250_000
TOKEN_BYTES = 4_096

Task = Callable[[], tuple[str, str]]
"""Names the running task: its namespace and id, empty outside of one."""


class Recorder:
    """The recorder of one segment."""

    def __init__(
        self,
        begun: segments.Begun,
        writer: events.Writer,
        source: clock.Clock,
        task: Task,
    ) -> None:
        self.redact: Callable[[Any], Any] = lambda value: value
        """Takes secrets out of a JSON value."""
        self._begun = begun
        self._writer = writer
        self._clock = source
        self._task = task
        self._seq = begun.next_seq
        self._number = begun.next_number
        self._numbers: dict[tuple[str, int], tuple[int, int]] = {}
        self._held: list[tuple[str, str, dict[str, Any] | None, dict[str, Any]]] = []
        self._tokens: dict[str, tuple[int, list[str]]] = {}
        self._tokens_in = 0
        self._tokens_out = 0
        self._cost = 0
        self._steps = 0

    @property
    def usage(self) -> segments.Usage:
        """What this segment used so far."""
        return segments.Usage(self._tokens_in, self._tokens_out, self._cost, self._steps)

    def step(
        self,
        path: str,
        type: str,  # noqa: A002 - the runtime's word
        state: str,
        *,
        input: Any = None,  # noqa: A002 - the runtime's word
        output: Any = None,
        error: Mapping[str, Any] | None = None,
        tokens_in: int = 0,
        tokens_out: int = 0,
        cost_micros: int = 0,
        attempt: int = 1,
    ) -> None:
        """A step began (`running`) or came to `state`."""
        now = self._clock.now_us()
        begins = state == "running"
        if begins or (path, attempt) not in self._numbers:
            self._numbers[path, attempt] = (self._number, now)
            self._number += 1
        number, started = self._numbers[path, attempt]
        self._tokens_in += tokens_in
        self._tokens_out += tokens_out
        self._cost += cost_micros
        self._steps += state in ("succeeded", "failed")
        row = {
            "run_id": self._begun.run_id,
            "path": path,
            "attempt": attempt,
            "tenant_id": self._begun.tenant_id,
            "number": number,
            "type": type,
            "state": state,
            "fence": self._begun.fence,
            "input": self._shown(input),
            "output": self._shown(output),
            "error": self._shown(error),
            "tokens_in": tokens_in,
            "tokens_out": tokens_out,
            "cost": cost_micros,
            "started_at": started,
            "ended_at": None if begins or state == "waiting" else now,
        }
        data: dict[str, Any] = {"type": type, "attempt": attempt}
        if row["error"] is not None:
            data["error"] = row["error"]
        if row["output"] is not None:
            data["output"] = row["output"]
        if tokens_in or tokens_out:
            data["usage"] = {"tokensIn": tokens_in, "tokensOut": tokens_out, "costMicros": cost_micros}
        event = self._event("step.started" if begins else f"step.{state}", path, data, now)
        if begins:
            self._release(row, event)
        else:
            self._held.append((*self._task(), row, event))

    def emit(self, type: str, path: str | None, data: Any) -> None:  # noqa: A002 - the runtime's word
        """Something else happened in the step at `path`. The `text` of ``token`` is collected into larger pieces."""
        now = self._clock.now_us()
        if type == TOKEN and isinstance(data, Mapping) and isinstance(data.get("text"), str):
            since, pieces = self._tokens.setdefault(path or "", (now, []))
            pieces.append(data["text"])
            if now - since >= TOKEN_WINDOW_US or sum(map(len, pieces)) >= TOKEN_BYTES:
                self._release_tokens(path or "")
            return
        self._release(None, self._event(type, path, self._shown(data), now))

    def task_saved(self, task_id: str) -> None:
        """The writes of a task are durable: what it told may be shown."""
        self._let_go(lambda _namespace, task: task == task_id)

    def superstep_saved(self, namespace: str) -> None:
        """A checkpoint of the graph at `namespace` is durable: what it and those below it told may be shown."""
        self._let_go(lambda inner, _task: not namespace or inner.startswith(namespace))

    async def close(self, type_: str, data: Any) -> tuple[segments.Rows, segments.Rows]:
        """The rows not written yet and a last event, for the transaction that ends the segment."""
        self._let_go(lambda _namespace, _task: True)
        for path in list(self._tokens):
            self._release_tokens(path)
        batch = await self._writer.drain(self._begun.run_id) or events.Batch(self._begun.fence)
        now = self._clock.now_us()
        last = self._numbered(self._event(type_, None, self._shown(data), now))
        return list(batch.steps.values()), [*batch.events, last]

    def _let_go(self, chosen: Callable[[str, str], bool]) -> None:
        if not self._held:
            return
        kept = []
        for namespace, task, row, event in self._held:
            if chosen(namespace, task):
                self._release(row, event)
            else:
                kept.append((namespace, task, row, event))
        self._held = kept

    def _release(self, row: dict[str, Any] | None, event: dict[str, Any]) -> None:
        path = event["step_path"] or ""
        if path in self._tokens and event["type"].startswith("step."):
            self._release_tokens(path)
        batch = self._writer.batch(self._begun.run_id, self._begun.fence)
        if row is not None:
            batch.add_step(row)
        batch.events.append(self._numbered(event))

    def _release_tokens(self, path: str) -> None:
        _, pieces = self._tokens.pop(path)
        batch = self._writer.batch(self._begun.run_id, self._begun.fence)
        data = self._shown({"text": "".join(pieces)})
        batch.events.append(self._numbered(self._event(TOKEN, path or None, data, self._clock.now_us())))

    def _event(self, type_: str, path: str | None, data: Any, now: int) -> dict[str, Any]:
        return {
            "run_id": self._begun.run_id,
            "seq": 0,
            "tenant_id": self._begun.tenant_id,
            "type": type_,
            "step_path": path,
            "data": data,
            "at": now,
        }

    def _numbered(self, event: dict[str, Any]) -> dict[str, Any]:
        """With the next sequence number: given when the row is let go, so that numbers appear in order."""
        event["seq"] = self._seq
        self._seq += 1
        return event

    def _shown(self, value: Any) -> Any:
        """`value` without secrets, and cut down where it is too large for a row."""
        if value is None:
            return None
        text = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str)
        if len(text) > MAX_VALUE:
            return {"truncated": True, "bytes": len(text), "head": self.redact(text[:1024].decode(errors="replace"))}
        return self.redact(value)
