"""`map`: a step's action for every item of a list, each item a task of its own.

Items see the state as it was at the start; what they `set` is merged in item order when the step is done. Finished
items are kept with the checkpoint, so an interrupted or restarted run does not repeat them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import actions, errors, lg, limits, tasks

MAX_ITEMS = 10_000
CONCURRENCY = 10


class Mapped:
    """The `map` of one step: ``{over, as, at, concurrency, errors, max}``."""

    def __init__(
        self,
        body: Mapping[str, Any],
        item_type: str,
        execute: Callable[[actions.Call], Awaitable[actions.Done]],
    ) -> None:
        over = body["over"]
        self._over = evaluate.prepare_value(over) if isinstance(over, str) else lambda _: over
        self._as: str = body.get("as") or "item"
        self._at: str = body.get("at") or "index"
        self._concurrency: int = body.get("concurrency") or CONCURRENCY
        self._errors: str = body.get("errors") or "fail"
        self._max: int = body.get("max") or MAX_ITEMS
        self._type = item_type
        self._execute = execute

    async def execute(self, call: actions.Call) -> actions.Done:
        """Run every item; the output is a list in the order of `over`. Raises `errors.RunError`."""
        try:
            items = self._over(call.names)
        except evaluate.ExpressionError as error:
            raise errors.RunError("Error", str(error)) from None
        if not isinstance(items, list):
            raise errors.RunError("InvalidInput", f"map.over is no list but {type(items).__name__}")
        if len(items) > self._max:
            raise errors.RunError("InvalidInput", f"map.over has {len(items)} items, at most {self._max} are allowed")
        call.given = {"items": len(items)}
        pieces = [partial(self._item, call, index, item) for index, item in enumerate(items)]
        answers = await tasks.gather(pieces, concurrency=self._concurrency, stop=self._stops)
        return self._merged(call, answers)

    def _stops(self, answer: Any) -> bool:
        return "error" in answer and (self._errors == "fail" or "limit" in answer)

    async def _item(self, outer: actions.Call, index: int, item: Any, config: lg.RunnableConfig) -> dict[str, Any]:
        """One item as JSON: ``{output, set}`` or ``{error}``, and what it spent."""
        path = f"{outer.path}[{index}]"
        meter = limits.Meter(limits.UNLIMITED, limits.ZERO, outer.meter, path)
        names = {**outer.names, self._as: item, self._at: index}
        call = actions.Call(outer.frame, names, path, self._type, meter, config)
        answer: dict[str, Any] = {}
        try:
            meter.charge(limits.STEPS, 1)
            call.tell("running")
            done = await self._execute(call)
        except lg.GraphBubbleUp:
            call.tell("waiting")
            raise
        except errors.RunError as error:
            error.step = error.step or path
            answer["error"] = error.as_json()
            levels = tuple(outer.meter)
            if error.limit in levels:
                answer["limit"] = levels.index(error.limit)
            call.tell("failed", error=answer["error"])
        else:
            answer |= {"output": done.result.output, "set": [list(write) for write in done.writes]}
            call.tell("succeeded", output=done.result.output)
        answer["spent"] = meter.spent
        return answer

    def _merged(self, call: actions.Call, answers: list[Any]) -> actions.Done:
        output: list[Any] = []
        writes: list[tuple[str, Any]] = []
        failures: list[Any] = []
        for index, answer in enumerate(answers):
            if answer is None:
                continue
            call.meter.adopt(f"{call.path}[{index}]", answer["spent"])
            if "error" not in answer:
                output.append(answer["output"])
                writes += [(name, value) for name, value in answer["set"]]
                continue
            if self._stops(answer):
                error = errors.RunError.of_json(answer["error"])
                error.limit = tuple(call.meter)[answer["limit"]] if "limit" in answer else None
                raise error
            failures.append({"index": index, "error": answer["error"]})
            if self._errors == "collect":
                output.append(None)
        return actions.Done(actions.Result(output), tuple(writes), failures)
