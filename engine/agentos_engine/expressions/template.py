"""Text with ``${expression}`` in it: parsing, checking, and the same for whole values of a manifest.

``$${`` stands for a literal ``${``. Within an expression braces are counted and quoted text is skipped, so it may hold
both. Nothing is evaluated twice; keys are never templates.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agentos_engine.expressions import check, issues, types

MAX_EXPRESSIONS = 500
_NEXT = re.compile(r"\$\$\{|\$\{")
_INSIDE = re.compile(
    r"""[rR]?(?:\"\"\".*?\"\"\"|'''.*?''')|[rR](?:"[^"\n]*"|'[^'\n]*')|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|//[^\n]*|[{}]""",
    re.DOTALL,
)

Scope = Mapping[str, types.Type]
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Expr:
    """An expression in a template: its `source`, and the `offset` of the source in the text."""

    source: str
    offset: int


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text: literal pieces (unescaped) and expressions in order. `error` is set if it does not parse."""

    segments: tuple[str | Expr, ...]
    error: issues.Issue | None = None

    @property
    def is_static(self) -> bool:
        """Whether there is nothing to evaluate."""
        return not any(isinstance(segment, Expr) for segment in self.segments)

    @property
    def is_single(self) -> Expr | None:
        """The expression, if the text is exactly one: then its value keeps its type."""
        only = self.segments[0] if len(self.segments) == 1 else None
        return only if isinstance(only, Expr) else None

    @property
    def literal(self) -> str:
        """The text of a static template."""
        return "".join(segment for segment in self.segments if isinstance(segment, str))


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Template:
    """The pieces of `text`; an expression that is never closed is literal, with `error` saying so."""
    if "${" not in text:
        return Template((text,))
    segments: list[str | Expr] = []
    literal: list[str] = []
    at = 0
    while hit := _NEXT.search(text, at):
        literal.append(text[at : hit.start()])
        if hit.group() == "$${":
            literal.append("${")
            at = hit.end()
            continue
        end = _closing(text, hit.end())
        if end is None or len(segments) > 2 * MAX_EXPRESSIONS:
            return Template((text,), _broken(text, hit.start(), end is None))
        if joined := "".join(literal):
            segments.append(joined)
        literal = []
        segments.append(Expr(text[hit.end() : end], hit.end()))
        at = end + 1
    literal.append(text[at:])
    if (joined := "".join(literal)) or not segments:
        segments.append(joined)
    return Template(tuple(segments))


def _broken(text: str, at: int, unclosed: bool) -> issues.Issue:
    if not unclosed:
        return issues.Issue("ExpressionTooComplex", f"more than {MAX_EXPRESSIONS} expressions in one text", None, at, 2)
    hint = "close it with }, or write $${ for a literal ${"
    return issues.Issue("TemplateSyntax", "${ is never closed", hint, at, min(2, len(text) - at))


def _closing(text: str, at: int) -> int | None:
    """Where the brace stands that closes the expression beginning at `at`."""
    depth = 0
    while hit := _INSIDE.search(text, at):
        mark = hit.group()
        if mark == "{":
            depth += 1
        elif mark == "}":
            if depth == 0:
                return hit.start()
            depth -= 1
        at = hit.end()
    return None


def check_template(text: str, scope: Scope, expect: types.Type | None = None) -> check.Checked:
    """Check every expression in `text`; the type is text, unless it is exactly one expression.

    Within a longer text a value may be null (it stands as nothing). `expect` is what the whole must give. Offsets of
    issues are in `text`; the result's `text` is the template with conversions inserted.
    """
    parsed = parse(text)
    if parsed.error is not None:
        return check.Checked(text, types.ERROR, frozenset(), frozenset(), (parsed.error,))
    single = parsed.is_single
    if single is not None:
        done = _checked(single, scope, expect)
        return check.Checked(f"${{{done.text}}}", done.type, done.names, done.paths, done.issues)
    if parsed.is_static:
        kind = types.literal(parsed.literal)
        return check.Checked(text, kind, frozenset(), frozenset(), _unexpected(text, kind, expect))
    names: frozenset[str] = frozenset()
    paths: frozenset[tuple[str, ...]] = frozenset()
    found: list[issues.Issue] = []
    parts: list[str] = []
    for segment in parsed.segments:
        if isinstance(segment, str):
            parts.append(segment.replace("${", "$${"))
            continue
        done = _checked(segment, scope, None)
        names, paths = names | done.names, paths | done.paths
        found += done.issues
        parts.append(f"${{{done.text}}}")
    found += _unexpected(text, types.STRING, expect)
    whole = text if any(issue.code != "MayBeNull" for issue in found) else "".join(parts)
    return check.Checked(whole, types.STRING, names, paths, tuple(found[: issues.MAX_ISSUES]))


def _checked(part: Expr, scope: Scope, expect: types.Type | None) -> check.Checked:
    done = check.check(part.source, scope, expect)
    if not done.issues:
        return done
    return replace(done, issues=tuple(replace(issue, offset=issue.offset + part.offset) for issue in done.issues))


def _unexpected(text: str, kind: types.Type, expect: types.Type | None) -> tuple[issues.Issue, ...]:
    if expect is None or expect.kind in ("any", "error"):
        return ()
    return tuple(
        issues.Issue("TypeMismatch", f"the text {message}", None, 0, max(1, len(text)))
        for _, message in types.mismatches(kind, expect)
    )


Found = list[tuple[Path, issues.Issue]]


def check_value(
    value: Any, scope: Scope, at: Path = ()
) -> tuple[Any, types.Type, Found, frozenset[str], frozenset[tuple[str, ...]]]:
    """Check a value of a manifest, in which every text is a template.

    Gives the value with conversions inserted, its type, the issues each with the path of the text it is in (offsets
    are in that text), and the names and paths used.
    """
    names: set[str] = set()
    paths: set[tuple[str, ...]] = set()
    found: Found = []

    def walk(part: Any, here: Path) -> tuple[Any, types.Type]:
        if isinstance(part, str):
            if "${" not in part:
                return part, types.literal(part)
            done = check_template(part, scope)
            names.update(done.names)
            paths.update(done.paths)
            found.extend((here, issue) for issue in done.issues)
            return done.text, done.type
        if isinstance(part, dict):
            new: dict[Any, Any] = {}
            fields: dict[str, types.Type] = {}
            for key, item in part.items():
                new[key], fields[str(key)] = walk(item, (*here, key))
            return new, types.Type("object", fields=fields, required=frozenset(fields))
        if isinstance(part, list):
            items: list[Any] = []
            joined: types.Type | None = None
            for index, item in enumerate(part):
                rewritten, kind = walk(item, (*here, index))
                items.append(rewritten)
                joined = kind if joined is None else types.join(joined, kind)
            return items, types.list_of(joined or types.DYN)
        return part, _constant(part)

    rewritten, kind = walk(value, at)
    return rewritten, kind, found, frozenset(names), frozenset(paths)


def _constant(value: Any) -> types.Type:
    if value is None:
        return types.NULL
    if isinstance(value, bool):
        return types.BOOL
    return types.INT if isinstance(value, int) else types.DOUBLE if isinstance(value, float) else types.DYN
