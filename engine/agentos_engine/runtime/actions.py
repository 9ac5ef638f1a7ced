"""One execution of one action: what it is given and what it answers.

Actions are prepared once per graph and hold nothing of a run. They raise `errors.RunError`; interrupts and
cancellation pass through them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agentos_engine.runtime import building, lg, limits, models, retry
from agentos_engine.runtime import frame as frames

T = TypeVar("T")


@dataclass(slots=True)
class Call:
    """An execution. `names` are what its expressions see; `path` is its place in the run.

    The action leaves in `given` what it was called with, and in `usage` what its own model calls used.
    """

    frame: frames.Frame
    names: Mapping[str, Any]
    path: str
    type: str
    meter: limits.Meter
    config: lg.RunnableConfig
    usage: models.Usage = field(default_factory=models.Usage)
    given: Any = None
    attempt: int = 1

    async def attempts(self, policy: retry.Policy, attempt: Callable[[int], Awaitable[T]]) -> T:
        """Run `attempt` under `policy`, telling every failure that is tried again."""
        recorder = self.frame.recorder

        def failed(number: int, error: Any, wait: float) -> None:
            told = error.as_json()
            recorder.step(self.path, self.type, "failed", input=self.given, error=told, attempt=number)
            recorder.emit("retry", self.path, {"attempt": number, "error": told, "waitMs": round(wait * 1000)})
            self.attempt = number + 1
            recorder.step(self.path, self.type, "running", input=self.given, attempt=self.attempt)

        return await retry.run(policy, attempt, sleep=self.frame.sleep, chance=self.frame.chance, failed=failed)

    def tell(self, state: str, *, output: Any = None, error: Any = None) -> None:
        """Record this execution in `state`, with what it used itself."""
        self.frame.recorder.step(
            self.path,
            self.type,
            state,
            input=self.given,
            output=output,
            error=error,
            tokens_in=self.usage.tokens_in,
            tokens_out=self.usage.tokens_out,
            cost_micros=self.usage.cost_micros,
            attempt=self.attempt,
        )

    async def invoke(self, graph: building.Graph, given: Any) -> Mapping[str, Any]:
        """Run a called graph to its end; its ``output`` and ``outcome``."""
        frame = self.frame.inside(self.path, self.meter, graph.max_depth)
        config = frames.configured(self.config, frame, graph.recursion_limit)
        result: Mapping[str, Any] = await graph.compiled.ainvoke({"input": given, "now": self.names["now"]}, config)
        return result


@dataclass(frozen=True, slots=True)
class Result:
    """What an action answers. `target` overrules the step's routing; `ends` ends the workflow with outcome, output."""

    output: Any = None
    outcome: str = "done"
    target: str | None = None
    ends: tuple[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What a step, or one item of a map, came to."""

    result: Result
    writes: tuple[tuple[str, Any], ...] = ()
    failures: list[Any] = field(default_factory=list)


Action = Callable[[Call], Awaitable[Result]]
Prepare = Callable[[Mapping[str, Any], building.Build], Action]
