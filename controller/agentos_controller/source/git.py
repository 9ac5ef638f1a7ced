"""Reading a repository by object id, never a work tree.

A symlink or a submodule is never followed; it is reported. Every size is asked for before anything is read, and a tree
is walked iteratively under a cap, because a few objects can describe an endless one. Fetching stands in `fetch`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import FileMode, ObjectType

from agentos_controller.source import address, libgit, snapshot, versions
from agentos_engine import errors

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""The id of the empty tree; also stands for a source's path that does not exist at a revision."""

_TAGS = "refs/tags/"
_MAX_DEPTH = 64
_REMEMBERED = 32
"""Folders above the roots of sources that are remembered: many sources of one repository share them."""
_FORBIDDEN = {int(FileMode.LINK): "a symlink", int(FileMode.COMMIT): "a submodule"}
_Entry = tuple[str, int]  # object id, file mode


@dataclass(frozen=True, slots=True)
class Recipe:
    """Opens the tree at `path` of the commit `revision` of the repository at `folder`, in any process."""

    home: Path
    folder: Path
    revision: str
    path: str
    max_bytes: int = snapshot.MAX_BYTES

    def open(self) -> GitSnapshot:
        tree = Repository(self.folder, self.home).snapshot(self.revision, self.path)
        tree.max_bytes = self.max_bytes
        return tree


