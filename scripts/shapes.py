"""Tables of keys out of the JSON Schemas of the manifests, for `docs/manifests.md`.

Works on what `schemas.schema_for` gives, so that the page says what validation does. Forms that have a name in
`agentos_engine.fields` are shown by that name; everything else is put into words here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from agentos_engine import blocks, fields, kind, literals, schemas
from agentos_engine.kinds.policy import spec as policy
from agentos_engine.kinds.workflow import spec as workflow

Json = Mapping[str, Any]

_NAMED: Mapping[str, Any] = {
    "[name](#formats)": fields.Name,
    "[id](#formats)": fields.Id,
    "[operation id](#formats)": fields.OperationId,
    "[operation](#formats)": fields.Operation,
    "[CEL](#expressions)": fields.Expression,
    "[duration](#formats)": fields.Duration,
    "[error class](#errors)": fields.ErrorClass,
    "[secret name](#formats)": fields.SecretName,
    "header name": fields.HeaderName,
    "[host](#formats)": fields.Host,
    "[URL](#formats)": fields.HttpUrl,
    "[time](#formats)": fields.Time,
    "[JSON Schema](#json-schemas)": fields.JsonSchema,
    "[approver](#formats)": workflow.Approver,
    "[label key](#formats)": policy.LabelKey,
    "[label value](#formats)": policy.LabelValue,
}
FORMATS: Mapping[str, str] = {
    "name": fields.NAME_PATTERN,
    "id": fields.ID_PATTERN,
    "operation id": fields.OPERATION_ID_PATTERN,
    "operation": fields.OPERATION_PATTERN,
    "duration": literals.DURATION_PATTERN,
    "secret name": fields.SECRET_PATTERN,
    "host": fields.HOST_PATTERN,
    "URL": fields.URL_PATTERN,
    "time": fields.TIME_PATTERN,
    "approver": fields.APPROVER_PATTERN,
    "label key": fields.LABEL_KEY_PATTERN,
    "label value": fields.LABEL_VALUE_PATTERN,
}
"""Words of the tables to the patterns they stand for; `fields.PATTERN_HELP` says each in a sentence."""
_NOTES = frozenset({"description", "default", "examples", "patternErrorMessage", "title"})
_WORDS = {"string": "text", "array": "list", "object": "map", "integer": "integer", "boolean": "true or false"}
_ALIKE = {"ModelBlock": "ModelSpec", "AgentBlock": "AgentSpec"}


@cache
def definitions() -> dict[str, Json]:
    """Every shape of every kind by name."""
    found: dict[str, Json] = schemas.any_schema()["$defs"]
    return found


@cache
def shared() -> tuple[str, ...]:
    """Shapes that several kinds use: they have a section of their own."""
    users: dict[str, set[str]] = {}
    for name in kind.kinds():
        for shape in _reachable(spec_of(name)):
            users.setdefault(shape, set()).add(name)
    return tuple(sorted(name for name, used in users.items() if len(used) > 1))


def spec_of(kind_name: str) -> str:
    """Name of the shape of a kind's spec."""
    return kind.kinds()[kind_name].spec.__name__


def own(kind_name: str) -> list[str]:
    """Shapes that only this kind uses, in the order in which they are met."""
    return [name for name in _reachable(spec_of(kind_name))[1:] if name not in shared()]


def anchor(shape: str) -> str:
    """Where a shape is described on the page."""
    shape = _ALIKE.get(shape, shape)
    of_kind = {spec_of(name): name for name in kind.kinds()}
    return of_kind.get(shape, shape).lower()


def title(shape: str) -> str:
    """How a shape is called in a table."""
    shape = _ALIKE.get(shape, shape)
    of_kind = {spec_of(name): f"spec of {name}" for name in kind.kinds()}
    return of_kind.get(shape, shape)


def table(shape: str) -> Iterator[str]:
    """The keys of a shape as a Markdown table."""
    schema = definitions()[shape]
    required = schema.get("required", ())
    yield "| key | value | default | |"
    yield "|---|---|---|---|"
    for key, value in schema["properties"].items():
        default = "*required*" if key in required else _default(value)
        yield f"| `{key}` | {cell(form(value))} | {default} | {cell(about(value))} |"


