"""A snapshot with some files replaced in memory: what a plan of uncommitted files looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agentos_controller.source import git, snapshot


@dataclass(frozen=True, slots=True)
class Recipe:
    """Opens what `base` opens, with the files in `written` in place of its own."""

    base: snapshot.Recipe
    written: Mapping[str, bytes]

    def open(self) -> Reading:
        return Reading(self.base.open(), self.written)


@dataclass(slots=True)
class Reading:
    """The contents alone, of `base` and of `written` (path to content); implements `snapshot.Reader`."""

    base: snapshot.Reader
    written: Mapping[str, bytes]
    blobs: dict[str, bytes] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path, content in self.written.items():
            self.paths[path] = git.blob_id(content)
            self.blobs[self.paths[path]] = content

    @property
    def counters(self) -> snapshot.Counters:
        return self.base.counters

    def find(self, path: str) -> str | None:
        return self.paths.get(path) or self.base.find(path)

    def read(self, blob_id: str, limit: int = snapshot.MAX_BYTES) -> bytes:
        content = self.blobs.get(blob_id)
        if content is None:
            return self.base.read(blob_id, limit)
        if len(content) > limit:
            raise snapshot.FileTooLarge(len(content))
        return content


@dataclass(slots=True)
class Overlay(Reading):
    """`base`, with the files in `written` in place of its own; implements `snapshot.Snapshot`."""

    base: snapshot.Snapshot

    @property
    def revision(self) -> str:
        return self.base.revision

    @property
    def tree(self) -> str:
        return self.base.tree

    def listing(self, enter: snapshot.Enter) -> snapshot.Listing:
        base = self.base.listing(enter)
        forbidden = {path: what for path, what in base.forbidden.items() if path not in self.paths}
        return snapshot.Listing({**base.files, **self.paths}, forbidden)

    def changes(self, since: str, enter: snapshot.Enter) -> snapshot.Changes | None:
        base = self.base.changes(since, enter)
        if base is None:
            return None
        files = {path: blob for path, blob in self.paths.items() if self.base.find(path) != blob}
        return snapshot.Changes({**base.files, **files}, base.forbidden)

    def recipe(self) -> snapshot.Recipe:
        return Recipe(self.base.recipe(), self.written)
