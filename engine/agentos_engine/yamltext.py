"""YAML to plain JSON values with the position of every key and value, in one pass over libyaml's events.

One parser for every manifest, because differences between parsers are attacks. It reads the YAML 1.2 core schema and
refuses what configuration does not need: anchors, aliases, tags, merge keys, duplicate keys. It is iterative, and
capped in bytes, depth and nodes, so hostile text costs no more than large text. Problems are collected: after one that
the parser cannot step over, the documents before it still count. Positions are kept packed and only spread out into a
map when somebody asks for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from agentos_engine import model, positions

try:
    from yaml._yaml import CParser
except ImportError as error:  # pragma: no cover - depends on the installation
    raise ImportError(
        "PyYAML was built without libyaml, and its own parser is neither fast nor safe enough: "
        "install a binary wheel of PyYAML, or libyaml's headers before building it"
    ) from error

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 32
MAX_NODES: Final = 50_000
MAX_PROBLEMS: Final = 50

_INT = re.compile(r"[-+]?[0-9]+").fullmatch
_OCT = re.compile(r"0o[0-7]+").fullmatch
_HEX = re.compile(r"0x[0-9a-fA-F]+").fullmatch
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?").fullmatch
_NOT_A_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)").fullmatch
_WORDS: Final[dict[str, bool | None]] = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    "null": None, "Null": None, "NULL": None, "~": None, "": None,
}  # fmt: skip
_SPECIAL: Final = frozenset("0123456789-+.tTfFnN~") | {""}
_MIN_INT, _MAX_INT = -(1 << 63), (1 << 64) - 1
_DUPLICATE = "\0"
"""Mark of a key that must not stand in the data but whose positions were counted; no YAML text can hold it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the text that is refused. `code` is registered; `position` counts from 1."""

    code: str
    position: model.Position
    message: str
    hint: str | None = None


@dataclass(slots=True)
class Document:
    """One YAML document as JSON values.

    `marks` holds the position of every value and key in document order, see `positions`. `damaged` are locations whose
    value is not what the author meant (an alias, a merge): nothing further should be said about them. `complete` is
    False if the text broke off inside the document.
    """

    data: Any
    marks: list[int]
    problems: list[Problem] = field(default_factory=list)
    damaged: set[model.Location] = field(default_factory=set)
    complete: bool = True

    @property
    def positions(self) -> model.Positions:
        return positions.of(self.data, self.marks)


@dataclass(slots=True)
class Text:
    """All documents of a file; `problems` are those that belong to no document."""

    documents: list[Document]
    problems: list[Problem]


class _Stop(Exception):
    """No use to read on."""


class _Number(ValueError):
    """A plain scalar that is a number, but none that JSON can hold."""


def _resolve(text: str) -> Any:
    """The core-schema value of a plain scalar that begins like something other than a string."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT(text):
        if len(text) > 21 or not _MIN_INT <= (value := int(text)) <= _MAX_INT:
            raise _Number("is an integer beyond 64 bits")
        return value
    if _FLOAT(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise _Number("is a number beyond double precision")
        return number
    if text[0] == "0" and (_OCT(text) or _HEX(text)):
        value = int(text[2:], 8 if text[1] == "o" else 16) if len(text) <= 24 else _MAX_INT + 1
        if value > _MAX_INT:
            raise _Number("is an integer beyond 64 bits")
        return value
    if _NOT_A_NUMBER(text):
        raise _Number("is no number that JSON knows")
    return text


class _Reader:
    """State of one pass. `run` is one long function because every call in it would be paid per YAML node."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.lines: list[bytes] = []
        self.documents: list[Document] = []
        self.current: Document | None = None
        self.stray: list[Problem] = []
        self.count = 0

    def problem(self, code: str, mark: Any, message: str, hint: str | None = None) -> None:
        position = model.Position(mark.line + 1, mark.column + 1)
        target = self.current.problems if self.current is not None else self.stray
        target.append(Problem(code, position, message, hint))
        self.count += 1
        if self.count >= MAX_PROBLEMS:
            raise _Stop

    def too_many(self, mark: Any) -> None:
        self.problem("TooManyNodes", mark, f"more than {MAX_NODES:,} values", "Split the file.")
        raise _Stop

    def forbidden(self, event: Any) -> None:
        if event.anchor is not None:
            self.problem("YamlForbidden", event.start_mark, f"anchor &{event.anchor}", "Write the value out in full.")
        if event.tag is not None:
            self.problem("YamlForbidden", event.start_mark, f"tag {event.tag}", "Leave the tag out; quote a text.")

    def key(self, event: Any, container: dict[str, Any], location: model.Location) -> str:
        """The key of a mapping; a marked one if it must not stand in the data."""
        text: str = event.value
        if event.implicit[0] and text in ("", "~"):
            self.problem("YamlForbidden", event.start_mark, "a key is empty", "Give the key a name.")
        elif event.implicit[0] and text == "<<":
            self.problem("YamlForbidden", event.start_mark, "merge key <<", "Write the keys out in full.")
            assert self.current is not None
            self.current.damaged.add(location)
        elif text in container:
            self.problem("DuplicateKey", event.start_mark, f"the key {text!r} stands here a second time")
        else:
            return text
        return f"{text}{_DUPLICATE}{len(container)}"

    def scalar(self, event: Any) -> Any:
        """The value of a plain scalar that may be something other than text."""
        try:
            return _resolve(event.value)
        except _Number as error:
            self.problem("InvalidValue", event.start_mark, f"{event.value[:32]} {error}", "Quote it to make it text.")
            return 0

    def string(self, event: Any) -> int:
        """The mark of a string that may be quoted, folded or a block. A block is marked where its text begins."""
        start, end, style = event.start_mark, event.end_mark, event.style
        if style == "|":
            return self.block(start, event.value)
        if style in ("'", '"'):
            exact = end.line == start.line and end.column - start.column - 2 == len(event.value)
            return positions.pack(start.line, start.column, positions.QUOTED if exact else positions.FOLDED)
        return positions.pack(start.line, start.column, 0 if end.line == start.line else positions.FOLDED)

    def block(self, start: Any, text: str) -> int:
        if not self.lines:
            self.lines = self.data.split(b"\n")
        for number, inner in enumerate(text.split("\n")):
            if inner.strip() and start.line + 1 + number < len(self.lines):
                line = self.lines[start.line + 1 + number]
                indent = len(line) - len(line.lstrip(b" ")) - (len(inner) - len(inner.lstrip(" ")))
                return positions.pack(start.line + 1, max(indent, 0), positions.BLOCK)
        return positions.pack(start.line, start.column, positions.FOLDED)

    def run(self) -> None:
        get: Callable[[], Any] = CParser(self.data).get_event
        scalar, special = ScalarEvent, _SPECIAL
        nodes = 0
        container: Any = None
        key: Any = None
        location: model.Location = ()
        marks: list[int] = []
        mark = marks.append
        stack: list[tuple[Any, model.Location]] = []
        while True:
            event = get()
            class_ = event.__class__
            if class_ is scalar:
                nodes += 1
                start = event.start_mark
                if event.anchor is not None or event.tag is not None:
                    self.forbidden(event)
                if nodes > MAX_NODES:
                    self.too_many(start)
                value = event.value
                if container.__class__ is dict:
                    if key is None:
                        plain = event.implicit[0] and value in ("", "~", "<<")
                        key = self.key(event, container, location) if plain or value in container else value
                        mark(start.line << 20 | (start.column if start.column < 0x3FFFF else 0x3FFFF) << 2)
                        continue
                    if event.implicit[0] and " " not in value:
                        if value[:1] in special:
                            value = self.scalar(event)
                        mark(start.line << 20 | (start.column if start.column < 0x3FFFF else 0x3FFFF) << 2)
                    else:
                        mark(self.string(event))
                    container[key] = value
                    key = None
                    continue
                mark(self.string(event))
                if event.implicit[0] and value[:1] in special:
                    value = self.scalar(event)
                if container is None:
                    assert self.current is not None
                    self.current.data = value
                else:
                    container.append(value)
            elif class_ is MappingStartEvent or class_ is SequenceStartEvent:
                nodes += 1
                start = event.start_mark
                if event.anchor is not None or event.tag is not None:
                    self.forbidden(event)
                if len(stack) >= MAX_DEPTH:
                    self.problem("TooDeep", start, f"more than {MAX_DEPTH} levels", "Flatten the document.")
                    raise _Stop
                if nodes > MAX_NODES:
                    self.too_many(start)
                new: Any = {} if class_ is MappingStartEvent else []
                stack.append((container, location))
                if container.__class__ is dict:
                    if key is None:
                        self.problem("YamlForbidden", start, "a key is a list or a mapping", "Keys are text.")
                        raise _Stop
                    container[key] = new
                    location = (*location, key)
                    key = None
                elif container is None:
                    assert self.current is not None
                    self.current.data = new
                else:
                    location = (*location, len(container))
                    container.append(new)
                mark(start.line << 20 | (start.column if start.column < 0x3FFFF else 0x3FFFF) << 2)
                container = new
            elif class_ is MappingEndEvent or class_ is SequenceEndEvent:
                container, location = stack.pop()
            elif class_ is DocumentStartEvent:
                start = event.start_mark
                container, key, location, marks = None, None, (), []
                mark = marks.append
                self.current = Document(None, marks, complete=False)
                self.documents.append(self.current)
                if event.tags:
                    self.problem("YamlForbidden", start, "a %TAG directive", "Leave it out.")
            elif class_ is DocumentEndEvent:
                assert self.current is not None
                self.current.complete = True
                self.current = None
            elif class_ is AliasEvent:
                if self.current is None:
                    raise _Stop
                self.problem(
                    "YamlForbidden", event.start_mark, f"alias *{event.anchor}", "Write the value out in full."
                )
                if container.__class__ is dict and key is None:
                    raise _Stop
                mark(positions.pack(event.start_mark.line, event.start_mark.column))
                if container.__class__ is dict:
                    self.current.damaged.add((*location, key))
                    container[key] = None
                    key = None
                elif container.__class__ is list:
                    self.current.damaged.add((*location, len(container)))
                    container.append(None)
            elif class_ is StreamEndEvent:
                return


def _prune(document: Document) -> None:
    """Take the marked keys out of a document's data, and their positions out of its marks."""
    data, marks = document.data, iter(document.marks)
    kept: list[int] = [next(marks, 0)]

    def walk(value: Any, keep: bool) -> None:
        if isinstance(value, dict):
            for key in list(value):
                inner = keep and _DUPLICATE not in key
                both = [mark for mark in (next(marks, None), next(marks, None)) if mark is not None]
                if inner:
                    kept.extend(both)
                walk(value[key], inner)
                if _DUPLICATE in key:
                    del value[key]
        elif isinstance(value, list):
            for item in value:
                mark = next(marks, None)
                if keep and mark is not None:
                    kept.append(mark)
                walk(item, keep)

    walk(data, True)
    document.marks = kept


def _offset_position(data: bytes, offset: int) -> model.Position:
    """Line and column of a byte offset in text that is UTF-8 up to there."""
    before = data[:offset].decode("utf-8", "replace")
    line = before.count("\n")
    return model.Position(line + 1, len(before) - (before.rfind("\n") + 1) + 1)


def parse(data: bytes) -> Text:
    """Every document of a YAML file.

    Never raises for what the text holds: whatever is wrong is a `Problem`, in the document it stands in where there is
    one. Reading stops at the first problem that leaves the rest meaningless (syntax, a cap).
    """
    if len(data) > MAX_BYTES:
        message = f"the file has {len(data):,} bytes, more than {MAX_BYTES:,}"
        return Text([], [Problem("FileTooLarge", model.Position(1, 1), message, "Split the file.")])
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        position = _offset_position(data, error.start)
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        return Text([], [Problem("InvalidUtf8", position, message, "Save the file as UTF-8.")])
    if model.is_lfs_pointer(data):
        message = "this is a pointer of git LFS, not the file itself"
        return Text([], [Problem("FileForbidden", model.Position(1, 1), message, "Store the file in git itself.")])
    reader = _Reader(data)
    try:
        reader.run()
    except _Stop:
        pass
    except yaml.MarkedYAMLError as error:
        _syntax(reader, error)
    except yaml.reader.ReaderError as error:
        position = _offset_position(data, error.position)
        said = f"character U+{int(error.character):04X} is not allowed"
        problem = Problem("YamlSyntax", position, said, "Remove it.")
        (reader.current.problems if reader.current else reader.stray).append(problem)
    for document in reader.documents:
        if document.problems:
            _prune(document)
    return Text(reader.documents, reader.stray)


def _syntax(reader: _Reader, error: yaml.MarkedYAMLError) -> None:
    """Record a syntax error, in the words of somebody who wrote the file."""
    mark = error.problem_mark or error.context_mark
    position = model.Position(mark.line + 1, mark.column + 1) if mark else model.Position(1, 1)
    said = error.problem or "the text is not YAML"
    if error.context:
        said = f"{said} {error.context}"
    hint = next((hint for sign, hint in _SYNTAX_HINTS if sign in said), "Check indentation, quotes and brackets here.")
    (reader.current.problems if reader.current else reader.stray).append(Problem("YamlSyntax", position, said, hint))


_SYNTAX_HINTS: Final = (
    ("mapping values are not allowed", "A text that holds `: ` needs quotes; or the indentation is wrong."),
    ("cannot start any token", "A text that begins with this character needs quotes; indent with spaces, not tabs."),
    ("did not find expected ',' or", "Close the bracket, or quote a text that holds `,`, `{`, `}`, `[` or `]`."),
    ("did not find expected key", "Check the indentation here and of the line above."),
    ("did not find expected '-' indicator", "Every item of the list needs its `-` in the same column."),
    ("could not find expected ':'", "Write `key: value`."),
    ("found unexpected end of stream", "A quote or bracket is not closed."),
    (
        "found unknown escape character",
        "In double quotes a backslash is written twice; single quotes take it as it is.",
    ),
)
