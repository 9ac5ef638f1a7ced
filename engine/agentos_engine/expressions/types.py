"""The types the checker reasons with, derived from JSON Schema.

A type says what an expression may do with a value; whether a value *has* that type is for JSON Schema to say.

`loose` marks values as JSON carries them: a ``number`` that may be written ``2``, a time or a duration that is text.
The checker turns a loose value into the exact one where an operation needs it. The constants `DOUBLE`, `TIMESTAMP` and
`DURATION` are loose, because scopes describe data.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal[
    "any", "null", "bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration", "list", "map",
    "object", "optional", "type", "error",
]  # fmt: skip

_MAX_ENUM = 64
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Type:
    """One type. `item` is the element of a list, the value of a map, the content of an optional.

    `fields` belongs to an object; `required` are those a caller must give; `open` allows further, undeclared ones.
    `enum` holds the only values possible, where they are known. `kind` "error" stands for "already reported".
    """

    kind: Kind
    item: Type | None = None
    fields: Mapping[str, Type] | None = None
    required: frozenset[str] = frozenset()
    open: bool = False
    nullable: bool = False
    loose: bool = False
    enum: tuple[Any, ...] | None = None
    name: str | None = None

    def __hash__(self) -> int:
        return hash((self.kind, self.nullable, self.loose, self.enum, self.item))

    def __str__(self) -> str:
        return describe(self)


DYN = Type("any")
NULL = Type("null", nullable=True)
BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double", loose=True)
STRING = Type("string")
BYTES = Type("bytes")
TIMESTAMP = Type("timestamp", loose=True)
DURATION = Type("duration", loose=True)
TYPE = Type("type")
ERROR = Type("error")
EXACT_DOUBLE = Type("double")
EXACT_TIMESTAMP = Type("timestamp")
EXACT_DURATION = Type("duration")
LIST = Type("list", item=DYN)
MAP = Type("map", item=DYN)

_WORDS: Mapping[str, str] = {"any": "an undeclared value", "int": "integer", "double": "number", "bool": "boolean"}
_SIMPLE: Mapping[str, Type] = {
    "string": STRING, "integer": INT, "number": DOUBLE, "boolean": BOOL, "null": NULL,
}  # fmt: skip
_FORMATS: Mapping[str, Type] = {"date-time": TIMESTAMP, "duration": DURATION}


def list_of(item: Type) -> Type:
    """The type of a list of `item`."""
    return Type("list", item=item)


def map_of(value: Type) -> Type:
    """The type of a map from text to `value`."""
    return Type("map", item=value)


def object_type(
    fields: Mapping[str, Type],
    open: bool = False,  # noqa: A002 - the word JSON Schema's readers expect
    *,
    name: str | None = None,
    required: Iterable[str] | None = None,
) -> Type:
    """An object of `fields`; without `required`, those that are not nullable count as required."""
    names = (field for field, kind in fields.items() if not kind.nullable) if required is None else required
    return Type("object", fields=fields, open=open, name=name, required=frozenset(names))


def nullable(kind: Type) -> Type:
    """`kind`, or null."""
    if kind.nullable or kind.kind in ("any", "error", "optional"):
        return kind
    # Twice as fast as `replace`, and asked for every field of every schema.
    return Type(kind.kind, kind.item, kind.fields, kind.required, kind.open, True, kind.loose, kind.enum, kind.name)


def non_null(kind: Type) -> Type:
    """`kind` after a test has ruled null out."""
    if not kind.nullable:
        return kind
    return DYN if kind.kind == "null" else replace(kind, nullable=False)


def exact(kind: Type) -> Type:
    """`kind` after the conversion from its JSON form, and without the knowledge of its only values."""
    return replace(kind, loose=False, enum=None) if kind.loose or kind.enum else kind


def literal(value: str | int | bool) -> Type:
    """The type of a constant."""
    base = BOOL if isinstance(value, bool) else INT if isinstance(value, int) else STRING
    return Type(base.kind, enum=(value,))


def describe(kind: Type) -> str:
    """`kind` in words for a message: ``list of integer or null``."""
    if kind.kind == "list" and kind.item is not None and kind.item.kind != "any":
        word = f"list of {describe(kind.item)}"
    elif kind.kind == "map" and kind.item is not None and kind.item.kind != "any":
        word = f"map of {describe(kind.item)}"
    else:
        word = kind.name or _WORDS.get(kind.kind, kind.kind)
    return f"{word} or null" if kind.nullable and kind.kind != "null" else word


def from_schema(schema: Mapping[str, Any] | bool, defs: Mapping[str, Any] | None = None) -> Type:
    """The type of the values `schema` (JSON Schema 2020-12) allows.

    `defs` are what ``#/$defs/name`` and the bare names of shared types refer to; the schema's own ``$defs`` come first.
    A cycle of references, a union other than with null, and whatever says nothing about types is `DYN`. A property
    that is not required and has no default may be null. An object is open only where it says
    ``additionalProperties``: a misspelt field is a likelier guess than an undeclared one.
    """
    if isinstance(schema, bool):
        return DYN
    own = schema.get("$defs")
    merged = {**(defs or {}), **own} if isinstance(own, Mapping) else (defs or {})
    return _Reader(merged).read(schema, 0)


class _Reader:
    """One reading of a schema: the definitions, those being read, and those already read."""

    __slots__ = ("active", "defs", "done")

    def __init__(self, defs: Mapping[str, Any]) -> None:
        self.defs = defs
        self.active: set[str] = set()
        self.done: dict[str, Type] = {}

    def read(self, schema: Any, depth: int) -> Type:
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return DYN
        reference = schema.get("$ref")
        if reference is not None:
            return self._reference(reference, depth)
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return self._union([self.read(part, depth + 1) for part in schema[union]])
        if "allOf" in schema:
            return self._intersection(schema, depth)
        if "const" in schema:
            return self._values([schema["const"]], schema.get("type"))
        if "enum" in schema:
            return self._values(schema["enum"], schema.get("type"))
        named = schema.get("type")
        if isinstance(named, (list, tuple)):
            return self._union([self.read({**schema, "type": one}, depth + 1) for one in named])
        if named == "string":
            return _FORMATS.get(schema.get("format", ""), STRING)
        if named == "array" or (named is None and "items" in schema):
            return list_of(self.read(schema.get("items"), depth + 1))
        if named == "object" or (named is None and "properties" in schema):
            return self._object(schema, depth)
        return _SIMPLE.get(named, DYN) if isinstance(named, str) else DYN

    def _reference(self, reference: Any, depth: int) -> Type:
        if not isinstance(reference, str):
            return DYN
        name = reference.removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")
        if name in self.done:
            return self.done[name]
        if name in self.active or name not in self.defs:
            return DYN
        self.active.add(name)
        kind = self.read(self.defs[name], depth + 1)
        self.active.discard(name)
        if kind.kind == "object" and kind.name is None:
            kind = replace(kind, name=name)
        self.done[name] = kind
        return kind

    def _union(self, parts: list[Type]) -> Type:
        may_be_null = any(part.nullable for part in parts)
        others = [part for part in parts if part.kind != "null"]
        if not others:
            return NULL if parts else DYN
        kind = others[0]
        for other in others[1:]:
            kind = kind if kind == other else join(kind, other) if _numbers(kind, other) or kind.enum else DYN
        return nullable(kind) if may_be_null else kind

    def _intersection(self, schema: Mapping[str, Any], depth: int) -> Type:
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        parts = [self.read(part, depth + 1) for part in schema["allOf"] if isinstance(part, Mapping)]
        if "type" in rest or "properties" in rest:
            parts.insert(0, self.read(rest, depth + 1))
        known = [part for part in parts if part.kind != "any"]
        if not known:
            return DYN
        if all(part.kind == "object" for part in known):
            fields: dict[str, Type] = {}
            required: frozenset[str] = frozenset()
            for part in known:
                required |= part.required
                fields.update(part.fields or {})
            fields = {key: non_null(kind) if key in required else kind for key, kind in fields.items()}
            return Type("object", fields=fields, required=required, open=any(part.open for part in known))
        return known[0]

    def _values(self, values: Any, named: Any) -> Type:
        """`enum` and `const`: one scalar type with its only values, or what is common to them."""
        if not isinstance(values, (list, tuple)):
            return DYN
        present = [value for value in values if value is not None]
        kinds = {_scalar(value) for value in present}
        if not present:
            return NULL
        if kinds <= {"int", "double"} and (len(kinds) > 1 or named == "number"):
            kind = DOUBLE
        elif len(kinds) == 1 and (only := kinds.pop()) is not None:
            kind = Type(only, loose=only == "double", enum=tuple(present) if len(present) <= _MAX_ENUM else None)
        else:
            return DYN
        return nullable(kind) if len(present) < len(values) else kind

    def _object(self, schema: Mapping[str, Any], depth: int) -> Type:
        properties = schema.get("properties")
        extra = schema.get("additionalProperties")
        if not isinstance(properties, Mapping) or not properties:
            return map_of(self.read(extra, depth + 1)) if isinstance(extra, Mapping) else MAP
        required = schema.get("required")
        needed = frozenset(required) if isinstance(required, (list, tuple)) else frozenset()
        fields: dict[str, Type] = {}
        for name, part in properties.items():
            kind = self.read(part, depth + 1)
            given = name in needed or (isinstance(part, Mapping) and part.get("default") is not None)
            fields[name] = kind if given else nullable(kind)
        is_open = extra is True or isinstance(extra, Mapping)
        title = schema.get("title")
        name = title if isinstance(title, str) else None
        return Type("object", fields=fields, required=needed, open=is_open, name=name)


def _scalar(value: Any) -> Kind | None:
    if isinstance(value, bool):
        return "bool"
    return (
        "int"
        if isinstance(value, int)
        else "double"
        if isinstance(value, float)
        else ("string" if isinstance(value, str) else None)
    )


def _numbers(left: Type, right: Type) -> bool:
    return left.kind in ("int", "double") and right.kind in ("int", "double")


def join(left: Type, right: Type) -> Type:
    """The type of a value that is either; an integer or a number is a loose number, unlike things are `DYN`."""
    if left is right or left == right:
        return left
    if left.kind == "error" or right.kind == "error":
        return ERROR
    may_be_null = left.nullable or right.nullable
    if left.kind == "null" or right.kind == "null":
        return nullable(right if left.kind == "null" else left)
    if left.kind == right.kind:
        kind = _join_same(left, right)
    else:
        kind = DOUBLE if _numbers(left, right) else MAP if {left.kind, right.kind} == {"object", "map"} else DYN
    return nullable(kind) if may_be_null else non_null(kind) if kind.nullable else kind


def _join_same(left: Type, right: Type) -> Type:
    if left.kind in ("list", "map", "optional"):
        return Type(left.kind, item=join(left.item or DYN, right.item or DYN))
    if left.kind == "object":
        if left.fields == right.fields and left.open == right.open:
            return left
        ours, theirs = left.fields or {}, right.fields or {}
        fields = {name: join(kind, theirs[name]) for name, kind in ours.items() if name in theirs}
        same = ours.keys() == theirs.keys() and left.open == right.open
        return Type("object", fields=fields, required=left.required & right.required, open=left.open or not same)
    enum = None
    if left.enum is not None and right.enum is not None:
        both = tuple(dict.fromkeys(left.enum + right.enum))
        enum = both if len(both) <= _MAX_ENUM else None
    if left.kind in ("timestamp", "duration") and left.loose != right.loose:
        return DYN
    return Type(left.kind, loose=left.loose or right.loose, enum=enum)


def assignable(source: Type, target: Type) -> bool:
    """Whether a value of `source` may stand where `target` is wanted; undeclared values are left to the run."""
    return next(mismatches(source, target), None) is None


def mismatches(source: Type, target: Type, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Why a value of `source` cannot stand where `target` is wanted, as (path of fields, message).

    JSON is what crosses: an integer is a number, and text may hold a time or a duration. A missing argument, an
    argument the target does not declare, and a value that may be null where null is not allowed are mismatches.
    """
    if {source.kind, target.kind} & {"any", "error"}:
        return
    if source.kind == "null" or (source.nullable and not target.nullable):
        if not target.nullable:
            yield at, f"may be null, but {describe(target)} is wanted"
        return
    if source.kind == target.kind and source.kind in ("list", "map"):
        yield from mismatches(source.item or DYN, target.item or DYN, (*at, "[]" if source.kind == "list" else "{}"))
    elif source.kind == "object" and target.kind == "map":
        for name, kind in (source.fields or {}).items():
            yield from mismatches(kind, target.item or DYN, (*at, name))
    elif source.kind == "object" and target.kind == "object":
        yield from _object_mismatches(source, target, at)
    elif source.kind == "map" and target.kind == "object":
        return
    elif not _same_json(source, target):
        yield at, f"is {describe(source)}, but {describe(target)} is wanted"
    elif source.enum is not None and target.enum is not None and not set(source.enum) <= set(target.enum):
        wrong = next(value for value in source.enum if value not in target.enum)
        yield at, f"may be {wrong!r}, but only {', '.join(map(repr, target.enum[:8]))} is allowed"


def _object_mismatches(source: Type, target: Type, at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    given, wanted = source.fields or {}, target.fields or {}
    for name, kind in given.items():
        if name in wanted:
            # A field that may be left out may be given as null: it then counts as left out.
            accepts = wanted[name] if name in target.required else nullable(wanted[name])
            yield from mismatches(kind, accepts, (*at, name))
        elif not target.open:
            close = difflib.get_close_matches(name, wanted, 1)
            yield (*at, name), "is not declared" + (f"; did you mean {close[0]!r}?" if close else "")
    if not source.open:
        for name in sorted(target.required - given.keys()):
            yield (*at, name), "is required and missing"


def _same_json(source: Type, target: Type) -> bool:
    if source.kind == target.kind:
        return True
    numbers = ("int", "uint", "double")
    if source.kind in numbers and target.kind in numbers:
        return target.kind == "double" or source.kind != "double"
    texts = ("string", "timestamp", "duration", "bytes")
    return source.kind in texts and target.kind in texts and "string" in (source.kind, target.kind)
