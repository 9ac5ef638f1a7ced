"""Executes one segment: builds the pinned graph, lets LangGraph run it, and writes how it ended.

What was interrupted or redelivered goes on from its checkpoint. A segment never raises because of what a run did: a
failed run is a finished segment. Only `executor` imports this, and late: it brings LangGraph.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from agentos_controller import clock, database
from agentos_controller.runs import approvals, events, queue, recorder, savers, segments, services
from agentos_engine.runtime import errors, graphs, lg

_log = logging.getLogger(__name__)


class Worker:
    """Works segments off, any number at once, on the serving loop."""

    def __init__(
        self,
        db: database.Database,
        source: clock.Clock,
        world: services.World,
        saver: Any,
        holds: savers.Holds,
        writer: events.Writer,
        starter: queue.Starter,
    ) -> None:
        self._db = db
        self._clock = source
        self._world = world
        self._saver = saver
        self._holds = holds
        self._writer = writer
        self._starter = starter
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._taken: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._ending: set[str] = set()

    @property
    def working_on(self) -> frozenset[str]:
        """The runs this process works on."""
        return frozenset(self._tasks)

    def cancel(self, run_id: str) -> bool:
        """Stop a run here, at its next await; one that is ending anyway ends. False: it is not worked on here."""
        task = self._tasks.get(run_id)
        if task is None:
            return False
        if run_id not in self._cancelled | self._ending:
            self._cancelled.add(run_id)
            task.cancel()
        return True

    async def stop(self, grace: float) -> None:
        """Give segments `grace` seconds, then break them off: the next process goes on with them."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=grace)
        left = set(self._tasks.values())
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    async def segment(self, run_id: str, segment: int) -> None:
        """Execute a segment, if its run is there to be taken."""
        if segment == 0 and (taken := self._taken.pop(run_id, None)) is not None:
            await taken
            return
        begun = await segments.begin(self._db, run_id, segment, self._clock.now_us())
        if begun is not None:
            await self._hold(begun)

    def take(self, begun: segments.Begun) -> asyncio.Task[None]:
        """Execute a segment that has begun already; `segment` of the same then only waits for its end."""
        task = asyncio.get_running_loop().create_task(self._hold(begun), name=f"segment {begun.run_id}")
        self._taken[begun.run_id] = task
        return task

    async def _hold(self, begun: segments.Begun) -> None:
        run_id, segment = begun.run_id, begun.segment
        told = recorder.Recorder(begun, self._writer, self._clock, savers.running_task)
        starts = "run.started" if segment == 0 else "run.resumed"
        told.emit(starts, None, {"segment": segment, "delivery": begun.delivery})
        task = asyncio.create_task(self._work(begun, told), name=f"run {run_id}")
        self._tasks[run_id] = task
        try:
            await task
        except asyncio.CancelledError:
            if run_id not in self._cancelled:
                raise  # the process stops: the run is redelivered to the next
            await self._finish(begun, told, segments.End("cancelled", reason="Cancelled"))
        except savers.Fenced:
            _log.warning("run given up: another executor has it", extra={"run": run_id})
        finally:
            self._tasks.pop(run_id, None)
            self._cancelled.discard(run_id)
            self._ending.discard(run_id)

    async def _work(self, begun: segments.Begun, told: recorder.Recorder) -> None:
        here = self._world.of(begun)
        told.redact = here.redact
        try:
            result = await self._invoke(begun, told, here)
        except errors.RunError as error:
            await self._finish(begun, told, _failed(here.redact(error.as_json())))
        except lg.GraphRecursionError:
            await self._finish(begun, told, _failed(_error("LimitExceeded", "limits.steps is used up")))
        except savers.Fenced:
            raise
        except Exception as error:
            _log.exception("a run failed unexpectedly", extra={"run": begun.run_id})
            message = f"unexpected {type(error).__name__}: {error}"
            await self._finish(begun, told, _failed(here.redact(_error("Error", message))))
        else:
            if asked := result.get("__interrupt__"):
                await self._wait(begun, told, here, asked)
            else:
                outcome, output = result.get("outcome") or "done", here.redact(result.get("output"))
                await self._finish(begun, told, segments.End("succeeded", output, outcome))

    async def _invoke(self, begun: segments.Begun, told: recorder.Recorder, here: services.Here) -> Mapping[str, Any]:
        graph = await graphs.build(begun.digest, here, self._saver)
        thread = queue.checkpoint_thread(begun.tenant_id, begun.thread_id, begun.run_id)
        config: lg.RunnableConfig = {
            "configurable": {
                "thread_id": thread,
                "thread": {"id": begun.thread_id, "turns": 0},
                "services": here,
                "run": {
                    "id": begun.run_id,
                    "startedAt": clock.rfc3339(begun.started_at),
                    "revision": begun.revision,
                    "trigger": begun.cause.get("type"),
                    "user": begun.actor,
                },
                "tenant": {"name": begun.tenant_name, "labels": begun.tenant_spec.get("labels") or {}},
                "vars": begun.tenant_spec.get("vars") or {},
                "limits": begun.tenant_spec.get("limits") or {},
                "recorder": told,
                "tokens": True,
            }
        }
        fresh = begun.segment == 0 and begun.delivery == 1
        with self._holds.hold(thread, savers.Hold(begun.run_id, begun.fence, told, fresh)):
            given: Any = {"input": begun.input}
            if not fresh:
                state = await graph.aget_state(config)
                if state.created_at is not None:
                    if not state.next:
                        return dict(state.values)
                    given = lg.Command(resume=await approvals.answers(self._db, begun.run_id))
                    if not state.interrupts:
                        given = None
            result: Mapping[str, Any] = await graph.ainvoke(given, config, durability="sync")
            return result

    async def _wait(
        self, begun: segments.Begun, told: recorder.Recorder, here: services.Here, asked: Sequence[Any]
    ) -> None:
        self._ending.add(begun.run_id)
        now = self._clock.now_us()
        questions = [_question(interrupt, here, now) for interrupt in asked]
        steps, rows = await told.close(
            "run.waiting",
            {"approvals": [{"step": q.step_path, "requestedOf": list(q.requested_of)} for q in questions]},
        )
        waits = await segments.wait(self._db, begun, questions, told.usage, steps, rows, now, self._starter)
        if not waits:
            await self._finish(begun, told, segments.End("cancelled", reason="Cancelled"))
            return
        self._db.notify("approvals")
        if any(question.expires_at is not None for question in questions):
            self._db.notify(queue.QUEUE)

    async def _finish(self, begun: segments.Begun, told: recorder.Recorder, end: segments.End) -> None:
        self._ending.add(begun.run_id)
        usage = told.usage
        used = {"tokensIn": usage.tokens_in, "tokensOut": usage.tokens_out, "costMicros": usage.cost}
        data: dict[str, Any] = {"usage": used}
        if end.state == "succeeded":
            data |= {"outcome": end.outcome, "output": end.output}
        if end.error is not None:
            data["error"] = dict(end.error)
        steps, rows = await told.close(f"run.{end.state}", data)
        state = await segments.finish(self._db, begun, end, usage, steps, rows, self._clock.now_us())
        if state is None:
            _log.warning("the end of a run was not written: another executor has it", extra={"run": begun.run_id})


def _question(interrupt: Any, here: services.Here, now: int) -> segments.Question:
    asked = interrupt.value
    by = asked["by"]
    expires = asked.get("expiresMs")
    return segments.Question(
        interrupt_id=interrupt.id,
        step_path=asked["step"],
        requested_of=[by] if isinstance(by, str) else list(by),
        show=here.redact(asked.get("show")),
        edit=asked.get("edit"),
        quorum=int(asked.get("quorum") or 1),
        expires_at=None if expires is None else now + int(expires) * 1_000,
    )


def _failed(error: Mapping[str, Any]) -> segments.End:
    return segments.End("failed", reason=str(error["class"]), error=error)


def _error(class_: str, message: str) -> dict[str, Any]:
    return {"class": class_, "message": message, "step": None, "details": None, "retryable": False}
