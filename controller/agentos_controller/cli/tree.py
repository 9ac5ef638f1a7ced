"""The files of a working copy for the verbs that need no server: what is there, how it is read, and by how many."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentos_controller.cli.failures import Failure
from agentos_controller.source import folder

SPREAD = 300
"""Files above which the work is worth a second process."""
Run = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads files below `root`; picklable, so that other processes can."""

    root: Path

    def __call__(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None


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
    if count < SPREAD or cores < 2:
        yield map, 1
        return
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("fork")) as pool:
        yield pool.map, cores * 4
