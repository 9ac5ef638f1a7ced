"""What `source.gate` asks of a repository, answered by libgit2. Commits are immutable, so answers are remembered."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import pygit2
from pygit2.enums import ObjectType

from agentos_controller.source import git, signatures
from agentos_controller.source.signatures import commits
from agentos_engine import errors, paths

_REMEMBERED = 50_000


@dataclass(slots=True)
class Memory:
    """Answers by commit id, which names the content: good for every source of every repository. Bounded.

    Verdicts are kept by whom the source trusts as well, so they are asked anew when its signers change.
    """

    verdicts: dict[tuple[str, str], signatures.Verdict] = field(default_factory=dict)
    touched: dict[tuple[str, str, tuple[str, ...]], bool] = field(default_factory=dict)
    descended: dict[tuple[str, str], bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RepositoryHistory:
    """The history of the source at `path` of a repository; implements `gate.History`.

    `trust` None: the source verifies nothing, and nothing is verified.
    """

    repository: git.Repository
    path: str = "."
    trust: signatures.Trust | None = None
    memory: Memory = field(default_factory=Memory)

    def exists(self, revision: str) -> bool:
        try:
            kind, _size = self.repository.git.odb.read_header(revision)
        except (KeyError, ValueError, pygit2.GitError):
            return False
        return bool(kind == ObjectType.COMMIT)

    def parents(self, revision: str) -> Sequence[str]:
        commit = self.repository.git[revision].peel(pygit2.Commit)
        return [str(parent) for parent in commit.parent_ids]

    def descends(self, newer: str, older: str) -> bool:
        key = (newer, older)
        if key not in self.memory.descended:
            if len(self.memory.descended) >= _REMEMBERED:
                self.memory.descended.clear()
            self.memory.descended[key] = newer == older or bool(self.repository.git.descendant_of(newer, older))
        return self.memory.descended[key]

    def touches(self, revision: str, patterns: tuple[str, ...]) -> bool:
        key = (revision, self.path, patterns)
        if key not in self.memory.touched:
            if len(self.memory.touched) >= _REMEMBERED:
                self.memory.touched.clear()
            self.memory.touched[key] = self._touches(revision, patterns)
        return self.memory.touched[key]

    def _touches(self, revision: str, patterns: tuple[str, ...]) -> bool:
        first = next(iter(self.parents(revision)), None)
        known = first is not None and self.exists(first)
        before = self.repository.snapshot(first, self.path).tree if known and first else git.EMPTY_TREE
        after = self.repository.snapshot(revision, self.path)
        if before == after.tree or not patterns:
            return before != after.tree
        guarded = _guarded(patterns)
        try:
            changes = after.changes(before, lambda _folder: True)
        except errors.Stall:  # too many to look at
            return True
        return changes is None or any(guarded.ignores(path) for path in (*changes.files, *changes.forbidden))

    def verdict(self, revision: str) -> signatures.Verdict:
        if self.trust is None:
            return signatures.Refused("SignerUnknown", "nobody is listed who may sign")
        key = (revision, self.trust.digest)
        if key not in self.memory.verdicts:
            if len(self.memory.verdicts) >= _REMEMBERED:
                self.memory.verdicts.clear()
            self.memory.verdicts[key] = self._verdict(revision, self.trust)
        return self.memory.verdicts[key]

    def _verdict(self, revision: str, trust: signatures.Trust) -> signatures.Verdict:
        odb = self.repository.git.odb
        _kind, size = odb.read_header(revision)
        if size > commits.MAX_BYTES:
            return signatures.Refused("SignatureInvalid", f"it has more than {commits.MAX_BYTES} bytes")
        return signatures.judge(odb.read(revision)[1], trust, sha256=len(revision) == 64)


@functools.lru_cache(maxsize=256)
def _guarded(patterns: tuple[str, ...]) -> paths.Rules:
    return paths.Rules((), patterns)
