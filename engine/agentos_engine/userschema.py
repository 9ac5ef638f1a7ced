"""JSON Schemas that authors write: usable, closed, bounded.

A schema of an author's runs later against data of strangers. So it is checked here once: well-formed by the
meta-schema; references only to the manifest's own `$defs`, which makes it closed (nothing is ever fetched) and lets the
compiler know every type; patterns in the linear-time dialect; no reference that leads only to itself; bounded size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final

import jsonschema_rs
import orjson

from agentos_engine import model, suggest

MAX_DEPTH: Final = 16
MAX_NODES: Final = 2_000
MAX_PATTERN: Final = 512
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
DEFS: Final = "#/$defs/"
_TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
_MAPS: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_ONES: Final = frozenset(
    {
        "additionalProperties", "items", "contains", "propertyNames", "not", "if", "then", "else",
        "unevaluatedItems", "unevaluatedProperties", "contentSchema",
    }
)  # fmt: skip
_IN_PLACE: Final = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
_REFUSED: Final = {
    "$id": "a schema has no address of its own here",
    "$anchor": "refer by `#/$defs/Name`",
    "$dynamicRef": 'refer by `$ref: "#/$defs/Name"`',
    "$dynamicAnchor": "refer by `#/$defs/Name`",
    "$recursiveRef": 'refer by `$ref: "#/$defs/Name"`',
    "$vocabulary": "only the standard vocabulary is known",
    "$defs": "put shared schemas under `spec.$defs`",
    "definitions": "put shared schemas under `spec.$defs`",
}
Found = tuple[str, model.Location, str, str | None]
"""Code, location, message, hint."""


@cache
def _meta() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({"$ref": DIALECT}, offline=True)


@cache
def _linear() -> jsonschema_rs.RegexOptions:
    """Patterns by a finite automaton: no look-around or back-reference, and no input that takes exponential time."""
    return jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20)


def validator(schema: Mapping[str, Any] | bool, defs: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """A compiled validator of a checked schema. Fetches nothing; patterns take linear time."""
    whole = {**schema, "$defs": dict(defs)} if isinstance(schema, Mapping) else schema
    return jsonschema_rs.Draft202012Validator(whole, offline=True, pattern_options=_linear())


def check_defs(defs: Mapping[str, Any], at: model.Location) -> Iterator[Found]:
    """What is wrong with the manifest's shared schemas: each by itself, and circles among them."""
    for name, schema in defs.items():
        yield from check(schema, (*at, name), defs)
    circles = [name for name in defs if _leads_to_itself(name, defs)]
    for name in circles:
        hint = "Put an object or list between."
        yield "InvalidSchema", (*at, name), f"`{name}` refers to nothing but itself", hint
    weights: dict[str, int] = {}
    heavy = next((name for name in defs if not circles and _weight(name, defs, weights) > MAX_NODES), None)
    if heavy is not None:
        hint = "Refer to each schema once, and not through so many others."
        yield "InvalidSchema", (*at, heavy), f"`{heavy}` applies too many shared schemas to one value", hint


def check(schema: Any, at: model.Location, defs: Mapping[str, Any], *, root: bool = False) -> Iterator[Found]:
    """What is wrong with one schema of the author's at `at`; `root`: it describes an input, so it is of an object."""
    if root and isinstance(schema, Mapping) and schema.get("type") != "object" and "$ref" not in schema:
        hint = "Write `type: object` with `properties`."
        yield "InvalidSchema", at, "an input is an object, so its schema has `type: object`", hint
    elif _is_simple(schema) and _meta().is_valid(schema):
        return
    walk = _Walk(defs)
    walk.run(schema, at)
    yield from walk.found
    if walk.found and walk.stopped:
        return
    if not _meta().is_valid(schema):
        known = {location for _, location, _, _ in walk.found}
        yield from (found for found in _malformed(schema, at) if found[1] not in known)


def _is_simple(schema: Any) -> bool:
    """Whether a schema is so small and plain that nothing but the meta-schema can object to it; most are."""
    text = orjson.dumps(schema)
    return text.count(b"{") < MAX_DEPTH and b'"$' not in text and b'"pattern' not in text and b'"definit' not in text


def _malformed(schema: Any, at: model.Location) -> Iterator[Found]:
    """Violations of the meta-schema, one per place."""
    seen: set[model.Location] = set()
    for error in _meta().iter_errors(schema):
        location = (*at, *error.instance_path)
        if location in seen:
            continue
        seen.add(location)
        if error.instance_path[-1:] == ["type"]:
            word = str(error.instance)
            hint = suggest.did_you_mean(word, _TYPES, f"One of {suggest.one_of(_TYPES)}, or a list of them.")
            synonym = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "dict": "object",
                       "map": "object", "list": "array", "date": "string", "any": None}.get(word.lower())  # fmt: skip
            if synonym:
                hint = f"Did you mean `{synonym}`?"
            yield "InvalidSchema", location, f"{word!r} is no type of JSON Schema", hint
        else:
            yield "InvalidSchema", location, f"not a JSON Schema: {error.message[:200]}", None


