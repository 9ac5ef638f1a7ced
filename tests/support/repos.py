"""Builds real git repositories for tests, fast: objects are written through libgit2, without a work tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

_WHO = ("Test Author", "author@example.com")
_START = 1_767_225_600


class Repo:
    """A repository at `folder`, on branch `main`; its files are kept in memory and committed whole.

    Not bare by default, and then `checkout` writes the files to disk as well.
    """

    def __init__(self, folder: Path, *, bare: bool = False) -> None:
        self.folder = folder
        self.git = pygit2.init_repository(str(folder), bare=bare, initial_head="main")
        self.files: dict[str, bytes] = {}
        self.modes: dict[str, FileMode] = {}
        self.submodules: dict[str, pygit2.Oid] = {}
        """Commit ids of the paths whose mode is that of a submodule."""
        self.commits: list[str] = []

    @property
    def head(self) -> str:
        return self.commits[-1]

    def write(self, files: Mapping[str, str | bytes | None]) -> Repo:
        """Set files by path; None deletes."""
        for path, content in files.items():
            if content is None:
                del self.files[path]
                self.modes.pop(path, None)
            else:
                self.files[path] = content.encode() if isinstance(content, str) else content
        return self

    def link(self, path: str, target: str) -> Repo:
        """A symlink."""
        self.files[path] = target.encode()
        self.modes[path] = FileMode.LINK
        return self

    def commit(
        self, files: Mapping[str, str | bytes | None] | None = None, message: str = "Change", branch: str = "main"
    ) -> str:
        """Commit everything written so far, and `files`; the commit's id."""
        self.write(files or {})
        index = pygit2.Index()
        for path, content in self.files.items():
            mode = self.modes.get(path, FileMode.BLOB)
            oid = self.submodules.get(path) or self.git.create_blob(content)
            index.add(pygit2.IndexEntry(path, oid, mode))
        tree = index.write_tree(self.git)
        return self.commit_tree(str(tree), message, branch)

    def commit_tree(self, tree: str, message: str = "Change", branch: str = "main") -> str:
        """Commit a tree made by hand."""
        who = pygit2.Signature(*_WHO, _START + 60 * len(self.commits), 0)
        name = f"refs/heads/{branch}"
        parents = [self.git.references[name].target] if name in self.git.references else []
        oid = str(self.git.create_commit(name, who, who, message, tree, parents))
        self.commits.append(oid)
        return oid

    def reset(self, commit: str, branch: str = "main") -> None:
        """Point the branch at an older commit, as a force-push does. The files in memory stay."""
        self.git.references[f"refs/heads/{branch}"].set_target(commit)

    def checkout(self) -> None:
        """Write the files to disk, beside `.git`."""
        for path, content in self.files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
