"""Errors of the JSON Schema as findings for the person who wrote the manifest.

Each error of jsonschema-rs is one cause at one exact place; this says what stands there, what belongs there, and what
was probably meant. Nothing is checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jsonschema_rs

from agentos_engine import fields, model, secretscan, suggest, words

_NAMES: Final = {
    "string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false",
    "array": "a list", "object": "a mapping", "null": "nothing",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """One finding; `key` tells that it is about the key at `location`, not its value."""

    code: str
    location: model.Location
    message: str
    hint: str | None = None
    key: bool = False


def errors(schema: Mapping[str, Any], validator: jsonschema_rs.Draft202012Validator, document: Any) -> Iterator[Found]:
    """Every error of `document` against `schema`, as findings."""
    for error in validator.iter_errors(document):
        yield from _one(schema, error)


def _one(schema: Mapping[str, Any], error: jsonschema_rs.ValidationError) -> Iterator[Found]:
    at: model.Location = tuple(error.instance_path)
    parent, shape = _parent(schema, error.schema_path)
    keyword = str(error.schema_path[-1]) if error.schema_path else ""
    if "propertyNames" in error.schema_path:
        yield _key_name(at, error)
    elif keyword == "additionalProperties":
        known = list(parent.get("properties", {}))
        for key in error.kind.as_dict()["unexpected"]:
            yield _unknown_key(at, key, known, shape)
    elif keyword == "required":
        key = error.kind.as_dict()["property"]
        where = f"`{at[-1]}`" if at and isinstance(at[-1], str) else "this"
        described = parent.get("properties", {}).get(key, {}).get("description")
        yield Found("MissingKey", at, f"{where} needs the key `{key}`", described or f"Add `{key}`.", key=True)
    else:
        explain = _BY_KEYWORD.get(keyword)
        yield explain(at, error, parent) if explain else Found("SchemaViolation", at, error.message[:300])


def _parent(schema: Mapping[str, Any], path: list[str | int]) -> tuple[Mapping[str, Any], str]:
    """The schema that holds the keyword at `path`, and the shape it belongs to."""
    node: Any = schema
    shape = "Manifest"
    for index, part in enumerate(path[:-1]):
        node = node[part]
        if index == 1 and path[0] == "$defs":
            shape = str(part)
    if path[:2] == ["properties", "metadata"] and "labels" not in path and "annotations" not in path:
        shape = "Metadata"
    return (node if isinstance(node, Mapping) else {}), shape


def _unknown_key(at: model.Location, key: str, known: list[str], shape: str) -> Found:
    where = f" in `{at[-1]}`" if at and isinstance(at[-1], str) else ""
    hint = words.hint(shape, key) or suggest.did_you_mean(key, known)
    if hint is None:
        hint = f"Known here: {suggest.one_of(known)}." if known else None
    return Found("UnknownKey", (*at, key), f"unknown key `{key}`{where}", hint, key=True)


def _key_name(at: model.Location, error: jsonschema_rs.ValidationError) -> Found:
    inner = error.kind.as_dict()["error"]
    key, pattern = str(inner.instance), str(inner.kind.as_dict().get("pattern"))
    hint = _camel_hint(key, pattern) or fields.PATTERN_HELP.get(pattern)
    return Found("InvalidValue", (*at, key), f"{key!r} cannot be a key here", hint, key=True)


def _camel_hint(key: str, pattern: str) -> str | None:
    """An id written like a name: in CEL a hyphen is a minus."""
    if pattern != fields.ID_PATTERN or not ("-" in key or "_" in key):
        return None
    first, *rest = key.replace("_", "-").split("-")
    camel = first.lower() + "".join(part[:1].upper() + part[1:] for part in rest)
    return f"Ids are camelCase, because in an expression a hyphen is a minus: `{camel}`."


def _what(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        if secretscan.shape_of(value) is not None:
            return "this text"
        return repr(value[:60] + ("…" if len(value) > 60 else ""))
    return "a list" if isinstance(value, list) else "a mapping"


def _type(at: model.Location, error: jsonschema_rs.ValidationError, parent: Mapping[str, Any]) -> Found:
    wanted = parent.get("type", [])
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    expected = " or ".join(_NAMES[str(name)] for name in names)
    hint = None
    if names == ["string"] and isinstance(error.instance, (bool, int, float)):
        hint = f'Quote it: "{str(error.instance).lower() if isinstance(error.instance, bool) else error.instance}".'
    elif error.instance is None:
        hint = "Give it a value, or leave the key out."
    elif names in (["integer"], ["number"], ["boolean"]) and isinstance(error.instance, str):
        hint = "Leave the quotes away." if "${" not in error.instance else "`${…}` is not evaluated here."
    return Found("SchemaViolation", at, f"expected {expected}, found {_what(error.instance)}", hint)


def _enum(at: model.Location, error: jsonschema_rs.ValidationError, parent: Mapping[str, Any]) -> Found:
    options = [str(option) for option in parent.get("enum", ())]
    one_of = f"One of {suggest.one_of(options)}."
    if later := words.later(str(at[-1]) if at else "", str(error.instance)):
        hint = f"{later} {one_of}"
    else:
        hint = suggest.did_you_mean(str(error.instance), options, one_of) or one_of
    return Found("InvalidValue", at, f"{_what(error.instance)} is not a value this key has", hint)


def _const(at: model.Location, error: jsonschema_rs.ValidationError, parent: Mapping[str, Any]) -> Found:
    wanted = parent.get("const")
    hint = f"`{error.instance}` is not in this release." if (wanted, error.instance) == ("plan", "call") else None
    return Found(
        "InvalidValue", at, f"{_what(error.instance)} is not a value this key has", hint or f"Write `{wanted}`."
    )


def _pattern(at: model.Location, error: jsonschema_rs.ValidationError, parent: Mapping[str, Any]) -> Found:
    pattern = str(parent.get("pattern"))
    hint = _camel_hint(str(error.instance), pattern) or fields.PATTERN_HELP.get(pattern, f"It has to match {pattern}.")
    return Found("InvalidValue", at, f"{_what(error.instance)} has not the right form", hint)


def _bound(at: model.Location, error: jsonschema_rs.ValidationError, parent: Mapping[str, Any]) -> Found:
    low, high = parent.get("minimum"), parent.get("maximum")
    span = (
        f"from {low} to {high}"
        if low is not None and high is not None
        else (f"at least {low}" if low is not None else f"at most {high}")
    )
    return Found("InvalidValue", at, f"{_what(error.instance)} is out of range", f"It has to be {span}.")


def _size(at: model.Location, error: jsonschema_rs.ValidationError, parent: Mapping[str, Any]) -> Found:
    for key, text in _SIZES.items():
        if error.schema_path and error.schema_path[-1] == key:
            return Found("InvalidValue", at, text.format(parent[key], "" if parent[key] == 1 else "s"))
    raise AssertionError(error.schema_path)


_SIZES: Final = {
    "minLength": "the text is empty or too short: at least {} character{}",
    "maxLength": "the text is too long: at most {} character{}",
    "minItems": "the list is too short: at least {} item{}",
    "maxItems": "the list is too long: at most {} item{}",
    "minProperties": "the mapping is empty: at least {} key{}",
    "maxProperties": "the mapping is too large: at most {} key{}",
}
_Explain = Callable[[model.Location, jsonschema_rs.ValidationError, Mapping[str, Any]], Found]
_BY_KEYWORD: Final[Mapping[str, _Explain]] = {
    "type": _type, "enum": _enum, "const": _const, "pattern": _pattern, "minimum": _bound, "maximum": _bound,
    **dict.fromkeys(_SIZES, _size),
}  # fmt: skip
EXPLAINED: Final = frozenset(_BY_KEYWORD)
"""Keywords whose errors are told in our own words."""
