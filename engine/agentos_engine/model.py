"""The values that travel through the engine: positions, diagnostics, references, manifests.

All are frozen. Nothing here parses, checks or decides; a value made once is only read afterwards.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

Location = tuple[str | int, ...]
"""Where a value stands inside a document: keys and list indexes from the root, e.g. ``("spec", "steps", "pull")``."""

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a text file; `line` and `column` count from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Positions:
    """Where each key and value of one document stands.

    `keys` and `values` map a `Location` to a `Position`. A location that has none (a default, a missing key) answers
    with its nearest ancestor, so every diagnostic has a line. `contents` says where the text of a string begins when
    that is not at its value: behind the quote, or on the first line of a ``|`` block; None where its characters map to
    no places (escapes, folded lines).
    """

    keys: Mapping[Location, Position]
    values: Mapping[Location, Position]
    start: Position = Position(1, 1)
    contents: Mapping[Location, Position | None] = field(default_factory=dict)

    def of(self, location: Location) -> Position:
        """Position of the value at `location`, else of its key, else of the nearest ancestor."""
        return next(self._candidates(location, self.values, self.keys), self.start)

    def of_key(self, location: Location) -> Position:
        """Position of the key at `location`, else of its value, else of the nearest ancestor."""
        return next(self._candidates(location, self.keys, self.values), self.start)

    def within(self, location: Location, text: str, offset: int) -> Position:
        """Position of the character at `offset` of `text`, the string at `location`, else of its value."""
        begin = self.contents.get(location, self.values.get(location))
        if begin is None:
            return self.of(location)
        line = text.count("\n", 0, offset)
        if line and location not in self.contents:
            return begin
        return Position(begin.line + line, begin.column + offset - (text.rfind("\n", 0, offset) + 1))

    @staticmethod
    def _candidates(location: Location, *maps: Mapping[Location, Position]) -> Iterator[Position]:
        for end in range(len(location), -1, -1):
            for positions in maps:
                if (found := positions.get(location[:end])) is not None:
                    yield found


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing wrong (or doubtful) in a manifest, addressed to the person who wrote it.

    `path` is relative to the source's root and empty while the file is not yet placed; `line` and `column` count from
    1; `code` is registered in `agentos_engine.errors`; `hint` says what to do.
    """

    code: str
    path: str
    line: int
    column: int
    message: str
    hint: str | None = None
    severity: Severity = "error"

    @property
    def is_error(self) -> bool:
        return self.severity == "error"

    def at(self, path: str) -> Diagnostic:
        """The same diagnostic, placed in the file `path`."""
        return self if self.path else replace(self, path=path)

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "severity": self.severity,
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "hint": self.hint,
        }

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.path}:{self.line}:{self.column}: {self.severity} {self.code}: {self.message}{hint}"


class ResourceRef(NamedTuple):
    """Identity of a resource inside its tenant. A tuple, because it is hashed and compared more than anything else."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> ResourceRef:
        kind, _, name = text.partition("/")
        return cls(kind, name)


@dataclass(frozen=True, slots=True)
class Reference:
    """A manifest naming another resource; `part` is the operation of a connector where one is named."""

    to: ResourceRef
    at: Location
    part: str | None = None


DELETION = "agentos/deletion"
"""Annotation: what happens to what serves when its manifest is gone, one of `DELETIONS`."""
DELETIONS = ("delete", "orphan", "drain")
DRAIN_DEADLINE = "agentos/drain-deadline"
"""Annotation: how long `drain` waits at most, as a duration."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One document of one file, valid by itself; what it names elsewhere is not looked at yet.

    `document` counts the documents of the file from 0. `spec` is the JSON of the spec as the author wrote it.
    `digest` covers apiVersion, kind, metadata and spec; `with_files` folds in the content of included files, so a
    digest changes exactly when the meaning of the text does.
    """

    ref: ResourceRef
    spec: Mapping[str, Any]
    digest: str
    document: int
    positions: Positions
    path: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()
    files: tuple[str, ...] = ()
    """Paths of included files, as written."""
    parsed: Any = field(default=None, compare=False, repr=False)
    """The spec as its kind's model, where it was just made; None after a rest in the database."""

    @property
    def line(self) -> int:
        return self.positions.start.line

    def at(self, path: str) -> Manifest:
        """The same manifest, placed in the file `path` of its source."""
        return replace(self, path=path)

    def diagnostic(
        self,
        code: str,
        location: Location,
        message: str,
        hint: str | None = None,
        *,
        severity: Severity = "error",
        key: bool = False,
    ) -> Diagnostic:
        """A diagnostic at the value (or, with `key`, the key) at `location` of the document."""
        position = self.positions.of_key(location) if key else self.positions.of(location)
        return Diagnostic(code, self.path, position.line, position.column, message, hint, severity)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A source at one revision: which blob stands at which path. Paths are relative to the source's root."""

    revision: str
    blobs: Mapping[str, str]


class FileOutsideSource(ValueError):
    """The path of an included file leads out of its source."""


_LFS = b"version https://git-lfs.github.com/spec/"


def is_lfs_pointer(data: bytes) -> bool:
    """Whether a file is what git LFS leaves in git in place of the file; its content is elsewhere and never fetched."""
    return len(data) < 1024 and data.startswith(_LFS)


def resolve_file(manifest_path: str, written: str) -> str:
    """The source path of a file included as `written` by the manifest at `manifest_path`.

    Relative to the manifest's folder, or to the source's root with a leading ``/``.

    Raises:
        FileOutsideSource: the path leaves the source's root, or holds a NUL or a backslash.
    """
    if "\0" in written or "\\" in written:
        raise FileOutsideSource(written)
    base = "" if written.startswith("/") else posixpath.dirname(manifest_path)
    joined = posixpath.normpath(posixpath.join(base, written.lstrip("/")))
    if joined in ("", ".", "..") or joined.startswith(("../", "/")):
        raise FileOutsideSource(written)
    return joined
