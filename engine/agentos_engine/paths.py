"""Which files of a source are manifests: `include`, `exclude`, hidden names and `.agentosignore`.

Decided on paths alone, so the same for a git tree, a working copy and a test. Paths are relative to the source's root,
with ``/``. Ignore patterns are git's (one file, at the root), matched without backtracking over more than one star, as
the patterns come from strangers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

IGNORE_FILE: Final = ".agentosignore"
DEFAULT_INCLUDE: Final = (
    "agents", "workflows", "connectors", "models", "policies", "tests", "agentos.yaml", "agentos.yml",
)  # fmt: skip
MAX_PATTERNS: Final = 1_000
MAX_PATTERN: Final = 1_024
_SUFFIXES: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Selection:
    """What a source says about its manifests: folders and files that hold them, and patterns that do not."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]

    @classmethod
    def of(cls, include: Iterable[str] | None = None, exclude: Iterable[str] = ()) -> Selection:
        """From a source's spec; without `include` the default folders and the root file."""
        written = DEFAULT_INCLUDE if include is None else tuple(include)
        return cls(tuple(_clean(path) for path in written), tuple(exclude))

    def rules(self, ignore: bytes = b"") -> Rules:
        """The rules, with the content of the source's `.agentosignore`."""
        lines = ignore.decode("utf-8", "replace").removeprefix("\ufeff").splitlines()
        return Rules(self.include, (*self.exclude, *lines)[:MAX_PATTERNS])


def _clean(path: str) -> str:
    """A folder or file without ``./`` and ``/`` around it; the empty path is the whole source."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


@dataclass(frozen=True)
class Rules:
    """Decides about paths. `include` holds clean paths, `patterns` lines of an ignore file."""

    include: tuple[str, ...]
    patterns: tuple[str, ...]

    def selects(self, path: str) -> bool:
        """Whether the file at `path` is a manifest."""
        return path.endswith(_SUFFIXES) and self._within(path) and not self.ignores(path)

    def concerns(self, path: str) -> bool:
        """Whether something that is no plain file could hide manifests at `path`: a YAML file, or a folder."""
        name = path.rpartition("/")[2]
        return (name.endswith(_SUFFIXES) or "." not in name) and self._within(path) and not self.ignores(path)

    def enter(self, folder: str) -> bool:
        """Whether anything below `folder` can matter. Texts may be included from anywhere, so nearly always."""
        return folder.rpartition("/")[2] != ".git"

    def ignores(self, path: str) -> bool:
        """Whether the ignore patterns leave the file at `path` out; the last that matches decides, parents first."""
        if not self._compiled:
            return False
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            ignored = False
            here, is_folder = "/".join(parts[:end]), end < len(parts)
            for pattern, negated, folders_only in self._compiled:
                if ignored == negated and (is_folder or not folders_only) and pattern.fullmatch(here):
                    ignored = not negated
            if ignored:
                return True
        return False

    def _within(self, path: str) -> bool:
        if not any(not root or path == root or path.startswith(root + "/") for root in self.include):
            return False
        return not any(part.startswith((".", "_")) for part in path.split("/"))

    @cached_property
    def _compiled(self) -> tuple[tuple[re.Pattern[str], bool, bool], ...]:
        compiled = (_pattern(line) for line in self.patterns if len(line) <= MAX_PATTERN)
        return tuple(one for one in compiled if one is not None)


def _pattern(line: str) -> tuple[re.Pattern[str], bool, bool] | None:
    """A line of an ignore file: its expression, whether it includes again, whether it is for folders only."""
    line = re.sub(r"(?<!\\) +$", "", line)
    if not line or line.startswith("#"):
        return None
    negated = line.startswith("!")
    line = line.removeprefix("!")
    folders_only = line.endswith("/")
    line = line.rstrip("/")
    anchored = "/" in line
    segments = line.strip("/").split("/")
    if not anchored:
        segments = ["**", *segments]
    if not any(segments):
        return None
    return re.compile(_segments(segments), re.DOTALL), negated, folders_only


def _segments(segments: list[str]) -> str:
    """An expression for a list of segments. Between two ``**`` the first match is as good as any: no way back."""
    groups: list[list[str]] = [[]]
    for segment in segments:
        if segment == "**":
            groups.append([])
        else:
            groups[-1].append(_segment(segment))
    first, *rest = groups
    if not rest:
        return "/".join(first)
    out = "".join(f"{part}/" for part in first)
    for group in rest[:-1]:
        if group:
            out += f"(?>(?:[^/]+/)*?{''.join(f'{part}/' for part in group)})"
    return out + (f"(?:[^/]+/)*{'/'.join(rest[-1])}" if rest[-1] else ".+")


def _segment(text: str) -> str:
    """An expression for one segment; like above, only the last star may try again."""
    chunks: list[str] = [""]
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "*":
            if chunks[-1] or len(chunks) == 1:
                chunks.append("")
        elif char == "?":
            chunks[-1] += "[^/]"
        elif char == "[" and (class_ := _class(text, position)) is not None:
            expression, position = class_
            chunks[-1] += expression
        elif char == "\\" and position < len(text):
            chunks[-1] += re.escape(text[position])
            position += 1
        else:
            chunks[-1] += re.escape(char)
    first, *rest = chunks
    if not rest:
        return first
    middle = "".join(f"(?>[^/]*?{chunk})" for chunk in rest[:-1])
    return f"{first}{middle}[^/]*{rest[-1]}" if rest[-1] or first or middle else "[^/]+"


def _class(text: str, position: int) -> tuple[str, int] | None:
    """The character class that begins before `position`, and where it ends; None if it is never closed."""
    begin = position
    negated = text[position : position + 1] in ("!", "^")
    position += negated
    end = text.find("]", position + 1)
    if end < 0 or begin >= len(text):
        return None
    inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", text[position:end])
    try:
        re.compile(f"[{inside}]")
    except re.error:
        return re.escape(text[begin - 1 : end + 1]), end + 1
    return (f"(?!/)[^{inside}]" if negated else f"(?!/)[{inside}]"), end + 1
