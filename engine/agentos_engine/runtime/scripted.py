"""The model that answers from its manifest: rules tried in order, the first that holds answers.

Stateless and concurrent: everything it knows is the messages it is given, so any number of runs may share it and a
resumed run gets the answer it would have got. It is a LangChain chat model like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import orjson
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import conversation, errors

_CHARACTERS_PER_TOKEN = 4


class _Rule:
    def __init__(self, body: Mapping[str, Any]) -> None:
        self.when = evaluate.compile(body["when"]) if body.get("when") is not None else None
        self.text = evaluate.prepare_value(body.get("text"))
        self.calls = evaluate.prepare_value(body.get("toolCalls") or [])
        self.output = evaluate.prepare_value(body["output"]) if "output" in body else None
        self.usage: Mapping[str, int] | None = body.get("usage")
        self.delay: float = body.get("delayMs", 0) / 1000


class Script:
    """Rules prepared once. A rule sees ``input`` (the last human text), ``turn`` (model messages since), ``system``,
    ``messages`` ``[{role, text}]``, ``tools`` (names) and ``results`` (of the tools called last)."""

    def __init__(self, name: str, rules: Sequence[Mapping[str, Any]]) -> None:
        self.name = name
        self._rules = [_Rule(rule) for rule in rules]

    async def answer(self, messages: Sequence[AnyMessage], tools: Sequence[str]) -> AIMessage:
        """The message of the first rule that holds; raises ``BadRequest`` if none does."""
        names = _names(messages, tools)
        try:
            rule = next((rule for rule in self._rules if rule.when is None or rule.when.evaluate(names) is True), None)
            if rule is None:
                raise errors.RunError(
                    "BadRequest", f"no rule of the scripted model {self.name} holds for {names['input'][:200]!r}"
                )
            text, calls = rule.text(names), rule.calls(names)
            if rule.output is not None:
                text = orjson.dumps(rule.output(names)).decode()
        except evaluate.ExpressionError as error:
            raise errors.RunError("BadRequest", f"the script of model {self.name}: {error}") from None
        if rule.delay:
            await asyncio.sleep(rule.delay)
        text = "" if text is None else text if isinstance(text, str) else orjson.dumps(text).decode()
        usage = rule.usage or {
            "input": sum(len(conversation.text_of(message)) for message in messages) // _CHARACTERS_PER_TOKEN + 1,
            "output": len(text) // _CHARACTERS_PER_TOKEN + 1,
        }
        return conversation.reply(text, calls, usage, messages)


def _names(messages: Sequence[AnyMessage], tools: Sequence[str]) -> dict[str, Any]:
    system, plain = conversation.plain(messages)
    asked = next((item["text"] for item in reversed(plain) if item["role"] == "human"), "")
    results: list[Any] = []
    for message in reversed(messages):
        if not isinstance(message, ToolMessage):
            break
        results.insert(0, _json_of(conversation.text_of(message)))
    return {
        "input": asked,
        "turn": conversation.turn_of(messages),
        "system": system,
        "messages": [{"role": item["role"], "text": item["text"]} for item in plain],
        "tools": list(tools),
        "results": results,
    }


def _json_of(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


class ScriptedModel(BaseChatModel):
    """`Script` as a LangChain chat model."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    script: Script

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | Any], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = await self.script.answer(messages, _tool_names(kwargs))  # type: ignore[arg-type]
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        answer = await self.script.answer(messages, _tool_names(kwargs))  # type: ignore[arg-type]
        for piece in _pieces(conversation.text_of(answer)):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
            if run_manager is not None:
                await run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk
        calls = [
            {"name": call["name"], "args": orjson.dumps(call["args"]).decode(), "id": call["id"], "index": index}
            for index, call in enumerate(answer.tool_calls)
        ]
        last = AIMessageChunk(content="", tool_call_chunks=calls, usage_metadata=answer.usage_metadata)
        yield ChatGenerationChunk(message=last)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return asyncio.run(self._agenerate(messages, stop, None, **kwargs))


def _tool_names(kwargs: Mapping[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in kwargs.get("tools") or ()]


def _pieces(text: str) -> list[str]:
    """Words with the spaces before them, as a model would stream them."""
    pieces = text.split(" ")
    return [pieces[0], *(f" {piece}" for piece in pieces[1:])] if text else []
