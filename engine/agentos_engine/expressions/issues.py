"""What the checker reports, and the hints that turn habits from other languages into CEL."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

_HABITS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\$\{"), "this place takes bare CEL: write the expression without ${ and }"),
    (re.compile(r"\{\{|\}\}|\{%"), "this is CEL, not a Jinja template: in text write ${expression}"),
    (re.compile(r"[!=]=="), "CEL compares with == and !="),
    (re.compile(r"(?<![=!<>])=(?![=>])"), "compare with == ; an expression assigns nothing"),
    (re.compile(r"=>|->"), "there are no arrow functions: write list.map(x, x + 1)"),
    (re.compile(r"\b(?:and|or|not)\b"), "write && for and, || for or, ! for not"),
    (re.compile(r"(?<!&)&(?!&)|(?<!\|)\|(?!\|)"), "write && and || ; there are no bit operators and no filters by |"),
    (re.compile(r"\bif\b|\belse\b|\bthen\b"), "write test ? value : other"),
    (re.compile(r"\?\?"), "write coalesce([a, b])"),
    (re.compile(r"\?\."), "an optional field is written a.?b, with the dot first"),
    (re.compile(r"\*\*|//\s*\d"), "CEL has + - * / % only"),
    (re.compile(r"\bis\b"), "compare with == null"),
    (re.compile(r"[‘’“”]"), "use straight quotes"),
)
_TEXTS = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", re.DOTALL)
_NAMES = {
    "None": "null", "nil": "null", "undefined": "null", "True": "true", "False": "false", "TRUE": "true",
    "FALSE": "false", "NULL": "null",
}  # fmt: skip
MAX_ISSUES = 20


@dataclass(frozen=True, slots=True)
class Issue:
    """One finding. `offset` and `length` are in characters of the text the caller gave.

    `code` is one of ExpressionSyntax, ExpressionTooComplex, TemplateSyntax, UnknownName, UnknownField,
    UnknownFunction, TypeMismatch, MayBeNull, NotBoolean.
    """

    code: str
    message: str
    hint: str | None
    offset: int
    length: int


def habit(source: str) -> str | None:
    """A hint for a source that does not parse, or None."""
    bare = _TEXTS.sub(lambda hit: " " * len(hit.group()), source)
    return next((hint for pattern, hint in _HABITS if pattern.search(bare)), None)


def nearest(name: str, known: Iterable[str], source: str, start: int, end: int) -> str | None:
    """A hint for an unknown `name` that stands at `start`…`end`: a foreign word, a hyphen, a misspelling."""
    if name in _NAMES:
        return f"write {_NAMES[name]}"
    names = list(known)
    after = source[end : end + 2]
    before = source[max(0, start - 2) : start]
    if (after[:1] == "-" and after[1:2].isalpha()) or (before[1:2] == "-" and before[:1].isalnum()):
        return 'a hyphen is a minus in CEL: ids are written in camelCase, and keys with a hyphen as ["my-key"]'
    close = difflib.get_close_matches(name, names, 1)
    if not close:
        close = [other for other in names if other.lower() == name.lower().replace("_", "")][:1]
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known here: {', '.join(sorted(names)[:12])}" if names else None
