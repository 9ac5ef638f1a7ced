"""The files of a working copy for the verbs that need no server: what is there, how it is read, and by how many."""

from __future__ import annotations

import contextlib
import errno
import gc
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentos_controller.cli.failures import Failure
from agentos_controller.source import folder

SPREAD = 300
"""Files above which the work is worth a second process."""
MAX_TEXT = 256 * 1024
"""Bytes of a file that is sent along for a plan."""
Run = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads plain files below `root`, a resolved path; follows no link. Picklable, so that other processes can."""

    root: Path

    def __call__(self, path: str) -> bytes | None:
        folder, _, name = f"{self.root}/{path}".rpartition("/")
        if not _is_itself(folder):
            return None
        try:
            with open(os.open(f"{folder}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                return file.read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise


@lru_cache(4096)
def _is_itself(folder: str) -> bool:
    """Whether no link leads to a folder: one in a repository could lead out of it."""
    return os.path.realpath(folder) == folder


def root_of(path: Path) -> Path:
    """`path` itself, which has to be a folder."""
    if not path.is_dir():
        raise Failure(f"{path} is no folder", "Give the folder that holds agents/, workflows/ and connectors/.")
    return path.resolve()


def files(root: Path) -> tuple[list[str], list[str]]:
    """Paths of the plain files below `root`, and of what is no plain file."""
    plain: list[str] = []
    other: list[str] = []
    for path, entry in folder.walk(root):
        (plain if entry.is_file(follow_symlinks=False) else other).append(path)
    return plain, other


@contextmanager
def workers(count: int) -> Iterator[tuple[Run, int]]:
    """How to run `count` files' worth of work, and into how many pieces to cut it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A short life with much to keep: collecting would double its cost.
    gc.disable()
    if count < SPREAD or cores < 2:
        yield map, 1
        return
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("fork")) as pool:
        yield pool.map, cores * 4


def committed(root: Path, ref: str) -> tuple[list[str], Callable[[str], bytes | None]]:
    """Paths and contents of the folder `root` at a commit of its repository."""
    import pygit2

    repository = _repository(root)
    below = root.relative_to(Path(repository.workdir).resolve())
    tree: Any = repository[commit_of(root, ref)].peel(pygit2.Tree)
    for part in below.parts:
        if part not in tree or not isinstance(tree[part], pygit2.Tree):
            return [], lambda _path: None
        tree = tree[part]
    found: dict[str, Any] = {}
    waiting = [("", tree)]
    while waiting:
        prefix, folder_ = waiting.pop()
        for entry in folder_:
            if isinstance(entry, pygit2.Tree):
                waiting.append((f"{prefix}{entry.name}/", entry))
            elif isinstance(entry, pygit2.Blob) and entry.filemode != pygit2.enums.FileMode.LINK:
                found[f"{prefix}{entry.name}"] = entry

    def read(path: str) -> bytes | None:
        blob = found.get(path)
        return bytes(blob.data) if blob is not None else None

    return list(found), read


def commit_of(root: Path, ref: str) -> str:
    """The id of the commit that `ref` names in the repository around `root`."""
    import pygit2

    try:
        return str(_repository(root).revparse_single(ref).peel(pygit2.Commit).id)
    except (KeyError, ValueError, pygit2.GitError):
        raise Failure(
            f"{ref!r} names no commit here", "Give a branch, tag or commit; commit something first."
        ) from None


def texts(root: Path) -> dict[str, str]:
    """Every file a manifest could be or include, with its text: YAML, prompts, recordings."""
    found = {}
    for path in files(root)[0]:
        if (root / path).stat().st_size <= MAX_TEXT:
            with contextlib.suppress(UnicodeDecodeError, OSError):
                found[path] = (root / path).read_text()
    return found


def _repository(root: Path) -> Any:
    import pygit2

    found = pygit2.discover_repository(str(root))
    if found is None:
        raise Failure(f"{root} is in no git repository", "Run `git init`, or `agentos init`.")
    return pygit2.Repository(found)
