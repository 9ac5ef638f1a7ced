"""Between JSON Schema and the types of expressions, and schemas that stand by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine.expressions import types

Schema = Mapping[str, Any]

_NAMES = {
    "bool": "boolean",
    "int": "integer",
    "uint": "integer",
    "double": "number",
    "string": "string",
    "bytes": "string",
}
_FORMATS = {"timestamp": "date-time", "duration": "duration"}


def to_schema(kind: types.Type) -> dict[str, Any]:
    """The JSON Schema of what a value of `kind` is as JSON; ``{}`` where nothing is known."""
    schema = _not_null(kind)
    if kind.nullable and kind.kind != "null" and schema:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema


def _not_null(kind: types.Type) -> dict[str, Any]:
    word = kind.kind
    if word == "null":
        return {"type": "null"}
    if word in _NAMES:
        schema: dict[str, Any] = {"type": _NAMES[word]}
        if kind.enum is not None:
            schema["enum"] = list(kind.enum)
        return schema
    if word in _FORMATS:
        return {"type": "string", "format": _FORMATS[word]}
    if word == "list":
        item = to_schema(kind.item or types.DYN)
        return {"type": "array", "items": item} if item else {"type": "array"}
    if word == "map":
        value = to_schema(kind.item or types.DYN)
        return {"type": "object", "additionalProperties": value} if value else {"type": "object"}
    if word == "object":
        schema = {
            "type": "object",
            "properties": {name: to_schema(field) for name, field in (kind.fields or {}).items()},
        }
        if kind.required:
            schema["required"] = sorted(kind.required)
        if kind.open:
            schema["additionalProperties"] = True
        return schema
    return {}


def standalone(schema: Schema | None, defs: Schema) -> dict[str, Any] | None:
    """`schema` with the definitions it needs of `defs` under its own ``$defs``, so it can travel without the rest.

    A schema that is but a reference becomes what it refers to: those who read it need to see what it is.
    """
    if schema is None:
        return None
    schema = _root(schema, defs)
    needed: dict[str, Any] = {}
    pending: list[Any] = [schema] if defs else []
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            name = _referred(part)
            if name in defs and name not in needed:
                needed[name] = defs[name]
                pending.append(defs[name])
            pending += part.values()
        elif isinstance(part, list | tuple):
            pending += part
    if not needed:
        return dict(schema)
    return {**schema, "$defs": {**dict(sorted(needed.items())), **schema.get("$defs", {})}}


def _referred(schema: Schema) -> str:
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/$defs/"):
        return ""
    return reference.removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")


def _root(schema: Schema, defs: Schema) -> Schema:
    for _ in range(len(defs) + 1):
        target = defs.get(_referred(schema))
        if not isinstance(target, Mapping):
            break
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema
