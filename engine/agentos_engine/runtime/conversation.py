"""Messages in the forms others read them: plain JSON for scripts and recordings, and back.

Ids of tool calls are not part of either: they differ from run to run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata

_ROLES = {"human": "human", "ai": "ai", "tool": "tool", "system": "system"}


def text_of(message: AnyMessage) -> str:
    """The text of a message, whatever blocks it is made of."""
    return message.content if isinstance(message.content, str) else str(message.text)


def plain(messages: Sequence[AnyMessage]) -> tuple[str, list[dict[str, Any]]]:
    """System text, and the other messages as ``{role: human|ai|tool, text, toolCalls?: [{name, args}], name?}``."""
    system = "\n\n".join(text_of(message) for message in messages if isinstance(message, SystemMessage))
    rest = []
    for message in messages:
        if isinstance(message, SystemMessage):
            continue
        item: dict[str, Any] = {"role": _ROLES.get(message.type, message.type), "text": text_of(message)}
        if isinstance(message, AIMessage) and message.tool_calls:
            item["toolCalls"] = [{"name": call["name"], "args": call["args"]} for call in message.tool_calls]
        if isinstance(message, ToolMessage):
            item["name"] = message.name
        rest.append(item)
    return system, rest


def turn_of(messages: Sequence[AnyMessage]) -> int:
    """How many messages of the model there are since the last human one."""
    turn = 0
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            break
        turn += isinstance(message, AIMessage)
    return turn


def reply(
    text: str, tool_calls: Sequence[Mapping[str, Any]], usage: Mapping[str, int], messages: Sequence[AnyMessage]
) -> AIMessage:
    """A model's message made from its parts; ids of calls count on from those in `messages`."""
    before = sum(len(message.tool_calls) for message in messages if isinstance(message, AIMessage))
    counted = UsageMetadata(
        input_tokens=usage.get("input", 0),
        output_tokens=usage.get("output", 0),
        total_tokens=usage.get("input", 0) + usage.get("output", 0),
    )
    return AIMessage(
        content=text,
        tool_calls=[
            {
                "name": call["name"],
                "args": dict(call.get("args") or {}),
                "id": f"call_{before + number}",
                "type": "tool_call",
            }
            for number, call in enumerate(tool_calls, 1)
        ],
        usage_metadata=counted,
    )
