"""Objects from models: what to ask for, and reading the answer. JSON in the text, so that every provider can do it."""

from __future__ import annotations

import re
from typing import Any

import orjson
from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage

from agentos_engine.runtime import errors, values

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


def instruction(schema: values.Schema) -> str:
    """What a model is told so that its last answer fits `schema`."""
    text = orjson.dumps(schema.document(), option=orjson.OPT_SORT_KEYS).decode()
    return f"Give your final answer as JSON that fits this JSON Schema, and nothing else:\n{text}"


def with_instruction(system: str | None, schema: values.Schema | None) -> list[AnyMessage]:
    """The system message, if there is anything to say."""
    parts = [part for part in (system, instruction(schema) if schema is not None else None) if part]
    return [SystemMessage("\n\n".join(parts))] if parts else []


def parse(text: str, schema: values.Schema) -> Any:
    """The value in a model's answer, in the schema's shape; raises ``InvalidOutput``."""
    for candidate in _candidates(text):
        try:
            value = orjson.loads(candidate)
        except orjson.JSONDecodeError:
            continue
        return schema.accept(value, "output", "InvalidOutput")
    if schema.source is not True and isinstance(schema.source, dict) and schema.source.get("type") == "string":
        return schema.accept(text, "output", "InvalidOutput")
    raise errors.RunError("InvalidOutput", f"the model's answer is no JSON: {text[:200]!r}")


def _candidates(text: str) -> list[str]:
    found = [text.strip(), *(block.strip() for block in _FENCED.findall(text))]
    start, end = text.find("{"), text.rfind("}")
    if 0 <= start < end:
        found.append(text[start : end + 1])
    return found


def repair(error: errors.RunError) -> HumanMessage:
    """What a model is told about an answer that does not fit, once."""
    return HumanMessage(f"That answer cannot be used: {error.message}. Answer again with JSON that fits the schema.")
