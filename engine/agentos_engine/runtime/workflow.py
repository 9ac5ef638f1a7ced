"""From a workflow's body to a LangGraph graph: one node per step, each naming the next.

Channels are ``input``, ``state.<field>``, ``steps.<id>``, ``now``, ``spent``, and at the end ``output`` and
``outcome``. Consecutive steps that only compute share a node; one that fails there runs again by itself, so that the
step before it is recorded first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import building, channels, errors, lg, limits, steps, turn
from agentos_engine.runtime import frame as frames
from agentos_engine.runtime.lg import RunnableConfig

_SPARE_SUPERSTEPS = 5
_FUSED = 50
"""Steps that may share a node: enough for any chain, and an end for a cycle of them."""


class Workflow:
    """A prepared workflow. It holds nothing of a run, so every run of this digest shares it."""

    def __init__(self, body: Mapping[str, Any], loader: building.Loader) -> None:
        build = building.Build.of(body, loader)
        self._steps = {step["id"]: steps.Step(step, build) for step in body["steps"]}
        self._channels = {step: f"steps.{step}" for step in self._steps}
        self._output = evaluate.prepare_value(body.get("output"))
        self._caps = building.caps_of(body, limits.DEFAULT_STEPS)
        fields = {
            name: channels.state_field(name, field, build.defs) for name, field in (body.get("state") or {}).items()
        }
        self._reducers = {name: reduce for name, (_, reduce) in fields.items()}
        self.graph = building.Graph(
            name=f"Workflow/{body['name']}",
            compiled=self._compiled(body, build, fields),
            recursion_limit=int(self._caps[limits.STEPS]) + _SPARE_SUPERSTEPS,
            max_depth=build.limits.get("depth"),
        )

    def _compiled(
        self, body: Mapping[str, Any], build: building.Build, fields: Mapping[str, Any]
    ) -> lg.CompiledStateGraph[Any, Any, Any, Any]:
        layout: dict[str, Any] = {
            "input": Annotated[Any, channels.input_of(build.schema(body.get("input")))],
            "now": Any,
            "spent": Annotated[Any, channels.sums(limits.ZERO)],
        }
        layout |= dict.fromkeys(self._channels.values(), Any)
        layout |= {f"state.{name}": Annotated[Any, channel] for name, (channel, _) in fields.items()}
        graph = channels.graph(layout)
        for step in self._steps.values():
            graph.add_node(step.id, self._node(step))
        graph.add_edge(lg.START, body["entry"])
        return graph.compile(name=body["name"])

    def _node(self, step: steps.Step) -> Any:
        async def node(values: dict[str, Any], config: RunnableConfig) -> lg.Command[Any]:
            frame = frames.Frame.of(config)
            meter = limits.Meter(self._caps, values["spent"], frame.meter, frame.prefix, frame.outer)
            this = turn.Turn(values, self._channels, self._reducers, frame, meter, config)
            loop = asyncio.get_running_loop()
            started = loop.time()
            scope = asyncio.timeout(meter.remaining_seconds)
            try:
                async with scope:
                    target = await self._run(step, this)
            except TimeoutError:
                if scope.expired():
                    raise meter.out_of_time() from None
                raise
            meter.worked(loop.time() - started)
            last = target == steps.END
            return lg.Command(update=this.all_writes(last=last), goto=lg.END if last else target)

        return node

    async def _run(self, step: steps.Step, this: turn.Turn) -> str:
        """Execute `step` and the computing steps behind it; the target that is left."""
        target = await step.run(this, alone=True)
        this.tick()
        for _ in range(_FUSED):
            if target == steps.END or not (following := self._steps[target]).pure:
                break
            mark = this.mark()
            try:
                target = await following.run(this, alone=False)
            except errors.RunError:
                this.back_to(mark)
                return target
            this.tick()
        if target == steps.END and not any(channel == "outcome" for channel, _ in this.writes):
            try:
                this.writes += [("outcome", "done"), ("output", self._output(this.names))]
            except evaluate.ExpressionError as error:
                raise errors.RunError("Error", f"output: {error}", this.frame.prefix.rstrip("/") or None) from None
        return target
