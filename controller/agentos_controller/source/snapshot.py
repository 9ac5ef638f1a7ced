"""What every source answers, whatever it is: a tree of files at one revision.

The values here are the seam between git, a working copy and the reconciler. Paths are relative to the source's own
root (its `path` inside the repository), with forward slashes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

MAX_FILES = 200_000
"""More files than this below a source's path are refused: a tree can be made to look endless with few objects."""
MAX_BYTES = 1 << 20
"""No file above this is ever read; its size is asked first."""

Enter = Callable[[str], bool]
"""Whether a folder (path without trailing slash) can hold anything of interest; others are not even read."""


@dataclass(slots=True)
class Counters:
    """How much was read, for metrics and for proving that cost follows the change. Monotonic."""

    blobs: int = 0
    trees: int = 0
    looks: int = 0
    fetches: int = 0
    bytes: int = 0

    def add(self, other: Counters) -> None:
        self.blobs += other.blobs
        self.trees += other.trees
        self.looks += other.looks
        self.fetches += other.fetches
        self.bytes += other.bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """Plain files (path to blob id), and what is there but is no plain file (path to what it is)."""

    files: Mapping[str, str]
    forbidden: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changes:
    """The way from one tree to another: path to new blob id, or None where the file is gone; likewise `forbidden`."""

    files: Mapping[str, str | None]
    forbidden: Mapping[str, str | None] = field(default_factory=dict)


class FileTooLarge(Exception):
    """A blob is larger than is read here; `size` and `limit` in bytes."""

    def __init__(self, size: int, limit: int = MAX_BYTES) -> None:
        super().__init__(size)
        self.size = size
        self.limit = limit


class Damaged(Exception):
    """What is on disk of a repository cannot be read any more."""


class Reader(Protocol):
    """The contents of one tree. Used in worker processes too, where it is opened anew from a `Recipe`."""

    @property
    def counters(self) -> Counters: ...

    def find(self, path: str) -> str | None:
        """Blob id of the plain file at `path`, None if there is none."""
        ...

    def read(self, blob_id: str, limit: int = MAX_BYTES) -> bytes:
        """A blob's bytes. Raises `FileTooLarge` before reading more than `limit`, `KeyError` for an unknown blob."""
        ...


class Recipe(Protocol):
    """A picklable way to open the same tree in another process."""

    def open(self) -> Reader: ...


class Snapshot(Reader, Protocol):
    """A source at one revision. `tree` changes exactly when anything below the source's path does."""

    @property
    def revision(self) -> str: ...
    @property
    def tree(self) -> str: ...

    def listing(self, enter: Enter) -> Listing:
        """Every file below the root, folders that `enter` declines left out."""
        ...

    def changes(self, since: str, enter: Enter) -> Changes | None:
        """What changed since the tree `since`; None if that tree is not known any more."""
        ...

    def recipe(self) -> Recipe: ...
