"""Laws of loading: JSON is YAML, the oracle agrees, nothing raises, what is stored comes back, order means nothing."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

import agentos_engine
from agentos_engine import errors, kind, load, model, resolve, schemas, yamltext

FOLDER = Path(agentos_engine.__file__).parent / "kinds"
DOCUMENTS: list[dict[str, Any]] = [
    document.data
    for path in sorted(FOLDER.glob("*/testdata/ok-*.yaml"))
    for document in yamltext.parse(path.read_bytes()).documents
]
TEXT = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs", "S"]), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | TEXT
VALUES = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT.filter(lambda key: key != "<<"), inner, max_size=4)
    ),
    max_leaves=20,
)
ORACLES = {name: jsonschema.Draft202012Validator(schemas.shipped(name)) for name in kind.kinds()}


@given(VALUES)
def test_json_is_yaml_and_every_position_is_right(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    (document,) = yamltext.parse(text.encode()).documents
    assert not document.problems
    assert document.data == value
    lines = text.split("\n")
    for location, position in document.positions.values.items():
        at: Any = value
        for part in location:
            at = at[part]
        begin = json.dumps(at, ensure_ascii=False)[0 if isinstance(at, (dict, list)) else slice(None)]
        assert lines[position.line - 1][position.column - 1 :].startswith(begin)


def _containers(value: Any) -> list[Any]:
    found = [value] if isinstance(value, (dict, list)) else []
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        found += _containers(inner)
    return found


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A good manifest with one to three small accidents."""
    document = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(1, 3))):
        container = draw(st.sampled_from([one for one in _containers(document) if one] or [document]))
        new = draw(SCALARS | st.just({}) | st.just([]) | st.sampled_from(["x-own", "${input.a}", "10m", "end"]))
        if isinstance(container, dict):
            key = draw(st.sampled_from(sorted(container, key=str)))
            accident = draw(st.sampled_from(["drop", "change", "rename", "add"]))
            old = container.pop(key) if accident in ("drop", "rename") else None
            if accident == "rename":
                container[draw(st.sampled_from([key + "x", key.upper(), "x-" + key, "nme"]))] = old
            elif accident == "change":
                container[key] = new
            elif accident == "add":
                container[draw(st.sampled_from(["when", "x-own", "extra", "name"]))] = new
        else:
            container[draw(st.integers(0, len(container) - 1))] = new
    return document


@settings(max_examples=300, deadline=None)
@given(mutated())
def test_the_schema_agrees_with_an_oracle_and_the_model_with_the_schema(document: dict[str, Any]) -> None:
    name = document.get("kind")
    if not isinstance(name, str) or name not in ORACLES:
        return
    valid = schemas.validator(name).is_valid(document)
    assert valid == ORACLES[name].is_valid(document)
    file = load.load(json.dumps(document).encode())
    if valid:
        kind.kinds()[name].spec.model_validate(document["spec"])
    else:
        assert not file.manifests
        assert file.diagnostics
    assert "not a JSON Schema: " not in str([one for one in file.diagnostics if one.code == "SchemaViolation"])


@settings(max_examples=200, deadline=None)
@given(mutated(), mutated())
def test_what_is_stored_comes_back(one: dict[str, Any], other: dict[str, Any]) -> None:
    file = load.load(f"{json.dumps(one)}\n---\n{json.dumps(other, indent=2)}\n".encode())
    again = load.File.unpack(file.pack())
    assert again.pack() == file.pack()
    assert [str(found) for found in again.at("a.yaml").diagnostics] == [
        str(found) for found in file.at("a.yaml").diagnostics
    ]
    told = {found for broken in file.broken for found in broken.diagnostics}
    assert file.lost or told == set(file.diagnostics)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.text("abk:[]{}\"'&*!|>-#? \n\t,%<\x00é", max_size=200).map(str.encode))
def test_no_bytes_raise(data: bytes) -> None:
    file = load.load(data)
    assert load.File.unpack(file.pack()).diagnostics == file.diagnostics
    for found in file.diagnostics:
        assert found.line >= 1
        assert found.column >= 1
        assert "diagnostic" in errors.REGISTRY[found.code].uses
    assert file.lost or not file.diagnostics


NAMES = ["a", "b", "c", "d", "e"]


@st.composite
def graphs(draw: st.DrawFn) -> list[model.Manifest]:
    """Workflows that call each other, some of them twice or not at all there."""
    found = []
    for index, name in enumerate(draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=7))):
        calls = draw(st.lists(st.sampled_from(NAMES), max_size=2))
        steps = ", ".join(f"s{i}: {{workflow: {called}}}" for i, called in enumerate(calls)) or "s: {set: {}}"
        text = f"apiVersion: agentos/v1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec: {{steps: {{{steps}}}}}\n"
        found += load.load(text.encode()).at(f"{index}.yaml").manifests
    return found


@settings(deadline=None)
@given(graphs().flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_resolving_does_not_depend_on_order(both: tuple[list[model.Manifest], list[model.Manifest]]) -> None:
    one, other = (resolve.resolve(manifests) for manifests in both)
    assert one.diagnostics == other.diagnostics
    assert [manifest.ref for manifest in one.order] == [manifest.ref for manifest in other.order]
    assert one.blocked.keys() == other.blocked.keys()
    done: set[model.ResourceRef] = set()
    for manifest in one.order:
        assert {reference.to for reference in manifest.references} <= done
        done.add(manifest.ref)
    refs = {manifest.ref for manifest in both[0]}
    assert refs == done | one.wrong.keys() | one.blocked.keys()
    assert len(refs) == len(done) + len(one.wrong) + len(one.blocked)
