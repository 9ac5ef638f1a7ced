"""Marks: over which object a build is, told in shared memory, so that a death does not take the answer with it."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from typing import NamedTuple

from agentos_engine.model import ResourceRef

SIZE = 1 << 13
_HEAD = struct.Struct("<QHc")  # how often it was written, bytes of text, what it is


class Reading(NamedTuple):
    """A file is being read."""

    source_id: str
    path: str


Mark = Reading | ResourceRef | None
"""A file that is read, a resource that is built, or nothing in particular."""
At = Callable[[Mark], None]


def nowhere(_mark: Mark) -> None:
    """Leaves no mark: for a build that nobody watches."""


class Written:
    """Marks in `memory`, of `SIZE` bytes."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._count = 0

    def __call__(self, mark: Mark) -> None:
        self._count += 1
        if mark is None:
            _HEAD.pack_into(self._memory, 0, self._count, 0, b"-")
            return
        kind = b"f" if isinstance(mark, Reading) else b"r"
        text = "\0".join(mark).encode(errors="surrogateescape")[: SIZE - _HEAD.size]
        self._memory[_HEAD.size : _HEAD.size + len(text)] = text
        _HEAD.pack_into(self._memory, 0, self._count, len(text), kind)


def read(memory: mmap.mmap) -> tuple[int, Mark]:
    """How many marks were written so far, and the last of them."""
    count, size, kind = _HEAD.unpack_from(memory)
    parts = memory[_HEAD.size : _HEAD.size + size].decode(errors="surrogateescape").split("\0")
    if kind not in (b"f", b"r") or len(parts) != 2:
        return count, None
    return count, Reading(*parts) if kind == b"f" else ResourceRef(*parts)