def about(schema: Json) -> str:
    """What a key is for: its own description, else that of the shape it holds."""
    if "description" in schema:
        return str(schema["description"])
    return str(definitions()[_target(schema)]["description"]) if "$ref" in schema else ""


def form(schema: Json) -> str:
    """What may stand there, in words."""
    if (named := _named(schema)) is not None:
        return named
    if "$ref" in schema:
        return f"[{title(_target(schema))}](#{anchor(_target(schema))})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " ".join(f"`{value}`" for value in schema["enum"])
    type_ = schema.get("type")
    if isinstance(type_, list):
        return " or ".join(_of_union(schema, each) for each in type_)
    if type_ == "array":
        return _list(schema)
    if type_ == "object":
        return _map(schema)
    if type_ is None:
        return "any value"
    word = _WORDS.get(str(type_), str(type_))
    bounds = _bounds(schema)
    return f"{word}, {bounds}" if bounds else word


def cell(text: str) -> str:
    """Text as it may stand in a cell of a table."""
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def _of_union(schema: Json, type_: str) -> str:
    for rule in schema.get("allOf", ()):
        if rule["if"] == {"type": type_}:
            then: Json = rule["then"]
            return form(then if "$ref" in then else {"type": type_, **then})
    return form({"type": type_})


def _list(schema: Json) -> str:
    items = schema.get("items")
    text = f"list of {form(items)}" if items else "list"
    least, most = schema.get("minItems"), schema.get("maxItems")
    if least and most:
        return f"{text}, {least} to {most}"
    return f"{text}, at least {least}" if least else f"{text}, at most {most}" if most else text


def _map(schema: Json) -> str:
    if "propertyNames" not in schema and not isinstance(schema.get("additionalProperties"), Mapping):
        return "map of arguments" if schema.get("type") == "object" else "map"
    keys = form({"type": "string", **schema["propertyNames"]}) if "propertyNames" in schema else "text"
    values = schema.get("additionalProperties") or {}
    return f"map of {keys} to {form(values)}"


def _bounds(schema: Json) -> str:
    if "pattern" in schema:
        help_ = fields.PATTERN_HELP.get(schema["pattern"])
        return f"{help_[0].lower()}{help_[1:].rstrip('.')}" if help_ else f"`{schema['pattern']}`"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    if low is not None:
        return f"at least {low:,}"
    short, long = schema.get("minLength"), schema.get("maxLength")
    if long is not None:
        return f"{short or 0} to {long:,} characters" if short else f"at most {long:,} characters"
    return ""


def _default(schema: Json) -> str:
    if "default" not in schema:
        return ""
    return f"`{json.dumps(schema['default'])}`"


def _named(schema: Json) -> str | None:
    bare = _bare(schema)
    return _forms().get(_key({**bare, "examples": schema["examples"]} if "examples" in schema else bare)) or (
        _forms().get(_key(bare)) if bare != {"type": "object"} else None
    )


@cache
def _forms() -> dict[str, str]:
    found = {}
    for word, annotation in _NAMED.items():
        schema = schemas.rewrite(TypeAdapter(annotation).json_schema())
        if "pattern" in schema:
            found[_key(_bare(schema))] = word
        found[_key({**_bare(schema), **({"examples": schema["examples"]} if "examples" in schema else {})})] = word
    provider = TypeAdapter(blocks.Provider).json_schema()
    found[_key(_bare(provider))] = "[provider](#providers)"
    text = {"type": ["string", "object"], "allOf": [{"if": {"type": "object"}, "then": {"$ref": "#/$defs/FileText"}}]}
    found[_key(text)] = "[text](#texts)"
    return found


def _bare(schema: Json) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in _NOTES}


def _key(schema: Json) -> str:
    return json.dumps(schema, sort_keys=True)


def _target(schema: Json) -> str:
    return str(schema["$ref"]).removeprefix("#/$defs/")


def _reachable(root: str) -> list[str]:
    """Shapes used below `root`, itself first. A Model or Agent in place is described with its kind."""
    found: dict[str, None] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop(0)
        if name in found or name in _ALIKE:
            continue
        found[name] = None
        waiting += dict.fromkeys(re.findall(r'"#/\$defs/([A-Za-z]+)"', json.dumps(definitions()[name])))
    return list(found)
