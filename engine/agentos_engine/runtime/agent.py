"""From an agent's body to a LangGraph graph: the model, its tools, and back, until it answers.

Channels are ``input``, ``messages`` (without the system message), ``repairs``, ``now``, ``spent``, and at the end
``output`` and ``outcome``. The tools a model asks for at once run side by side, each a task of its own. What goes wrong
in a tool is told to the model; only limits end the agent.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import orjson
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import (
    actions,
    building,
    channels,
    conversation,
    errors,
    lg,
    limits,
    models,
    structured,
    tasks,
    toolbox,
)
from agentos_engine.runtime import frame as frames
from agentos_engine.runtime.lg import RunnableConfig

DEFAULT_STEPS = 50
PARALLEL_TOOLS = 16
_REPAIRS = 1
_MESSAGE = {"type": "object", "properties": {"message": {"type": "string"}}}
"""Input of an agent that declares none."""


class Agent:
    """A prepared agent. It holds nothing of a run, so every run of this digest shares it."""

    def __init__(self, body: Mapping[str, Any], loader: building.Loader) -> None:
        build = building.Build.of(body, loader)
        self._name: str = body["name"]
        self._model = build.model(body["model"])
        self._instructions = evaluate.prepare_value(body.get("instructions"))
        self._output = build.schema(body["output"]) if body.get("output") is not None else None
        self._tools = {tool["name"]: toolbox.Tool(tool, build) for tool in body.get("tools") or ()}
        self._offered = tuple(tool.offered for tool in self._tools.values())
        self._caps = building.caps_of(body, DEFAULT_STEPS)
        self.graph = building.Graph(
            name=f"Agent/{body['name']}",
            compiled=self._compiled(build, body.get("input")),
            recursion_limit=2 * int(self._caps[limits.STEPS]) + 5,
            max_depth=build.limits.get("depth"),
        )

    def _compiled(self, build: building.Build, given: Any) -> lg.CompiledStateGraph[Any, Any, Any, Any]:
        layout = {
            "input": Annotated[
                Any,
                channels.input_of(build.schema(_MESSAGE), "message")
                if given is None
                else channels.input_of(build.schema(given)),
            ],
            "messages": Annotated[Any, channels.messages()],
            "repairs": Any,
            "now": Any,
            "spent": Annotated[Any, channels.sums(limits.ZERO)],
        }
        graph = channels.graph(layout)
        graph.add_node("model", self._node(self._ask))
        if self._tools:
            graph.add_node("tools", self._node(self._use))
        graph.add_edge(lg.START, "model")
        return graph.compile(name=self._name)

    def _node(self, work: Any) -> Any:
        async def node(values: dict[str, Any], config: RunnableConfig) -> lg.Command[Any]:
            frame = frames.Frame.of(config)
            meter = limits.Meter(self._caps, values["spent"], frame.meter, frame.prefix, frame.outer)
            names = {**frame.names, "input": values["input"]}
            names["now"] = values.get("now") or frame.names["run"]["startedAt"]
            call = actions.Call(frame, names, frame.prefix, "agent", meter, config)
            loop = asyncio.get_running_loop()
            started = loop.time()
            scope = asyncio.timeout(meter.remaining_seconds)
            try:
                async with scope:
                    update, goto = await work(values, call)
            except TimeoutError:
                if scope.expired():
                    raise meter.out_of_time() from None
                raise
            meter.worked(loop.time() - started)
            spent = {} if goto == lg.END else {"spent": meter.delta}
            return lg.Command(update=update | spent, goto=goto)

        return node

    async def _ask(self, values: Mapping[str, Any], agent: actions.Call) -> tuple[dict[str, Any], str]:
        """One turn of the model."""
        history: list[AnyMessage] = list(values["messages"])
        new: list[AnyMessage] = [] if history else [HumanMessage(_asked(values["input"]))]
        turn = 1 + sum(isinstance(message, AIMessage) for message in history)
        path = f"{agent.path}model" + (f"#{turn}" if turn > 1 else "")
        call = actions.Call(agent.frame, agent.names, path, "llm", agent.meter, agent.config)
        call.given = _shown([*history, *new])
        call.tell("running")
        try:
            agent.meter.charge(limits.STEPS, 1)
            system = self._instructions(agent.names)
            messages = [*structured.with_instruction(system, self._output), *history, *new]
            ask = models.Ask(messages, call.frame, call.meter, path, call.usage, tools=self._offered)
            message = await self._model.complete(ask)
        except evaluate.ExpressionError as failure:
            raise self._failed(errors.RunError("Error", f"instructions: {failure}"), call) from None
        except errors.RunError as error:
            raise self._failed(error, call) from None
        call.tell("succeeded", output=_answered(message))
        new.append(message)
        if message.invalid_tool_calls or (message.tool_calls and self._tools):
            agent.meter.charge(limits.TOOL_CALLS, len(message.tool_calls) + len(message.invalid_tool_calls))
            new += [_unreadable(call) for call in message.invalid_tool_calls]
            return {"messages": new}, "tools" if message.tool_calls else "model"
        text = conversation.text_of(message)
        if self._output is None:
            return {"messages": new, "output": text, "outcome": "done"}, lg.END
        try:
            output = structured.parse(text, self._output)
        except errors.RunError as error:
            repairs = values.get("repairs") or 0
            if repairs >= _REPAIRS:
                error.step = path
                raise
            return {"messages": [*new, structured.repair(error)], "repairs": repairs + 1}, "model"
        return {"messages": new, "output": output, "outcome": "done"}, lg.END

    @staticmethod
    def _failed(error: errors.RunError, call: actions.Call) -> errors.RunError:
        error.step = error.step or call.path
        call.tell("failed", error=error.as_json())
        return error

    async def _use(self, values: Mapping[str, Any], agent: actions.Call) -> tuple[dict[str, Any], str]:
        """The tools the model asked for last, side by side."""
        history: Sequence[AnyMessage] = values["messages"]
        *before, asked = (message for message in history if isinstance(message, AIMessage))
        used = Counter(call["name"] for message in before for call in message.tool_calls)
        pieces = []
        for tool_call in asked.tool_calls:
            used[tool_call["name"]] += 1
            number = used[tool_call["name"]]
            path = f"{agent.path}{tool_call['name']}" + (f"#{number}" if number > 1 else "")
            pieces.append(partial(self._tool, agent, tool_call["name"], tool_call["args"], path))
        answers = await tasks.gather(pieces, concurrency=PARALLEL_TOOLS, stop=lambda answer: "limit" in answer)
        told: list[AnyMessage] = []
        for tool_call, piece, answer in zip(asked.tool_calls, pieces, answers, strict=True):
            if answer is None:
                continue
            agent.meter.adopt(piece.args[3], answer["spent"])
            if "limit" in answer:
                error = errors.RunError.of_json(answer["error"])
                error.limit = tuple(agent.meter)[answer["limit"]]
                raise error
            failed = "error" in answer
            text = f"{answer['error']['class']}: {answer['error']['message']}" if failed else _text(answer["output"])
            status: Any = "error" if failed else "success"
            told.append(
                ToolMessage(content=text, tool_call_id=tool_call["id"] or "", name=tool_call["name"], status=status)
            )
        return {"messages": told}, "model"

    async def _tool(
        self, agent: actions.Call, name: str, args: Any, path: str, config: lg.RunnableConfig
    ) -> dict[str, Any]:
        """One tool call as JSON: ``{output}`` or ``{error}``, and what it spent."""
        meter = limits.Meter(limits.UNLIMITED, limits.ZERO, agent.meter, path)
        call = actions.Call(agent.frame, {**agent.names, "args": args}, path, "tool", meter, config)
        call.given = args
        answer: dict[str, Any] = {}
        call.tell("running")
        try:
            if (tool := self._tools.get(name)) is None:
                known = ", ".join(sorted(self._tools))
                raise errors.RunError("NotFound", f"there is no tool {name}; there are {known}")
            output = await tool.use(args, call)
        except lg.GraphBubbleUp:
            call.tell("waiting")
            raise
        except errors.RunError as error:
            error.step = error.step or path
            answer["error"] = error.as_json()
            levels = tuple(agent.meter)
            if error.limit in levels:
                answer["limit"] = levels.index(error.limit)
            call.tell("failed", error=answer["error"])
        else:
            answer["output"] = output
            call.tell("succeeded", output=output)
        answer["spent"] = meter.spent
        return answer


def _asked(given: Any) -> str:
    """What the person says: the input itself if it is one text, else what there is of it as JSON."""
    if not isinstance(given, dict):
        return _text(given)
    present = {name: value for name, value in given.items() if value is not None}
    only = next(iter(present.values()), None) if len(present) == 1 else None
    return only if isinstance(only, str) else _text(present)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _unreadable(call: Mapping[str, Any]) -> ToolMessage:
    """What a model is told about a call whose arguments are no JSON."""
    text = f"InvalidInput: the arguments are no JSON: {(call.get('args') or '')[:200]}"
    return ToolMessage(content=text, tool_call_id=call.get("id") or "", name=call.get("name"), status="error")


def _shown(messages: Sequence[AnyMessage]) -> Any:
    """What is new to the model in this turn: everything after its own last message."""
    _, plain = conversation.plain(messages)
    last = max((index for index, item in enumerate(plain) if item["role"] == "ai"), default=-1)
    return {"messages": plain[last + 1 :]}


def _answered(message: AIMessage) -> Any:
    calls = [{"name": call["name"], "args": call["args"]} for call in message.tool_calls]
    return {"text": conversation.text_of(message), "toolCalls": calls} if calls else conversation.text_of(message)
