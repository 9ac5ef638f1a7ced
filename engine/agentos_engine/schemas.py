"""JSON Schemas of the manifests: generated from the specs, shipped as files, loaded from those files to validate.

What pydantic emits validates alike but explains badly: an error in a union collapses to the union, and an editor cannot
follow it. `rewrite` turns it into what both jsonschema-rs and yaml-language-server report exactly: a union of text and
object becomes a `type` list with `if`/`then`, a nullable union its one form, and an object of fixed keys is closed but
for ``x-…``. Descriptions come from the docstrings under the fields. `write` makes the files; a test keeps them true.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
from pydantic import BaseModel

from agentos_engine import fields, kind, literals, model

VERSION = "2"
"""Raised whenever equal bytes may load to something else: the key of every cache of loaded files."""
Json = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def file_name(kind_name: str) -> str:
    """Name of the schema's file, ``workflow.json`` for ``Workflow``."""
    return f"{kind_name.lower()}.json"


@cache
def _texts() -> Mapping[str, bytes]:
    """The shipped schema files by name: inside the wheel, or in the repository of an editable install."""
    package = resources.files("agentos_engine")
    folder = package.joinpath("_schema", "v1")
    if not folder.is_dir():
        folder = resources.files("agentos_engine").joinpath("..", "..", "schema", "v1")
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.name.endswith(".json")}


@cache
def shipped(kind_name: str) -> Json:
    """The schema of one kind of manifest, or of any (``manifest``), as shipped.

    Raises:
        KeyError: no such kind.
    """
    document: Json = orjson.loads(_texts()[file_name(kind_name)])
    return document


@cache
def validator(kind_name: str) -> jsonschema_rs.Draft202012Validator:
    """The compiled schema of one kind of manifest."""
    return jsonschema_rs.Draft202012Validator(shipped(kind_name), offline=True)


def schema_for(kind_name: str) -> Json:
    """Generate the schema of one kind of manifest."""
    one = kind.kinds()[kind_name]
    definitions = _definitions(one.spec)
    return {
        "$schema": _DIALECT,
        "$id": f"urn:agentos:schema:v1:{kind_name.lower()}",
        "title": kind_name,
        "description": definitions[one.spec.__name__].get("description", ""),
        **_envelope({"const": kind_name}, {"$ref": f"#/$defs/{one.spec.__name__}"}),
        "$defs": dict(sorted(definitions.items())),
    }


def any_schema() -> Json:
    """Generate the schema of any manifest: `kind` chooses that of the spec."""
    definitions: Json = {}
    choices = []
    for name, one in kind.kinds().items():
        for key, definition in _definitions(one.spec).items():
            if definitions.setdefault(key, definition) != definition:
                raise ValueError(f"two kinds define {key} differently; rename one")
        choices.append(
            {
                "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
                "then": {"properties": {"spec": {"$ref": f"#/$defs/{one.spec.__name__}"}}},
            }
        )
    return {
        "$schema": _DIALECT,
        "$id": "urn:agentos:schema:v1:manifest",
        "title": "Manifest",
        "description": "Any manifest.",
        **_envelope({"enum": list(kind.kinds())}, {"type": "object"}),
        "allOf": choices,
        "$defs": dict(sorted(definitions.items())),
    }


def write(directory: Path) -> list[Path]:
    """Write every schema file to `directory`; the paths written."""
    documents = {file_name(name): schema_for(name) for name in kind.kinds()}
    documents["manifest.json"] = any_schema()
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, document in sorted(documents.items()):
        path = directory / name
        path.write_bytes(dump(document))
        paths.append(path)
    return paths