class _Walk:
    """One pass over every subschema, iterative and bounded."""

    def __init__(self, defs: Mapping[str, Any]) -> None:
        self.defs = defs
        self.found: list[Found] = []
        self.stopped = False

    def say(self, at: model.Location, message: str, hint: str | None = None) -> None:
        self.found.append(("InvalidSchema", at, message, hint))

    def run(self, schema: Any, at: model.Location) -> None:
        waiting: list[tuple[Any, model.Location, int]] = [(schema, at, 0)]
        count = 0
        while waiting:
            node, here, depth = waiting.pop()
            count += 1
            if count > MAX_NODES or depth > MAX_DEPTH:
                what = f"more than {MAX_NODES:,} parts" if count > MAX_NODES else f"more than {MAX_DEPTH} levels"
                self.say(at, f"the schema has {what}", "Make it smaller, or share parts under `spec.$defs`.")
                self.stopped = True
                return
            if node.__class__ is not dict:
                continue
            for key, value in node.items():
                if key in _MAPS:
                    if isinstance(value, dict):
                        if key == "patternProperties":
                            for pattern in value:
                                self.pattern(pattern, (*here, key, pattern))
                        waiting.extend((inner, (*here, key, name), depth + 1) for name, inner in value.items())
                elif key in _ONES:
                    waiting.append((value, (*here, key), depth + 1))
                elif key in _LISTS:
                    if isinstance(value, list):
                        waiting.extend((inner, (*here, key, i), depth + 1) for i, inner in enumerate(value))
                elif key == "$ref":
                    self.reference(value, (*here, key))
                elif key == "pattern":
                    self.pattern(value, (*here, key))
                elif key in _REFUSED:
                    self.say(
                        (*here, key),
                        f"`{key}` is not used in manifests",
                        f"{_REFUSED[key][0].upper()}{_REFUSED[key][1:]}.",
                    )
                elif key == "$schema" and value != DIALECT:
                    self.say((*here, key), f"the dialect {value!r} is not known", f"Leave it out: it is {DIALECT}.")

    def reference(self, value: Any, at: model.Location) -> None:
        if not isinstance(value, str) or not value.startswith(DEFS) or "/" in value[len(DEFS) :]:
            self.say(at, f"`$ref: {value}` leads out of the manifest", 'Only `$ref: "#/$defs/Name"` is allowed.')
        elif value[len(DEFS) :] not in self.defs:
            name = value[len(DEFS) :]
            hint = suggest.did_you_mean(name, self.defs, "Define it under `spec.$defs`.")
            self.say(at, f"`spec.$defs` has no {name!r}", hint)

    def pattern(self, value: Any, at: model.Location) -> None:
        if not isinstance(value, str):
            return
        if len(value) > MAX_PATTERN:
            self.say(at, f"the pattern has more than {MAX_PATTERN} characters", "Make it shorter.")
        elif not _is_linear(value):
            hint = "Check its syntax; look-around, back-references and very large repetitions are not supported."
            self.say(at, f"the pattern {value[:80]!r} is not usable", hint)


def _is_linear(pattern: str) -> bool:
    try:
        jsonschema_rs.Draft202012Validator({"pattern": pattern}, offline=True, pattern_options=_linear())
    except (jsonschema_rs.ValidationError, ValueError):
        return False
    return True


def _leads_to_itself(name: str, defs: Mapping[str, Any]) -> bool:
    """Whether validating one value by `name` would come back to `name` without stepping into the value."""
    waiting, seen = [name], set[str]()
    while waiting:
        for target in _in_place(defs.get(waiting.pop())):
            if target == name:
                return True
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return False


def _weight(name: str, defs: Mapping[str, Any], weights: dict[str, int], depth: int = 0) -> int:
    """How many shared schemas validating one value by `name` applies to it, repetitions counted."""
    if name not in weights:
        weights[name] = (
            MAX_NODES + 1
            if depth > MAX_DEPTH
            else 1 + sum(_weight(target, defs, weights, depth + 1) for target in _in_place(defs.get(name)))
        )
    return weights[name]


def _in_place(schema: Any) -> Iterable[str]:
    """Names that a schema applies to the very value it is asked about."""
    waiting, count = [schema], 0
    while waiting and count < MAX_NODES:
        node = waiting.pop()
        count += 1
        if not isinstance(node, dict):
            continue
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith(DEFS):
            yield reference[len(DEFS) :]
        for key in _IN_PLACE:
            value = node.get(key)
            waiting.extend(value if isinstance(value, list) else [value])
