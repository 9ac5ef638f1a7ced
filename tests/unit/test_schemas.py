"""The shipped schemas: up to date, exact, and as the measured rules for editors want them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import agentos_engine
from agentos_engine import explain, fields, kind, model, schemas, words, yamltext

REPOSITORY = Path(agentos_engine.__file__).parents[2]
KINDS = list(kind.kinds())


def test_the_files_are_what_the_specs_say(tmp_path: Path) -> None:
    written = {path.name: path.read_bytes() for path in schemas.write(tmp_path)}
    assert written == {path.name: path.read_bytes() for path in (REPOSITORY / "schema" / "v1").glob("*.json")}


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for key, inner in value.items():
            if key != "examples":
                yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


@pytest.mark.parametrize("name", [*KINDS, "Manifest"])
def test_every_schema_is_sound_and_explains_itself(name: str) -> None:
    schema = schemas.shipped(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == name
    for node in _nodes({key: value for key, value in schema.items() if key != "title"}):
        assert "oneOf" not in node
        assert "anyOf" not in node
        assert "title" not in node
        if isinstance(node.get("$ref"), str):
            assert node["$ref"].removeprefix("#/$defs/") in schema["$defs"]
        if node.get("type") == "object" and "properties" in node and "reduce" not in node["properties"]:
            assert node.get("additionalProperties") is False
            free = "^(?!agentos/)" if model.DELETION in node["properties"] else "^x-"
            assert list(node["patternProperties"]) == [free]
        if isinstance(node.get("pattern"), str):
            assert node["pattern"] in fields.PATTERN_HELP


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_and_any_manifest_agree(name: str) -> None:
    folder = REPOSITORY / "engine" / "agentos_engine" / "kinds" / name.lower() / "testdata"
    oracle = jsonschema.Draft202012Validator(schemas.shipped(name))
    for path in [*folder.glob("ok-*.yaml"), *folder.glob("bad-*.yaml")]:
        for document in yamltext.parse(path.read_bytes()).documents:
            one = schemas.validator(name).is_valid(document.data)
            assert one == schemas.validator("Manifest").is_valid(document.data)
            assert one == oracle.is_valid(document.data)


def test_every_error_of_a_schema_is_explained() -> None:
    used = {key for name in KINDS for node in _nodes(schemas.shipped(name)) for key in node}
    checking = used & {
        "type", "enum", "const", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
        "minProperties", "maxProperties", "required", "additionalProperties", "propertyNames", "exclusiveMinimum",
        "exclusiveMaximum", "multipleOf", "uniqueItems", "format", "not", "contains", "dependentRequired",
    }  # fmt: skip
    explained = {*explain.EXPLAINED, "required", "additionalProperties", "propertyNames"}
    assert checking <= explained


def test_words_from_elsewhere_are_not_words_of_ours() -> None:
    definitions = schemas.shipped("Manifest")["$defs"]
    for shape, keys in words.known().items():
        known = definitions[shape]["properties"] if shape in definitions else {}
        assert not set(keys) & set(known), shape
        assert shape in {*definitions, "Metadata", "Manifest"}, shape


def test_descriptions_come_from_the_specs() -> None:
    step = schemas.shipped("Workflow")["$defs"]["Step"]
    assert step["properties"]["when"]["description"] == "False: the step is skipped."
    assert not [key for key, value in step["properties"].items() if re.search("``", value.get("description", ""))]
