"""Checks one expression against the types in scope, and gives back the text that is stored and run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from agentos_engine.expressions import calls, convert, environment, grammar, infer, issues, operators, types
from agentos_engine.expressions.issues import Issue


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check.

    `text` is the source with conversions inserted (the source itself where issues other than MayBeNull were found),
    `type` what it gives, `names` the roots it uses, `paths` the chains of fields from those roots as far as static.
    """

    text: str
    type: types.Type
    names: frozenset[str]
    paths: frozenset[tuple[str, ...]]
    issues: tuple[Issue, ...]


_NONE: frozenset[str] = frozenset()
_NOWHERE: frozenset[tuple[str, ...]] = frozenset()
_DEEP = "nested too deeply"
_ORDINARY = re.compile(
    r"""(?>[ ]|[A-Za-z_][A-Za-z0-9_]*+|[0-9]{1,15}+(?:\.[0-9]{1,15}+)?+(?![A-Za-z0-9_.])
    |'[^'\\\r\n\0]*+'(?!')|"[^"\\\r\n\0]*+"(?!")
    |&&|\|\||[=!<>]=|[-+*/%!<>?:,()\[\]]|\.(?![?0-9]))*+""",
    re.VERBOSE,
).fullmatch
_DEEPENS = re.compile(r"[(\[!?]|&&|\|\||[=!<>]=|[-+*/%<>]").findall
_UNUSUAL = re.compile(
    r"[-!]\s*-|-\s*!|\[\s*\?|\b(?:[rRbB]{1,2}['\"]|(?:has|all|exists|exists_one|map|filter|bind)\s*\()"
).search
_SHORT, _SHALLOW = 400, 12
_RULES = (calls, operators)


def refuse(source: str, error: grammar.Refused) -> Issue:
    """The issue for a source that does not parse."""
    hint = issues.habit(source) if error.code == "ExpressionSyntax" else "split it over several steps"
    return Issue(error.code, error.message, hint, error.offset, error.length)


def check(source: str, scope: Mapping[str, types.Type], expect: types.Type | None = None) -> Checked:
    """Type `source` with the roots in `scope`; it must give `expect`, if that is asked for.

    With `expect=types.BOOL` a value that is no boolean is NotBoolean. Never raises; at most 20 issues.
    """
    return _check(source, scope, expect)


def _check(source: str, scope: Mapping[str, types.Type] | None, expect: types.Type | None) -> Checked:
    if scope is not None and (quick := _declared(source, scope, expect)) is not None:
        return quick
    return _walked(source, scope, expect)


def _declared(source: str, scope: Mapping[str, types.Type], expect: types.Type | None) -> Checked | None:
    """The answer for a chain of declared fields that are there and fit, as most expressions are; None for any other.

    A short cut and no rule: a property test holds that `_walked` says the same.
    """
    if (path := grammar.fields(source)) is None or len(path) > _SHALLOW or len(source) > _SHORT:
        return None
    kind = scope.get(path[0])
    for name in path[1:]:
        if kind is None or kind.kind != "object" or kind.nullable:
            return None
        kind = (kind.fields or {}).get(name)
    if kind is None or kind.kind == "optional":
        return None
    if expect is not None and kind.kind not in ("any", "error") and expect.kind != "any":
        if expect.kind == "bool" and (kind.kind != "bool" or (kind.nullable and not expect.nullable)):
            return None
        if expect.kind != "bool" and next(types.mismatches(kind, expect), None) is not None:
            return None
    return Checked(source, kind, frozenset(path[:1]), frozenset((path,)), ())


def _walked(source: str, scope: Mapping[str, types.Type] | None, expect: types.Type | None) -> Checked:
    try:
        tree = grammar.parse(source)
    except grammar.Refused as error:
        return Checked(source, types.ERROR, _NONE, _NOWHERE, (refuse(source, error),))
    walk = infer.Inference(source, scope)
    try:
        kind = walk.value(tree)
    except RecursionError:
        # The evaluator allows 32 levels; whatever ends up here is far beyond.
        return Checked(source, types.ERROR, _NONE, _NOWHERE, (_refused(source, _DEEP, 0, True),))
    if expect is not None and not walk.issues:
        _expected(walk, tree, kind, expect)
    # A value that may be null is a warning to most callers: the text has to run all the same.
    text = source if any(issue.code != "MayBeNull" for issue in walk.issues) else walk.rewritten()
    refused = None if _plain(text) else environment.refusal(text)
    if refused is not None:
        walk.issues.append(_refused(source, *refused))
        text = source
    return Checked(text, kind, frozenset(walk.names), frozenset(walk.paths), tuple(walk.issues))


def _plain(text: str) -> bool:
    """Whether CEL is sure to take `text`, which our own grammar took: ordinary tokens, few of them, no macros.

    Spares most expressions a second parser; a property test holds that it never says too much.
    """
    return (
        len(text) <= _SHORT
        and _ORDINARY(text) is not None
        and len(_DEEPENS(text)) <= _SHALLOW
        and _UNUSUAL(text) is None
    )


def _refused(source: str, message: str, offset: int, deep: bool) -> Issue:
    if deep:
        return Issue("ExpressionTooComplex", message, "split it over several steps", 0, max(1, len(source)))
    return Issue("ExpressionSyntax", message, issues.habit(source), min(offset, len(source)), 1)


def _expected(walk: infer.Inference, tree: grammar.Node, kind: types.Type, expect: types.Type) -> None:
    if kind.kind in ("any", "error") or expect.kind == "any":
        return
    if expect.kind != "bool":
        for at, message in types.mismatches(kind, expect):
            code = "MayBeNull" if message.startswith("may be null") else "TypeMismatch"
            walk.report(code, tree, f"{'.'.join(at) or 'the value'} {message}")
    elif kind.kind != "bool":
        message = f"a decision needs a boolean, this is {types.describe(kind)}"
        walk.report("NotBoolean", tree, message, f"compare it: {walk.text(tree)[:60]} == …")
    elif not expect.nullable:
        walk.present(tree, kind, "a decision")


def syntax(source: str) -> tuple[Issue, ...]:
    """The issues of a source in itself, whatever is in scope: syntax, size, unknown functions, misused optionals."""
    return _check(source, None, None).issues


def guard(source: str, tree: grammar.Node) -> infer.Inference:
    """The lenient walk over a text that is about to be run; raises `convert.ExpressionError`."""
    walk = infer.Inference(source, None)
    walk.value(tree)
    for issue in walk.issues:
        if issue.code != "MayBeNull":
            raise convert.ExpressionError(issue.message, source)
    return walk
