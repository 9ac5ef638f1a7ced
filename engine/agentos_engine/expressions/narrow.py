"""What a test tells about null: the paths that cannot be null where it held, or where it did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agentos_engine.expressions import grammar, types

Path = tuple[str, ...]
NOTHING: frozenset[Path] = frozenset()


def path_of(node: grammar.Node) -> Path | None:
    """The chain of names `node` is, as ``("steps", "pull", "output")``; None if it is anything else."""
    parts: list[str] = []
    while True:
        if isinstance(node, grammar.Select) and not node.optional:
            parts.append(node.field)
            node = node.of
        elif isinstance(node, grammar.Index) and isinstance(node.key, grammar.Constant) and not node.optional:
            if node.key.kind != "string":
                return None
            parts.append(node.key.value)
            node = node.of
        elif isinstance(node, grammar.Name):
            parts.append(node.name)
            return tuple(reversed(parts))
        else:
            return None


def facts(test: grammar.Node, holds: bool) -> frozenset[Path]:
    """The paths that are not null, given that `test` came out as `holds`."""
    if isinstance(test, grammar.Logic):
        parts = [facts(part, holds) for part in test.parts]
        return frozenset().union(*parts) if (test.sign == "&&") == holds else frozenset.intersection(*parts)
    if isinstance(test, grammar.Unary) and test.sign == "!":
        return facts(test.of, not holds)
    if isinstance(test, grammar.Binary) and test.sign in ("==", "!="):
        same = (test.sign == "==") == holds
        for one, other in ((test.left, test.right), (test.right, test.left)):
            path = path_of(one)
            if path is not None and isinstance(other, grammar.Constant) and (other.kind == "null") != same:
                return frozenset((path,))
    if isinstance(test, grammar.Call) and holds and test.of is None and test.name == "has" and len(test.args) == 1:
        path = path_of(test.args[0])
        return frozenset((path,)) if path is not None else NOTHING
    return NOTHING


def refine(kind: types.Type, variable: str, known: frozenset[Path]) -> types.Type:
    """`kind`, the type of `variable`, with what is `known` of it and of its fields."""
    paths = [path[1:] for path in known if path[0] == variable]
    return _refine(kind, paths) if paths else kind


def _refine(kind: types.Type, paths: list[Path]) -> types.Type:
    if () in paths:
        kind = types.non_null(kind)
    fields: Mapping[str, types.Type] | None = kind.fields
    if fields is None:
        return kind
    changed = {
        name: _refine(fields[name], [path[1:] for path in paths if path and path[0] == name])
        for name in {path[0] for path in paths if path}
        if name in fields
    }
    return replace(kind, fields={**fields, **changed}) if changed else kind
