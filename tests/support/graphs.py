"""Small commit graphs: random ones for laws, as plain values and as real git."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pygit2
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import strategies as st
from pygit2.enums import FileMode

from agentos_controller.source import signatures
from tests.support import repos, signing

GUARDED = ("guarded/*",)
"""The patterns under which only one of the two files of every commit is guarded."""
KEYS = {name: signing.Ssh(ed25519.Ed25519PrivateKey.from_private_bytes(name.encode() * 32)) for name in "abx"}
SIGNERS = {"signers": {name: {"ssh": KEYS[name].line} for name in "ab"}}
"""`verify` of a source that lists a and b; x may sign, but is not listed."""


@dataclass(frozen=True)
class Commit:
    """`parents` are indexes of earlier commits. Two files, one of which `GUARDED` names."""

    parents: tuple[int, ...]
    guarded: int = 0
    free: int = 0
    signer: str | None = None


@dataclass(frozen=True)
class Graph:
    """Implements `gate.History` over plain values; revisions are indexes as text."""

    commits: tuple[Commit, ...]
    gone: frozenset[int] = frozenset()

    def exists(self, revision: str) -> bool:
        return int(revision) < len(self.commits) and int(revision) not in self.gone

    def parents(self, revision: str) -> Sequence[str]:
        return [str(parent) for parent in self.commits[int(revision)].parents]

    def ancestors(self, revision: str) -> set[str]:
        """The commit and all that it descends from."""
        found: set[str] = set()
        todo = [revision]
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo.extend(self.parents(one))
        return found

    def descends(self, newer: str, older: str) -> bool:
        return older in self.ancestors(newer)

    def touches(self, revision: str, patterns: tuple[str, ...]) -> bool:
        commit = self.commits[int(revision)]
        if not commit.parents:
            return True
        before = self.commits[commit.parents[0]]
        return commit.guarded != before.guarded or (not patterns and commit.free != before.free)

    def verdict(self, revision: str) -> signatures.Verdict:
        signer = self.commits[int(revision)].signer
        if signer is None:
            return signatures.Refused("CommitUnsigned", "it is not signed")
        if signer == "x":
            return signatures.Refused("SignerUnknown", "it is signed by x")
        return signatures.Verified(signer)


_FEW = st.integers(0, 1)
_SIGNED = st.sampled_from([None, "a", "a", "b", "x"])


@st.composite
def graphs(draw: st.DrawFn, most: int = 10) -> Graph:
    """Lines, forks and merges; now and then a root of its own."""
    commits: list[Commit] = []
    for index in range(draw(st.integers(1, most))):
        parents: tuple[int, ...] = ()
        if index and draw(st.integers(0, 9)):
            near = st.integers(max(0, index - 4), index - 1)
            parents = tuple(dict.fromkeys(draw(st.lists(near, min_size=1, max_size=2))))
        commits.append(Commit(parents, draw(_FEW), draw(_FEW), draw(_SIGNED)))
    return Graph(tuple(commits))


@dataclass
class Written:
    """A graph in a real repository; `ids` are the commits' in order."""

    git: pygit2.Repository
    ids: list[str] = field(default_factory=list)


def write(graph: Graph, repo: repos.Repo, folder: str = "") -> Written:
    """The graph as real commits with real signatures; files stand below `folder`."""
    written = Written(repo.git)
    for index, commit in enumerate(graph.commits):
        files = {"guarded/a.yaml": commit.guarded, "free/b.yaml": commit.free}
        tree = _tree(repo.git, {f"{folder}{path}": f"{value}\n" for path, value in files.items()})
        parents = [written.ids[parent] for parent in commit.parents]
        written.ids.append(signed_commit(repo.git, tree, parents, commit.signer and KEYS[commit.signer], index))
    return written


def _tree(git: pygit2.Repository, files: dict[str, str]) -> str:
    index = pygit2.Index()
    for path, content in files.items():
        index.add(pygit2.IndexEntry(path, git.create_blob(content.encode()), FileMode.BLOB))
    return str(index.write_tree(git))


def signed_commit(
    git: pygit2.Repository, tree: str, parents: list[str], sign: signing.Ssh | None, number: int = 0
) -> str:
    """A commit of `tree`, signed if `sign` is given; no ref names it."""
    who = pygit2.Signature("Test Author", "author@example.com", 1_767_225_600 + number, 0)
    content = git.create_commit_string(who, who, f"Change {number}\n", pygit2.Oid(hex=tree), parents)
    if sign is None:
        return str(git.write(pygit2.enums.ObjectType.COMMIT, content))
    made = sign(content.encode()).decode().removesuffix("\n")
    return str(git.create_commit_with_signature(content, made, "gpgsig"))
