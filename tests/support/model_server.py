"""A server that speaks the wire formats of OpenAI's chat completions and Anthropic's messages.

What it says is a list of `Say`, used in order, the last one again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.support import http_server


@dataclass
class Say:
    """One answer. `echo_key` puts the key that was sent into the body; `never` lets the caller wait.

    `reasoning_apart` are tokens counted in the total alone, `usage_always` sends usage with each piece of a stream.
    """

    text: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    usage: tuple[int, int] = (10, 5)
    cached: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    echo_key: bool = False
    never: bool = False
    refusal: str | None = None
    reasoning_apart: int = 0
    usage_always: bool = False


@asynccontextmanager
async def serve(*says: Say) -> AsyncIterator[http_server.Server]:
    """OpenAI's format at ``/v1/chat/completions``, Anthropic's at ``/v1/messages``."""
    left = list(says)

    async def answer(request: http_server.Request) -> http_server.Response:
        say = left.pop(0) if len(left) > 1 else left[0]
        if say.never:
            await asyncio.Event().wait()
        key = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get("x-api-key", "")
        text = say.text + (f" (your key was {key})" if say.echo_key else "")
        if say.status != 200:
            error = {"type": "error", "error": {"type": "some_error", "message": text}}
            return http_server.Response(say.status, error, say.headers)
        asked = request.json
        if request.path.endswith("/messages"):
            return http_server.Response(200, _anthropic(asked["model"], text, say))
        if asked.get("stream"):
            stream = _openai_stream(asked["model"], text, say)
            return http_server.Response(200, stream, {"content-type": "text/event-stream"})
        return http_server.Response(200, _openai(asked["model"], text, say))

    async with http_server.serve(answer) as server:
        yield server


def _usage(say: Say) -> dict[str, Any]:
    return {
        "prompt_tokens": say.usage[0],
        "completion_tokens": say.usage[1],
        "total_tokens": sum(say.usage) + say.reasoning_apart,
        "prompt_tokens_details": {"cached_tokens": say.cached},
    }


def _calls(say: Say) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{index}",
            "type": "function",
            "function": {"name": call["name"], "arguments": _arguments(call["args"])},
        }
        for index, call in enumerate(say.tool_calls)
    ]


def _arguments(args: Any) -> str:
    """Text is sent as it is, to be wrong."""
    return args if isinstance(args, str) else orjson.dumps(args).decode()


def _openai(model: str, text: str, say: Say) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": say.refusal}
    if say.tool_calls:
        message["tool_calls"] = _calls(say)
    finish = "tool_calls" if say.tool_calls else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": _usage(say),
    }


def _openai_stream(model: str, text: str, say: Say) -> bytes:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    words = [word if number == 0 else f" {word}" for number, word in enumerate(text.split(" "))]
    chunks = [
        {**base, "choices": [{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}]}
        for word in words
    ]
    if say.usage_always:
        chunks = [{**chunk, "usage": _usage(say)} for chunk in chunks]
    chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({**base, "choices": [], "usage": _usage(say)})
    return b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def _anthropic(model: str, text: str, say: Say) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    blocks += [
        {"type": "tool_use", "id": f"toolu_{index}", "name": call["name"], "input": call["args"]}
        for index, call in enumerate(say.tool_calls)
    ]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": blocks,
        "stop_reason": "refusal" if say.refusal else "tool_use" if say.tool_calls else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": say.usage[0] - say.cached,
            "output_tokens": say.usage[1],
            "cache_read_input_tokens": say.cached,
            "cache_creation_input_tokens": 0,
        },
    }
