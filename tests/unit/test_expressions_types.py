"""Types from JSON Schema, and what may be assigned to what."""

from __future__ import annotations

from typing import Any

import pytest

from agentos_engine.expressions import types


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string"}, "string"),
        ({"type": "integer"}, "integer"),
        ({"type": "number"}, "number"),
        ({"type": "boolean"}, "boolean"),
        ({"type": ["string", "null"]}, "string or null"),
        ({"type": ["integer", "number"]}, "number"),
        ({"type": ["string", "integer"]}, "an undeclared value"),
        ({"type": "string", "format": "date-time"}, "timestamp"),
        ({"type": "string", "format": "duration"}, "duration"),
        ({"type": "string", "format": "date"}, "string"),
        ({"type": "array", "items": {"type": "integer"}}, "list of integer"),
        ({"type": "array"}, "list"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "number or null"),
        ({"oneOf": [{"type": "string"}, {"type": "array"}]}, "an undeclared value"),
        ({"enum": ["a", "b"]}, "string"),
        ({"enum": ["a", None]}, "string or null"),
        ({"enum": ["a", 1]}, "an undeclared value"),
        ({"const": 3}, "integer"),
        ({"type": "object"}, "map"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "map of number"),
        ({"type": "null"}, "null"),
        ({}, "an undeclared value"),
        (True, "an undeclared value"),
        ({"type": "nonsense"}, "an undeclared value"),
        ({"$ref": "https://elsewhere.example/schema"}, "an undeclared value"),
    ],
)
def test_type_of_schema(schema: Any, said: str) -> None:
    assert str(types.from_schema(schema)) == said


def test_a_property_is_nullable_unless_required_or_defaulted() -> None:
    kind = types.from_schema(
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "number", "default": 1}},
        }
    )
    assert kind.fields is not None
    assert {name: one.nullable for name, one in kind.fields.items()} == {"a": False, "b": True, "c": False}
    assert kind.required == {"a"}


def test_references_and_their_cycles() -> None:
    defs = {"Tree": {"type": "object", "required": ["kids"], "properties": {
        "kids": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}}, "Name": {"type": "string"}}  # fmt: skip
    tree = types.from_schema({"$ref": "#/$defs/Tree"}, defs)
    assert tree.name == "Tree"
    assert tree.fields is not None
    assert str(tree.fields["kids"]) == "list"
    assert types.from_schema({"$ref": "Name"}, defs) is types.STRING


def test_all_of_merges_objects() -> None:
    kind = types.from_schema({"allOf": [
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {"type": "object", "required": ["a", "b"], "properties": {"b": {"type": "integer"}}},
    ]})  # fmt: skip
    assert kind.fields is not None
    assert {name: str(one) for name, one in kind.fields.items()} == {"a": "string", "b": "integer"}


def test_a_schema_nested_without_end_is_bounded() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    assert types.from_schema(schema).kind == "list"


_TARGET = types.from_schema({
    "type": "object", "required": ["level"],
    "properties": {"level": {"enum": ["high", "low"]}, "count": {"type": "integer"}, "price": {"type": "number"}},
})  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        ({"level": types.literal("high")}, []),
        ({"level": types.STRING, "count": types.INT, "price": types.INT}, []),
        ({"level": types.DYN, "count": types.nullable(types.INT)}, []),
        ({"level": types.literal("hihg")}, ["level: may be 'hihg', but only 'high', 'low' is allowed"]),
        ({"level": types.nullable(types.STRING)}, ["level: may be null, but string is wanted"]),
        ({"level": types.STRING, "count": types.DOUBLE}, ["count: is number, but integer or null is wanted"]),
        ({"levl": types.STRING}, ["levl: is not declared; did you mean 'level'?", "level: is required and missing"]),
    ],
)
def test_mismatches_name_the_field(fields: dict[str, types.Type], messages: list[str]) -> None:
    source = types.object_type(fields)
    assert [f"{'.'.join(at)}: {message}" for at, message in types.mismatches(source, _TARGET)] == messages
    assert types.assignable(source, _TARGET) is (not messages)


def test_times_are_text_to_json() -> None:
    assert types.assignable(types.STRING, types.TIMESTAMP)
    assert types.assignable(types.EXACT_TIMESTAMP, types.STRING)
    assert not types.assignable(types.INT, types.STRING)
    assert not types.assignable(types.list_of(types.STRING), types.list_of(types.INT))
    assert types.assignable(types.MAP, _TARGET)
