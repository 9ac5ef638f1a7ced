"""Calls to models, whatever answers: a provider, a script or a recording.

One call is: limits checked, the model asked with retries, then its fallbacks in order, what it used charged. A model is
prepared once from its folded body and holds no secret; the client with the key lives in the run's frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.messages.ai import UsageMetadata

from agentos_engine.runtime import cassette, connector, conversation, errors, limits, providers, retry, scripted, scrub
from agentos_engine.runtime import frame as frames

_SHOWN = 400


@dataclass(slots=True)
class Usage:
    """What was used: tokens (input includes cached, output includes reasoning) and micro-USD. Adds up in place."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost_micros: int = 0


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as a model sees it; `parameters` is its JSON Schema."""

    name: str
    description: str
    parameters: Mapping[str, Any]

    def as_openai(self) -> dict[str, Any]:
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Ask:
    """One call: what is asked, on whose account, and where it is told."""

    messages: Sequence[AnyMessage]
    frame: frames.Frame
    meter: limits.Meter
    path: str
    usage: Usage
    tools: Sequence[Tool] = ()
    retry: retry.Policy = retry.MODEL


class Model:
    """One model with its fallbacks, from the folded body ``{name, provider, model, params, auth, price, …}``."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.name: str = body["name"]
        self._body = body
        self._price: Mapping[str, float] = body.get("price") or {}
        self._fallbacks = [Model(fallback) for fallback in body.get("fallbacks") or ()]
        self._script: scripted.Script | None = None
        self._tape: cassette.Cassette | None = None
        if body["provider"] == "scripted":
            self._script = scripted.Script(self.name, body.get("script") or ())
        elif body["provider"] == "replay":
            self._tape = cassette.Cassette.of_text(body.get("cassette") or "", f"the cassette of model {self.name}")

    async def complete(self, ask: Ask) -> AIMessage:
        """The model's message; what it cost is added to ``ask.usage`` and charged. Raises `errors.RunError`."""

        def failed(attempt: int, error: errors.RunError, wait: float) -> None:
            data = {"attempt": attempt, "model": self.name, "error": error.as_json(), "waitMs": round(wait * 1000)}
            ask.frame.recorder.emit("retry", ask.path, data)

        try:
            return await retry.run(
                ask.retry,
                lambda _: self._attempt(ask),
                sleep=ask.frame.sleep,
                chance=ask.frame.chance,
                failed=failed,
            )
        except errors.RunError as error:
            if not self._fallbacks or error.limit is not None:
                raise
            failure = error
        for fallback in self._fallbacks:
            data = {"model": self.name, "fallback": fallback.name, "error": failure.as_json()}
            ask.frame.recorder.emit("fallback", ask.path, data)
            try:
                return await fallback.complete(ask)
            except errors.RunError as error:
                if error.limit is not None:
                    raise
                failure = error
        raise failure

    async def _attempt(self, ask: Ask) -> AIMessage:
        ask.meter.check()
        message = await self._answer(ask)
        usage = message.usage_metadata
        if usage is not None:
            cost = self.cost_micros(usage)
            ask.usage.tokens_in += usage["input_tokens"]
            ask.usage.tokens_out += usage["output_tokens"]
            ask.usage.cost_micros += cost
            ask.meter.charge(limits.TOKENS, usage["input_tokens"] + usage["output_tokens"])
            ask.meter.charge(limits.COST, cost)
        _raise_if_refused(message, self.name)
        return message

    def cost_micros(self, usage: UsageMetadata) -> int:
        """Micro-USD of a call. A price of 1 USD per million tokens is 1 micro-USD per token."""
        price = self._price
        cached = (usage.get("input_token_details") or {}).get("cache_read") or 0
        reasoning = (usage.get("output_token_details") or {}).get("reasoning") or 0
        per_input, per_output = price.get("input") or 0.0, price.get("output") or 0.0
        per_cached, per_reasoning = price.get("cachedInput"), price.get("reasoning")
        return round(
            (usage["input_tokens"] - cached) * per_input
            + cached * (per_input if per_cached is None else per_cached)
            + (usage["output_tokens"] - reasoning) * per_output
            + reasoning * (per_output if per_reasoning is None else per_reasoning)
        )

    async def _answer(self, ask: Ask) -> AIMessage:
        if self._script is not None:
            message = await self._script.answer(ask.messages, [tool.name for tool in ask.tools])
            if ask.frame.tokens and message.content:
                _emit_token(ask, conversation.text_of(message))
            return message
        if self._tape is not None:
            tape = ask.frame.clients.setdefault((self, None), self._tape.session())
            return self._replayed(ask, tape)
        tape = ask.frame.services.cassette
        try:
            key = await self._key(ask.frame)
        except LookupError:
            if tape is not None and tape.mode == "replay":
                return self._replayed(ask, tape)
            secret = self._body["auth"]["secret"]
            raise errors.RunError(
                "Unauthorized", f"model {self.name}: the secret {secret} is not set for this tenant"
            ) from None
        if key is None and tape is not None and tape.mode == "replay":
            return self._replayed(ask, tape)
        message = await self._sent(ask, key)
        if tape is not None and tape.mode == "record":
            tape.record("model", self.name, _request(ask), _response(message))
        return message

    async def _key(self, frame: frames.Frame) -> str | None:
        auth = self._body.get("auth")
        return await frame.services.secret(auth["secret"], self._hosts()) if auth else None

    def _hosts(self) -> tuple[str, ...]:
        return (httpx.URL(providers.base_url(self._body)).netloc.decode(), *(self._body.get("hosts") or ()))

    def _replayed(self, ask: Ask, tape: cassette.Cassette) -> AIMessage:
        try:
            recorded = tape.replay("model", self.name, _request(ask))
        except cassette.CassetteError as error:
            raise errors.RunError("ToolFailed", str(error)) from None
        return conversation.reply(
            recorded.get("text") or "", recorded.get("toolCalls") or (), recorded.get("usage") or {}, ask.messages
        )

    async def _sent(self, ask: Ask, key: str | None) -> AIMessage:
        clean = scrub.scrubber([key] if key is not None else [])
        slot = (self, key)
        chat: Any = ask.frame.clients.get(slot)
        if chat is None:
            client = ask.frame.services.http(self._hosts())
            # The first use of a provider imports its package, which takes long enough to hold up other runs.
            chat = await asyncio.to_thread(providers.chat, self._body, key, client)
            ask.frame.clients[slot] = chat
        bound = chat.bind_tools([tool.as_openai() for tool in ask.tools]) if ask.tools else chat
        try:
            if not ask.frame.tokens:
                message = await bound.ainvoke(list(ask.messages))
            else:
                message = await _streamed(bound, ask, clean, adds_up=self._body["provider"] == "anthropic")
        except errors.RunError:
            raise
        except Exception as error:
            raise _translated(error, f"model {self.name}", clean, ask.frame) from None
        return _cleaned(message, clean).model_copy(update={"usage_metadata": _whole(message.usage_metadata)})