def dump(document: Json) -> bytes:
    """A schema as it stands in its file."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


_ANNOTATIONS: Json = {
    model.DELETION: {
        "enum": list(model.DELETIONS),
        "description": "What happens when the manifest is gone: `delete` (the default), `orphan` (it goes on serving), "
        "or `drain` (it takes no new runs, and goes when those in flight have ended).",
    },
    model.DRAIN_DEADLINE: {
        "type": "string",
        "pattern": literals.DURATION_PATTERN,
        "description": "How long `drain` waits at most; default: 1h.",
    },
}


def _envelope(kind_schema: Json, spec_schema: Json) -> Json:
    """apiVersion, kind, metadata and spec of a manifest."""
    metadata = {
        "description": "Name and labels.",
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": fields.NAME_PATTERN, "description": "Unique per tenant and kind."},
            "labels": {
                "type": "object",
                "propertyNames": {"pattern": fields.LABEL_KEY_PATTERN},
                "additionalProperties": {"type": "string", "pattern": fields.LABEL_VALUE_PATTERN},
                "maxProperties": 64,
                "description": "To select by.",
            },
            "annotations": {
                "type": "object",
                "propertyNames": {"pattern": fields.LABEL_KEY_PATTERN},
                "properties": _ANNOTATIONS,
                "patternProperties": {"^(?!agentos/)": {"type": "string", "maxLength": 4096}},
                "additionalProperties": False,
                "maxProperties": 64,
                "description": "Free text; only keys under `agentos/` change behaviour.",
            },
        },
        "required": ["name"],
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "apiVersion": {"const": kind.API_VERSION},
            "kind": kind_schema,
            "metadata": metadata,
            "spec": spec_schema,
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
    }


def _definitions(spec: type[BaseModel]) -> Json:
    """Every object of a spec under its class's name, rewritten and described."""
    raw = spec.model_json_schema(by_alias=True)
    definitions: Json = raw.pop("$defs", {})
    definitions[spec.__name__] = raw
    models = {model.__name__: model for model in _models(spec)}
    out: Json = {}
    for name, definition in definitions.items():
        model = models[name]
        for key, text in _descriptions(model).items():
            definition["properties"][key]["description"] = text
        definition["description"] = inspect.cleandoc(model.__doc__ or "").partition("\n")[0]
        out[name] = rewrite(definition)
        if issubclass(model, fields.Node):
            out[name] |= {"patternProperties": {"^x-": {}}, "additionalProperties": False}
    return out


def _models(root: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """`root` and every model its fields mention."""
    seen: set[type[BaseModel]] = set()
    waiting: list[Any] = [root]
    while waiting:
        item = waiting.pop()
        if inspect.isclass(item) and issubclass(item, BaseModel):
            if item in seen:
                continue
            seen.add(item)
            yield item
            waiting.extend(field.annotation for field in item.model_fields.values())
        else:
            waiting.extend(getattr(item, "__args__", ()))


def _descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings under a model's fields, by alias, inherited ones included."""
    found: dict[str, str] = {}
    for class_ in reversed(model.__mro__):
        if not issubclass(class_, BaseModel) or class_ in (BaseModel, kind.Spec, fields.Node):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(class_))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                text = after.value.value if _is_text(after) else None  # type: ignore[attr-defined]
                if text and (info := model.model_fields.get(statement.target.id)):
                    found[info.alias or statement.target.id] = " ".join(text.replace("``", "`").split())
    return found


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def rewrite(schema: Any) -> Any:
    """The same schema, in the form that explains itself (see the module's docstring)."""
    if isinstance(schema, list):
        return [rewrite(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out: Json = {}
    for key, value in schema.items():
        if key in ("title", "discriminator") and not isinstance(value, dict):
            continue
        if key == "default" and (value is None or isinstance(value, (dict, list))):
            continue
        if key == "properties":
            out[key] = {name: rewrite(inner) for name, inner in value.items()}
        elif key in ("default", "examples", "enum", "const", "required"):
            out[key] = value
        else:
            out[key] = rewrite(value)
    if out.get("additionalProperties") is True:
        del out["additionalProperties"]
    if (help_ := fields.PATTERN_HELP.get(out.get("pattern", ""))) is not None:
        out["patternErrorMessage"] = help_
    return _union(_keyed(out))


def _keyed(schema: Json) -> Json:
    """Maps with patterned keys: pydantic's `patternProperties` alone lets every other key pass."""
    patterns = schema.get("patternProperties")
    if schema.get("type") == "object" and "properties" not in schema and patterns and len(patterns) == 1:
        ((pattern, value),) = patterns.items()
        del schema["patternProperties"]
        schema |= {"propertyNames": {"pattern": pattern}, "additionalProperties": value}
    return schema


def _union(schema: Json) -> Json:
    """One form per JSON type instead of `anyOf`."""
    options = schema.pop("anyOf", None)
    if options is None:
        return schema
    forms: list[Json] = []
    for option in options:
        if option.get("type") == "null":
            continue
        forms.append(option)
    if len(forms) == 1:
        return {**forms[0], **schema}
    by_type = {_type_of(form): form for form in forms}
    if len(by_type) != len(forms):
        raise ValueError(f"a union holds two forms of one JSON type: {forms}")
    rules = [
        {"if": {"type": name}, "then": {key: value for key, value in form.items() if key != "type"}}
        for name, form in by_type.items()
        if set(form) != {"type"}
    ]
    return {"type": list(by_type), **({"allOf": rules} if rules else {}), **schema}


def _type_of(form: Json) -> str:
    if "$ref" in form:
        return "object"
    return str(form["type"])