class Repository:
    """An opened repository, bare or not. Cheap to keep: one handle for all sources that read it."""

    def __init__(self, folder: Path, home: Path, counters: snapshot.Counters | None = None) -> None:
        """`home` is the folder of our own git configuration.

        Raises:
            errors.Stall: ``SourceInvalid`` if there is no repository.
        """
        self.folder = folder
        self.home = home
        self.counters = counters or snapshot.Counters()
        self._above: dict[str, dict[str, _Entry]] = {}
        libgit.trust(home, folder)
        try:
            self.git = pygit2.Repository(str(folder), pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
        except (pygit2.GitError, KeyError) as error:
            raise errors.Stall("SourceInvalid", f"{folder} is no git repository: {error}") from None

    def resolve(self, ref: str | None, semver: str | None = None) -> str:
        """The commit id that `ref` names now: a branch or tag by its short or full name (a branch is meant before a
        tag), or a full commit id; None for HEAD. With `semver` the newest tag inside that range.

        Raises:
            errors.Stall: ``SourceRefGone`` or ``SourceEmpty`` if it names none.
        """
        if semver is not None:
            name = newest(semver, self.git.references)
            if name is None:
                raise errors.Stall("SourceRefGone", f"no tag of {self.folder.name} is in the range {semver!r}")
            return self._commit_id(str(self.git.lookup_reference(name).resolve().target))
        if ref is not None:
            address.check_ref(ref)
        names = ("HEAD",) if ref is None else (*address.candidates(ref), f"refs/remotes/origin/{ref}")
        for name in names:
            try:
                target = self.git.lookup_reference(name).resolve().target
            except (KeyError, pygit2.GitError, ValueError):
                continue
            return self._commit_id(str(target))
        if ref is not None and address.Address("", ref, local=True).is_commit:
            return self._commit_id(ref)
        if ref is None:
            raise errors.Stall("SourceEmpty", f"HEAD names no commit yet in {self.folder.name}")
        raise errors.Stall("SourceRefGone", f"there is no branch, tag or commit {ref!r} in {self.folder.name}")

    @property
    def sound(self) -> bool:
        """Whether HEAD is one, and every ref names an object that can be read, and the tree of a commit with it."""
        files = (path for path in (self.folder / "refs").rglob("*") if path.is_file())
        try:
            self.git.lookup_reference("HEAD")
            # libgit2 passes over what is no ref in its listing.
            names = {*self.git.references, *(path.relative_to(self.folder).as_posix() for path in files)}
            return all(self.git.lookup_reference(name).peel(pygit2.Tree) for name in names)
        except (KeyError, ValueError, pygit2.GitError):
            return False

    def has(self, oid: str) -> bool:
        """Whether the object is here."""
        try:
            return bool(oid in self.git)
        except (ValueError, pygit2.GitError):
            return False

    def take_refs(self, refs: Mapping[str, str], head: str | None) -> None:
        """Let the branches and tags be exactly `refs` (full name to object id), and HEAD the branch `head`.

        Raises:
            errors.Retry: ``SourceUnavailable``, one of the objects is not here: it moved while it was looked at.
            snapshot.Damaged: a ref cannot be written.
        """
        for name, oid in refs.items():
            if not self.has(oid):
                raise errors.Retry("SourceUnavailable", f"{name} moved while it was looked at")
        known = self.git.references
        try:
            for name in set(known) - refs.keys():
                known.delete(name)
            for name, oid in refs.items():
                known.create(name, oid, force=True)
            if head is not None:
                known.create("HEAD", head, force=True)
        except pygit2.GitError as error:
            raise snapshot.Damaged(f"the refs of {self.folder.name}: {error}") from None

    def _commit_id(self, oid: str) -> str:
        try:
            found = self.git.get(oid)
            commit = None if found is None else found.peel(pygit2.Commit)
        except (pygit2.GitError, ValueError):
            commit = None
        if commit is None:
            raise errors.Stall("SourceRefGone", f"{oid} is no commit of {self.folder.name}")
        return str(commit.id)

    def _commit(self, revision: str) -> pygit2.Commit:
        return self.git[revision].peel(pygit2.Commit)

    def snapshot(self, revision: str, path: str = "") -> GitSnapshot:
        """The tree at `path` of the commit `revision`. A path that does not exist there is an empty tree."""
        oid = str(self._commit(revision).tree_id)
        for part in [part for part in path.split("/") if part not in ("", ".")]:
            if oid not in self._above:
                if len(self._above) >= _REMEMBERED:
                    self._above.clear()
                self._above[oid] = self.children(oid)
            child = self._above[oid].get(part)
            if child is None or child[1] != FileMode.TREE:
                return GitSnapshot(self, revision, EMPTY_TREE, path)
            oid = child[0]
        return GitSnapshot(self, revision, oid, path)

    def children(self, tree: str) -> dict[str, _Entry]:
        """Name to (object id, mode) of one tree. An unknown tree raises `KeyError`, a broken one `snapshot.Damaged`."""
        if tree == EMPTY_TREE:
            return {}
        try:
            found = self.git[tree]
        except pygit2.GitError as error:
            raise snapshot.Damaged(f"tree {tree} of {self.folder.name}: {error}") from None
        if not isinstance(found, pygit2.Tree):
            raise KeyError(tree)
        self.counters.trees += 1
        return {entry.name or "": (str(entry.id), int(entry.filemode)) for entry in found}

    def read(self, blob_id: str, limit: int) -> bytes:
        try:
            kind, size = self.git.odb.read_header(blob_id)
            if kind == ObjectType.BLOB and size > limit:
                raise snapshot.FileTooLarge(size, limit)
            data: bytes = self.git.odb.read(blob_id)[1]
        except (KeyError, pygit2.GitError) as error:
            raise snapshot.Damaged(f"blob {blob_id} of {self.folder.name}: {error}") from None
        if kind != ObjectType.BLOB:
            raise KeyError(blob_id)
        self.counters.blobs += 1
        self.counters.bytes += size
        return data

    def author(self, revision: str) -> str:
        """Who wrote the commit, as ``Name <mail>``."""
        signature = self._commit(revision).author
        return f"{signature.name} <{signature.email}>"

    def subject(self, revision: str) -> str:
        """The first line of the commit's message."""
        lines = self._commit(revision).message.strip().splitlines()
        return lines[0] if lines else ""


@dataclass(slots=True)
class GitSnapshot:
    """One subtree of one commit; implements `snapshot.Snapshot`."""

    repository: Repository
    revision: str
    tree: str
    path: str
    max_files: int = snapshot.MAX_FILES
    max_bytes: int = snapshot.MAX_BYTES
    _folders: dict[str, dict[str, _Entry]] = field(default_factory=dict)

    @property
    def counters(self) -> snapshot.Counters:
        return self.repository.counters

    def recipe(self) -> Recipe:
        return Recipe(self.repository.home, self.repository.folder, self.revision, self.path, self.max_bytes)

    def read(self, blob_id: str, limit: int = snapshot.MAX_BYTES) -> bytes:
        return self.repository.read(blob_id, min(limit, self.max_bytes))

    def find(self, path: str) -> str | None:
        *folders, name = path.split("/")
        oid, at = self.tree, ""
        for folder in folders:
            child = self._children(oid).get(folder)
            if child is None or child[1] != FileMode.TREE:
                return None
            oid, at = child[0], f"{at}{folder}/"
        found = self._children(oid).get(name)
        return found[0] if found is not None and found[1] in (FileMode.BLOB, FileMode.BLOB_EXECUTABLE) else None

    def _children(self, oid: str) -> dict[str, _Entry]:
        if oid not in self._folders:
            self._folders[oid] = self.repository.children(oid)
        return self._folders[oid]

    def listing(self, enter: snapshot.Enter) -> snapshot.Listing:
        files: dict[str, str] = {}
        forbidden: dict[str, str] = {}
        for path, _old, new in self._walk(EMPTY_TREE, enter):
            if new is not None and (what := _FORBIDDEN.get(new[1])):
                forbidden[path] = what
            elif new is not None:
                files[path] = new[0]
        return snapshot.Listing(files, forbidden)

    def changes(self, since: str, enter: snapshot.Enter) -> snapshot.Changes | None:
        files: dict[str, str | None] = {}
        forbidden: dict[str, str | None] = {}
        try:
            for path, old, new in self._walk(since, enter):
                was, now = _FORBIDDEN.get(old[1] if old else 0), _FORBIDDEN.get(new[1] if new else 0)
                if was or now:
                    forbidden[path] = now
                if (old and not was) or (new and not now):
                    files[path] = new[0] if new and not now else None
        except (KeyError, snapshot.Damaged):
            return None
        return snapshot.Changes(files, forbidden)

    def _walk(self, since: str, enter: snapshot.Enter) -> Iterator[tuple[str, _Entry | None, _Entry | None]]:
        """Every path (not a folder) whose entry differs between the tree `since` and this one: old entry, new entry."""
        count = 0
        todo: list[tuple[str, str, str, int]] = [("", since, self.tree, 0)]
        while todo:
            prefix, before, after, depth = todo.pop()
            if before == after:
                continue
            if depth > _MAX_DEPTH:
                raise errors.Stall(
                    "SourceInvalid", f"folders are nested more than {_MAX_DEPTH} deep at {prefix[:200]!r}"
                )
            old, new = self.repository.children(before), self.repository.children(after)
            for name in old.keys() | new.keys():
                was, now = old.get(name), new.get(name)
                if was == now:
                    continue
                count += 1
                if count > self.max_files:
                    raise errors.Stall("SourceTooLarge", f"more than {self.max_files:,} files changed or present")
                path = prefix + name
                folders = [_folder(was), _folder(now)]
                if folders[0] != folders[1] and enter(path):
                    todo.append((path + "/", folders[0], folders[1], depth + 1))
                plain = _plain(was), _plain(now)
                if plain[0] != plain[1]:
                    yield path, *plain


def _folder(entry: _Entry | None) -> str:
    return entry[0] if entry is not None and entry[1] == FileMode.TREE else EMPTY_TREE


def _plain(entry: _Entry | None) -> _Entry | None:
    return None if entry is None or entry[1] == FileMode.TREE else entry


def newest(semver: str, refs: Iterable[str]) -> str | None:
    """The full name of the tag among `refs` with the newest version inside the range; None if there is none.

    Raises:
        errors.Stall: ``SourceInvalid``, it is no range.
    """
    try:
        range_ = versions.parse_range(semver)
    except ValueError as error:
        raise errors.Stall("SourceInvalid", f"semver {semver!r}: {error}") from None
    tags = (name.removeprefix(_TAGS) for name in refs if name.startswith(_TAGS))
    found = versions.newest(range_, tags)
    return None if found is None else _TAGS + found


def is_repository(folder: Path) -> bool:
    """Whether `folder` itself (no parent) is a git repository, bare or not."""
    return (folder / ".git").exists() or ((folder / "HEAD").is_file() and (folder / "objects").is_dir())


def blob_id(data: bytes) -> str:
    """The id git gives these bytes."""
    oid: Any = pygit2.hash(data)
    return str(oid)