async def _streamed(chat: Any, ask: Ask, clean: Callable[[str], str], *, adds_up: bool) -> AIMessage:
    """The message, told piece by piece. In OpenAI's format each usage counts everything so far; else they add up."""
    whole: Any = None
    usage: UsageMetadata | None = None
    async for chunk in chat.astream(list(ask.messages)):
        whole = chunk if whole is None else whole + chunk
        usage = chunk.usage_metadata or usage
        if text := conversation.text_of(chunk):
            _emit_token(ask, clean(text))
    if whole is None:
        raise errors.RunError("Unavailable", "the model answered nothing")
    return AIMessage(
        content=whole.content,
        tool_calls=whole.tool_calls,
        invalid_tool_calls=whole.invalid_tool_calls,
        usage_metadata=whole.usage_metadata if adds_up else usage,
        response_metadata=whole.response_metadata,
        additional_kwargs=whole.additional_kwargs,
    )


def _emit_token(ask: Ask, text: str) -> None:
    ask.frame.recorder.emit("token", ask.path, {"text": text})


def _request(ask: Ask) -> dict[str, Any]:
    system, messages = conversation.plain(ask.messages)
    return {"system": system, "messages": messages, "tools": [tool.name for tool in ask.tools]}


def _response(message: AIMessage) -> dict[str, Any]:
    usage = message.usage_metadata
    return {
        "text": conversation.text_of(message),
        "toolCalls": [{"name": call["name"], "args": call["args"]} for call in message.tool_calls],
        "usage": {"input": usage["input_tokens"], "output": usage["output_tokens"]} if usage is not None else {},
    }


def _whole(usage: UsageMetadata | None) -> UsageMetadata | None:
    """Usage whose output includes reasoning: xAI, among others, counts it in the total alone."""
    if usage is None:
        return None
    output = max(usage["output_tokens"], usage["total_tokens"] - usage["input_tokens"])
    return {**usage, "output_tokens": output}


def _raise_if_refused(message: AIMessage, name: str) -> None:
    meta = message.response_metadata
    refusal = message.additional_kwargs.get("refusal")
    if refusal or meta.get("finish_reason") == "content_filter" or meta.get("stop_reason") == "refusal":
        raise errors.RunError(
            "ModelRefused", f"model {name} refused: {str(refusal or conversation.text_of(message))[:200]}"
        )


def _cleaned(message: AIMessage, clean: Callable[[str], str]) -> AIMessage:
    """The message without the key, should the provider have echoed it."""

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return clean(value)
        if isinstance(value, dict):
            return {name: walk(item) for name, item in value.items()}
        return [walk(item) for item in value] if isinstance(value, list) else value

    fields = ("content", "tool_calls", "invalid_tool_calls", "additional_kwargs", "response_metadata")
    return message.model_copy(update={name: walk(getattr(message, name)) for name in fields})


def _translated(error: Exception, name: str, clean: Callable[[str], str], frame: frames.Frame) -> errors.RunError:
    """A provider's exception as one of ours; its text is cleaned, its traceback left behind."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        class_ = errors.class_of_status(status) or "Unavailable"
        response = getattr(error, "response", None)
        header = response.headers.get("retry-after") if response is not None else None
        return errors.RunError(
            class_,
            clean(f"{name}: HTTP {status}: {error}")[:_SHOWN],
            details={"status": status},
            retry_after=connector.retry_after(header, frame),
        )
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return errors.RunError("Timeout", f"{name}: no answer in time")
    return connector.transport_error(error, name, clean)
