"""A working copy with its uncommitted files, for development: the same answers as git gives, from the disk.

Blob ids are those git would give, so a commit of what is already there changes nothing. Files are hashed once and then
told apart by their status. Symlinks are reported, never followed. Not for production: what is read is not a commit.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agentos_controller.source import git, snapshot
from agentos_engine import errors

_SKIP = {".git", ".hg", ".svn", ".venv", "node_modules", "__pycache__"}
_Stat = tuple[int, int, int]  # modified (ns), size, inode


@dataclass(frozen=True, slots=True)
class Recipe:
    """Opens the folder in another process; blobs are found by the paths they were seen at."""

    root: Path
    files: dict[str, str]

    def open(self) -> FolderSnapshot:
        return FolderSnapshot(Folder(self.root), "", "", snapshot.Listing(self.files))


@dataclass(slots=True)
class Folder:
    """The folder `root` (absolute), with what is remembered of its files."""

    root: Path
    counters: snapshot.Counters = field(default_factory=snapshot.Counters)
    _seen: dict[str, tuple[_Stat, str]] = field(default_factory=dict)
    _maps: dict[str, snapshot.Listing] = field(default_factory=dict)

    def look(self, head: str | None) -> FolderSnapshot:
        """The folder as it is now. `head` is the commit checked out, if any, for the revision's name."""
        if not self.root.is_dir():
            raise errors.Stall("SourceInvalid", f"{self.root} is no folder")
        files: dict[str, str] = {}
        forbidden: dict[str, str] = {}
        seen: dict[str, tuple[_Stat, str]] = {}
        for path, entry in walk(self.root):
            if entry.is_symlink():
                forbidden[path] = "a symlink"
                continue
            if not entry.is_file(follow_symlinks=False):
                forbidden[path] = "no plain file"
                continue
            status = entry.stat(follow_symlinks=False)
            stat = (status.st_mtime_ns, status.st_size, status.st_ino)
            known = self._seen.get(path)
            try:
                blob = known[1] if known is not None and known[0] == stat else self._hash(path, status.st_size)
            except FileNotFoundError:
                continue
            seen[path] = (stat, blob)
            files[path] = blob
            if len(files) > snapshot.MAX_FILES:
                raise errors.Stall("SourceInvalid", f"more than {snapshot.MAX_FILES} files in {self.root}")
        self._seen = seen
        listing = snapshot.Listing(files, forbidden)
        tree = _tree_id(listing)
        if tree not in self._maps:
            self._maps = {**dict(list(self._maps.items())[-1:]), tree: listing}
        revision = f"worktree-{tree[:12]}" if head is None else f"{head[:12]}+worktree-{tree[:12]}"
        return FolderSnapshot(self, revision, tree, listing)

    def _hash(self, path: str, size: int) -> str:
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        left = size
        with (self.root / path).open("rb") as file:
            # Exactly `size` bytes, so that a file growing under our hands cannot give a wrong id for good.
            while left > 0 and (chunk := file.read(min(left, 1 << 20))):
                digest.update(chunk)
                left -= len(chunk)
        return digest.hexdigest()

    def known(self, tree: str) -> snapshot.Listing | None:
        return self._maps.get(tree)


@dataclass(slots=True)
class FolderSnapshot:
    """The folder at one moment, below `prefix`; implements `snapshot.Snapshot`."""

    folder: Folder
    revision: str
    tree: str
    whole: snapshot.Listing
    prefix: str = ""
    _paths: dict[str, str] = field(default_factory=dict)

    @property
    def counters(self) -> snapshot.Counters:
        return self.folder.counters

    def below(self, path: str) -> FolderSnapshot:
        """The same moment, for a source whose root is the subfolder `path`."""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not parts:
            return self
        prefix = "/".join(parts) + "/"
        part = snapshot.Listing(_cut(self.whole.files, prefix), _cut(self.whole.forbidden, prefix))
        return FolderSnapshot(self.folder, self.revision, _tree_id(part), self.whole, prefix)

    def recipe(self) -> Recipe:
        return Recipe(self.folder.root / self.prefix, _cut(self.whole.files, self.prefix))

    def find(self, path: str) -> str | None:
        return self.whole.files.get(self.prefix + path)

    def read(self, blob_id: str, limit: int = snapshot.MAX_BYTES) -> bytes:
        if not self._paths:
            self._paths = {blob: path for path, blob in self.whole.files.items()}
        file = self.folder.root / self._paths[blob_id]
        try:
            size = file.stat().st_size
            if size > limit:
                raise snapshot.FileTooLarge(size)
            with file.open("rb") as stream:
                data = stream.read(limit)
        except FileNotFoundError:
            raise KeyError(blob_id) from None
        if git.blob_id(data) != blob_id:
            # Saved again since the look: the next look has the new one.
            raise KeyError(blob_id)
        self.counters.blobs += 1
        self.counters.bytes += len(data)
        return data

    def listing(self, enter: snapshot.Enter) -> snapshot.Listing:
        return _entered(_cut(self.whole.files, self.prefix), _cut(self.whole.forbidden, self.prefix), enter)

    def changes(self, since: str, enter: snapshot.Enter) -> snapshot.Changes | None:
        before = self.folder.known(since)
        if before is None or self.prefix:
            return None
        old, new = _entered(before.files, before.forbidden, enter), self.listing(enter)
        return snapshot.Changes(_differences(old.files, new.files), _differences(old.forbidden, new.forbidden))


def walk(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every entry below `root` that is no folder, with its path; tools' own folders left out, symlinks not followed."""
    todo = [""]
    while todo:
        prefix = todo.pop()
        try:
            with os.scandir(root / prefix) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in found:
            if entry.name in _SKIP:
                continue
            if entry.is_dir(follow_symlinks=False):
                todo.append(f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name, entry


def _cut(files: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {path[len(prefix) :]: value for path, value in files.items() if path.startswith(prefix)}


def _entered(files: Mapping[str, str], forbidden: Mapping[str, str], enter: snapshot.Enter) -> snapshot.Listing:
    decided: dict[str, bool] = {"": True}

    def inside(path: str) -> bool:
        folder = path.rpartition("/")[0]
        if folder not in decided:
            decided[folder] = inside(folder) and enter(folder)
        return decided[folder]

    return snapshot.Listing(
        {path: blob for path, blob in files.items() if inside(path)},
        {path: what for path, what in forbidden.items() if inside(path)},
    )


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str | None]:
    return {path: new.get(path) for path in old.keys() | new.keys() if old.get(path) != new.get(path)}


def _tree_id(listing: snapshot.Listing) -> str:
    digest = hashlib.sha256()
    for kind in (listing.files, listing.forbidden):
        for path in sorted(kind):
            digest.update(f"{path}\0{kind[path]}\0".encode(errors="surrogateescape"))
        digest.update(b"\1")
    return digest.hexdigest()
