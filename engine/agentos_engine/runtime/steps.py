"""A step: its action with everything around it.

The order is `when`, the action (with its retries, inside the step's limits), `set`, `next`. Output and `set` are one
write. An error is routed by `onError`, except one that says the graph's own limits, or those around it, are used up.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping
from typing import Any

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import actions, building, errors, lg, limits, mapping, nodes
from agentos_engine.runtime import turn as turns

END = "end"


class Step:
    """One step of a workflow, prepared once. `pure`: it may run in the node of the step before it."""

    def __init__(self, body: Mapping[str, Any], build: building.Build) -> None:
        self.id: str = body["id"]
        self.type: str = body["type"]
        self.pure = self.type in nodes.PURE
        self.normal = "approved" if self.type == "approve" else "done"
        self.next: Mapping[str, str] = body.get("next") or {}
        self._when: str | None = body.get("when")
        self._action = nodes.PREPARE[self.type](body, build)
        self._map = mapping.Mapped(body["map"], self.type, self.execute) if body.get("map") else None
        self._sets = [(name, evaluate.prepare_value(value)) for name, value in (body.get("set") or {}).items()]
        self._on_error: Mapping[str, str] = body.get("onError") or {}
        own = dict(body.get("limits") or {})
        self._timeout: float | None = own.pop("timeoutMs", None)
        self._caps = limits.caps(own)
        self._capped = any(cap != math.inf for cap in self._caps)

    async def run(self, turn: turns.Turn, *, alone: bool) -> str:
        """Execute the step and answer the target: a step id or ``end``, then with ``output`` and ``outcome`` written.

        Not `alone`, a failure is not told: the step runs again in a node of its own.
        """
        visits = turn.names["steps"][self.id]["visits"] + 1
        path = f"{turn.frame.prefix}{self.id}" + (f"#{visits}" if visits > 1 else "")
        meter = limits.Meter(self._caps, limits.ZERO, turn.meter, path) if self._capped else turn.meter
        recorder = turn.frame.recorder
        kind = self.type if self._map is None else "map"
        call = actions.Call(turn.frame, turn.names, path, kind, meter, turn.config)
        try:
            turn.meter.charge(limits.STEPS, 1)
            if self._when is not None and not _holds(self._when, turn.names):
                recorder.step(path, kind, "skipped")
                turn.put(self.id, {**turns.PENDING, "status": "skipped", "visits": visits})
                return self.next.get(self.normal, END)
            if not self.pure:
                recorder.step(path, kind, "running")
            done = await (self.execute(call) if self._map is None else self._map.execute(call))
            turn.set(done.writes)
        except lg.GraphBubbleUp:
            recorder.step(path, kind, "waiting", input=call.given)
            raise
        except errors.RunError as error:
            return self._failed(error, turn, call, visits, alone)
        call.tell("succeeded", output=done.result.output)
        result = done.result
        turn.put(
            self.id,
            {
                "output": result.output,
                "status": "done",
                "outcome": result.outcome,
                "error": None,
                "errors": done.failures,
                "visits": visits,
            },
        )
        if result.ends is not None:
            turn.writes += [("outcome", result.ends[0]), ("output", result.ends[1])]
            return END
        if result.target is not None:
            return result.target
        return self.next.get(result.outcome) or self.next.get(self.normal, END)

    async def execute(self, call: actions.Call) -> actions.Done:
        """Run the action once, for the step or for an item, and evaluate `set`; raises `errors.RunError`."""
        scope = asyncio.timeout(None if self._timeout is None else self._timeout / 1000)
        try:
            async with scope if self._timeout is not None else contextlib.nullcontext():
                result = await self._action(call)
            if not self._sets:
                return actions.Done(result)
            names = {**call.names, "output": result.output}
            return actions.Done(result, tuple((name, value(names)) for name, value in self._sets))
        except evaluate.ExpressionError as error:
            raise errors.RunError("Error", str(error), call.path) from None
        except TimeoutError:
            if not scope.expired():
                raise
            raise errors.RunError("Timeout", f"not done within {self._timeout:g} ms", call.path) from None

    def _failed(self, error: errors.RunError, turn: turns.Turn, call: actions.Call, visits: int, alone: bool) -> str:
        error.step = error.step or call.path
        told = error.as_json()
        if alone:
            call.tell("failed", error=told)
        target = errors.route(self._on_error, error.class_)
        if target == "fail" or not alone or error.limit in tuple(turn.meter):
            raise error
        turn.put(self.id, {**turns.PENDING, "status": "failed", "error": told, "visits": visits})
        return self.next.get(self.normal, END) if target == "continue" else target


def _holds(when: str, names: Mapping[str, Any]) -> bool:
    try:
        return evaluate.truth(when, names)
    except evaluate.ExpressionError as error:
        raise errors.RunError("Error", str(error)) from None
