"""A process that reads and builds what repositories hold, and nothing else: the child's side of `workers`.

It gets no environment but what it needs to start, no secrets, and no more memory than it is given; it ends with its
parent. Before it looks at an object it leaves a mark where the parent can read it, so that whatever becomes of it, the
parent knows over what.

    python -m agentos_controller.reconcile.worker <descriptor of the marks> <bytes of memory>
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import pickle
import resource
import select
import signal
import struct
import sys
import traceback
from collections.abc import Mapping
from typing import Any, BinaryIO

from agentos_controller.reconcile import build, definitions, marks, values
from agentos_controller.source import snapshot
from agentos_engine import kind, load

Recipes = Mapping[str, snapshot.Recipe]
REST = 0.2
"""Seconds without a request after which there is time to collect garbage."""
OUT_OF_MEMORY = 77
"""Exit status of a process that may take no more memory."""
_PR_SET_PDEATHSIG = 1
_LENGTH = struct.Struct("<Q")


def read(
    at: marks.At, files: Mapping[values.Place, str], recipes: Recipes
) -> tuple[dict[values.Place, bytes], snapshot.Counters]:
    """The packed form of each of `files`, place to blob id, and what was read for it."""
    readers = {source_id: recipe.open() for source_id, recipe in recipes.items()}
    found: dict[values.Place, load.File] = {}
    for place, blob in files.items():
        at(marks.Reading(*place))
        found[place] = definitions.read(place, blob, readers.get(place.source_id))
    return {place: file.pack() for place, file in found.items()}, _counted(readers)


def build_job(at: marks.At, job: values.Job, recipes: Recipes) -> values.Built:
    """Everything that follows from `job`."""
    readers = {source_id: recipe.open() for source_id, recipe in recipes.items()}
    built = build.build(job, readers, at)
    built.counters.add(_counted(readers))
    return built


def _counted(readers: Mapping[str, snapshot.Reader]) -> snapshot.Counters:
    counters = snapshot.Counters()
    for reader in readers.values():
        counters.add(reader.counters)
    return counters


def main() -> None:
    """Answer requests until there are no more."""
    _bound(int(sys.argv[2]))
    at = marks.Written(mmap.mmap(int(sys.argv[1]), marks.SIZE))
    requests = os.fdopen(0, "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that prints may speak in an answer's place
    kind.kinds()
    gc.freeze()
    gc.disable()
    while (request := _receive(requests)) is not None:
        at(None)
        _send(answers, _answer(at, request))
        del request
        if not select.select([requests], [], [], REST)[0]:
            gc.collect()  # while nobody waits for it


def _answer(at: marks.At, request: bytes) -> bytes:
    try:
        work, arguments = pickle.loads(request)  # noqa: S301  # from our own parent
        return pickle.dumps((work(at, *arguments), None))
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        try:
            return pickle.dumps((error, told))
        except Exception:
            return pickle.dumps((RuntimeError(repr(error)), told))


def _bound(memory: int) -> None:
    """Take no more than `memory` bytes, write no core, and end when the parent does."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


def _receive(stream: BinaryIO) -> bytes | None:
    head = stream.read(_LENGTH.size)
    return stream.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else None


def _send(stream: BinaryIO, data: bytes) -> None:
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def request(work: Any, arguments: tuple[Any, ...]) -> bytes:
    """What the parent sends, to be followed by nothing until it is answered."""
    data = pickle.dumps((work, arguments))
    return _LENGTH.pack(len(data)) + data


def length(head: bytes) -> int:
    """How many bytes follow these first `HEAD` ones."""
    size: int = _LENGTH.unpack(head)[0]
    return size


HEAD = _LENGTH.size

if __name__ == "__main__":
    main()
