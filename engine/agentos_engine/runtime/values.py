"""Values against JSON Schemas at run time: checked, defaults filled, numbers made what the schema says.

A schema is compiled once into a validator and a *shaper*. The rules are those the expression types rely on: every
declared property exists (absent without default is null), a ``number`` is a float and an ``integer`` an int whatever
JSON wrote, and null in an optional property means absent.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema_rs

from agentos_engine.runtime import errors

Shaper = Callable[[Any], Any]
JsonSchema = Mapping[str, Any] | bool
_LONGEST_MESSAGE = 400
_MISSING = object()


class Schema:
    """A compiled schema. `defs` is what ``#/$defs/…`` refers to; nothing is ever fetched."""

    __slots__ = ("_defs", "_shape", "_validator", "source")

    def __init__(self, source: JsonSchema, defs: Mapping[str, Any] | None = None) -> None:
        self.source = source
        self._defs = (source.get("$defs") if isinstance(source, Mapping) else None) or defs or {}
        document: Any = {**source, "$defs": self._defs} if isinstance(source, Mapping) and self._defs else source
        self._validator = jsonschema_rs.Draft202012Validator(_plain(document), offline=True)
        self._shape = _Shapes(self._defs).of(source)

    def document(self) -> Any:
        """The schema by itself, with its `$defs` inside."""
        if isinstance(self.source, Mapping) and self._defs and "#/$defs/" in str(self.source):
            return {**self.source, "$defs": dict(self._defs)}
        return self.source

    def accept(self, value: Any, what: str, class_: str) -> Any:
        """`value` in the schema's shape, or a `RunError` of `class_` that names what is wrong with `what` and where.

        `value` itself is not changed.
        """
        if not self._validator.is_valid(value):
            value = _without_nulls(value, self.source, self._defs)
            problems = [
                {"path": _join(what, error.instance_path), "message": error.message[:_LONGEST_MESSAGE]}
                for error, _ in zip(self._validator.iter_errors(value), range(10), strict=False)
            ]
            if problems:
                first = problems[0]
                raise errors.RunError(class_, f"{first['path']}: {first['message']}", details=problems)
        return value if self._shape is None else self._shape(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _join(what: str, path: list[str | int]) -> str:
    return what + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _as_float(value: Any) -> Any:
    return float(value) if type(value) is int else value


def _as_int(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


class _Shapes:
    """Compiles schemas into shapers; None stands for one that changes nothing."""

    def __init__(self, defs: Mapping[str, Any]) -> None:
        self._defs = defs
        self._named: dict[str, Shaper | None] = {}
        self._open: set[str] = set()

    def of(self, schema: JsonSchema) -> Shaper | None:
        if not isinstance(schema, Mapping):
            return None
        if (reference := schema.get("$ref")) is not None:
            return self._reference(str(reference).rpartition("/")[2])
        for union in ("anyOf", "oneOf"):
            if union in schema:
                members = [item for item in schema[union] if item != {"type": "null"}]
                return self.of(members[0]) if len(members) == 1 else None
        parts = [self._typed(schema), *(self.of(part) for part in schema.get("allOf", ()))]
        shapers = [part for part in parts if part is not None]
        if len(shapers) < 2:
            return shapers[0] if shapers else None

        def every(value: Any) -> Any:
            for shaper in shapers:
                value = shaper(value)
            return value

        return every

    def _reference(self, name: str) -> Shaper | None:
        if name in self._named:
            return self._named[name]
        if name in self._open:
            return lambda value: shaper(value) if (shaper := self._named.get(name)) is not None else value
        self._open.add(name)
        self._named[name] = shaper = self.of(self._defs.get(name, True))
        return shaper

    def _typed(self, schema: Mapping[str, Any]) -> Shaper | None:
        declared = schema.get("type")
        types = {declared} if isinstance(declared, str) else set(declared or ())
        types.discard("null")
        if "number" in types:
            return _as_float if types <= {"number", "integer"} else None
        if types == {"integer"}:
            return _as_int
        if types == {"object"} or (not types and "properties" in schema):
            return self._object(schema)
        if types == {"array"} or (not types and "items" in schema):
            return self._array(schema)
        return None

    def _array(self, schema: Mapping[str, Any]) -> Shaper | None:
        item = self.of(schema.get("items", True))
        if item is None or "prefixItems" in schema:
            return None
        return lambda value: [item(one) for one in value] if isinstance(value, list) else value

    def _object(self, schema: Mapping[str, Any]) -> Shaper | None:
        fields = []
        for name, part in schema.get("properties", {}).items():
            shaper = self.of(part)
            default = part.get("default") if isinstance(part, Mapping) else None
            if default is not None and shaper is not None:
                default = shaper(default)
            fields.append((name, shaper, default, isinstance(default, (dict, list))))
        rest = self.of(schema.get("additionalProperties", True))
        if not fields and rest is None:
            return None
        declared = frozenset(name for name, *_ in fields)

        def shape(value: Any) -> Any:
            if not isinstance(value, dict):
                return value
            shaped = dict(value)
            for name, shaper, default, mutable in fields:
                present = shaped.get(name, _MISSING)
                if present is _MISSING:
                    shaped[name] = copy.deepcopy(default) if mutable else default
                elif shaper is not None:
                    shaped[name] = shaper(present)
            if rest is not None:
                for name in shaped.keys() - declared:
                    shaped[name] = rest(shaped[name])
            return shaped

        return shape


def _without_nulls(value: Any, schema: JsonSchema, defs: Mapping[str, Any]) -> Any:
    """`value` with the nulls of optional properties left out; looked at only where validation failed."""
    if isinstance(schema, Mapping) and "$ref" in schema:
        schema = defs.get(str(schema["$ref"]).rpartition("/")[2], True)
    if not isinstance(schema, Mapping):
        return value
    if isinstance(value, list):
        return [_without_nulls(item, schema.get("items", True), defs) for item in value]
    if not isinstance(value, dict):
        return value
    properties, required = schema.get("properties", {}), schema.get("required", ())
    return {
        name: _without_nulls(item, properties.get(name, True), defs)
        for name, item in value.items()
        if item is not None or name not in properties or name in required
    }


ANY = Schema(True)


def schema_of(source: JsonSchema | None, defs: Mapping[str, Any] | None = None) -> Schema:
    """Compiled `source`; None and the empty schema accept everything."""
    return ANY if source is None or source is True or source == {} else Schema(source, defs)
