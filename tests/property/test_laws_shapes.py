"""Types become schemas that mean the same, and a schema made to stand by itself still does."""

from __future__ import annotations

import jsonschema_rs
from hypothesis import given
from hypothesis import strategies as st

from agentos_engine.expressions import types
from agentos_engine.lowering import shapes

SCALARS = st.sampled_from([types.BOOL, types.INT, types.DOUBLE, types.STRING, types.TIMESTAMP, types.DYN])


def objects(inner: st.SearchStrategy[types.Type]) -> st.SearchStrategy[types.Type]:
    return st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, min_size=1, max_size=3).map(types.object_type)


TYPES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        inner.map(types.list_of), inner.map(types.map_of), objects(inner), inner.map(types.nullable)
    ),
    max_leaves=6,
)


@given(TYPES)
def test_a_type_survives_the_way_through_its_schema(kind: types.Type) -> None:
    again = types.from_schema(shapes.to_schema(kind))
    assert types.assignable(kind, again)
    assert types.describe(again) == types.describe(kind)


@given(TYPES)
def test_the_schema_of_a_type_is_one(kind: types.Type) -> None:
    jsonschema_rs.validator_for(shapes.to_schema(kind))


def test_a_schema_takes_along_what_it_refers_to_and_no_more() -> None:
    defs = {
        "A": {"type": "object", "properties": {"b": {"$ref": "#/$defs/B"}}},
        "B": {"type": "integer"},
        "C": {"type": "string"},
    }
    alone = shapes.standalone({"type": "array", "items": {"$ref": "#/$defs/A"}}, defs)
    assert alone is not None
    assert list(alone["$defs"]) == ["A", "B"]
    assert jsonschema_rs.is_valid(alone, [{"b": 1}])
    assert not jsonschema_rs.is_valid(alone, [{"b": "x"}])


def test_a_bare_reference_becomes_what_it_refers_to() -> None:
    defs = {"A": {"$ref": "#/$defs/B"}, "B": {"type": "integer"}}
    assert shapes.standalone({"$ref": "#/$defs/A"}, defs) == {"type": "integer"}


def test_a_ring_of_references_ends() -> None:
    defs = {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}
    alone = shapes.standalone({"$ref": "#/$defs/A"}, defs)
    assert alone is not None
    assert alone["$ref"].startswith("#/$defs/")
