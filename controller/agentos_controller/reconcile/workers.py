"""Worker processes, which read and build what repositories hold, so that nothing in a repository can harm this process.

One request at a time and process. What a worker was at when it died, ran over its time or over its memory is known by
its mark. A worker opens the repositories itself and reads what it needs, so blobs do not travel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import os
import pickle
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from agentos_controller.reconcile import marks, worker

log = logging.getLogger(__name__)

R = TypeVar("R")
LOOK = 0.25
"""Seconds between two looks at how far a worker is."""
LARGE = 1 << 20
"""Bytes of an answer above which it is unpacked in a thread."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a worker: seconds over one object, seconds over a request without any, bytes of memory."""

    object_seconds: float = 10.0
    seconds: float = 600.0
    memory: int = 4 << 30

    def hastier(self, by: int) -> Limits:
        """The same for one whose objects took too long `by` times already."""
        return replace(self, object_seconds=max(self.object_seconds / (1 + by), min(self.object_seconds, 0.5)))


class Killed(Exception):
    """A worker ended before it answered. `mark` is what it was at, `how` says what became of it."""

    def __init__(self, mark: marks.Mark, how: str) -> None:
        super().__init__(f"a worker process {how}" + (f" over {mark}" if mark is not None else ""))
        self.mark = mark
        self.how = how


class Worker:
    """One process, started with its first request or by `start`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._memory: mmap.mmap | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._starting: asyncio.Task[asyncio.subprocess.Process] | None = None

    def start(self) -> None:
        """Start the process, without waiting for it."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())

    async def _start(self) -> asyncio.subprocess.Process:
        with tempfile.TemporaryFile() as file:
            file.truncate(marks.SIZE)
            self._memory = mmap.mmap(file.fileno(), marks.SIZE)
            arguments = (str(file.fileno()), str(self._limits.memory))
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", worker.__name__, *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=(file.fileno(),),
                limit=LARGE,
                process_group=0,  # an interrupt at the terminal is for the parent to act on
            )
        return self._process

    @property
    def alive(self) -> bool:
        """Whether it can take a request: it never had one, or answered the last."""
        return self._process is None or self._process.returncode is None

    async def run(self, work: Callable[..., R], limits: Limits, *arguments: Any) -> R:
        """Let the process do `work`, a function of a module, called with where to leave marks and `arguments`.

        Raises:
            Killed: it did not come to an end.
        """
        self.start()
        assert self._starting is not None
        late = asked = None
        try:
            process = await asyncio.shield(self._starting)
            asked = asyncio.ensure_future(_ask(process, worker.request(work, arguments)))
            late = await self._watch(asked, limits)
            answer = await asked
        except (OSError, asyncio.IncompleteReadError):
            await self.end()
            if asked is None:
                raise
            raise Killed(marks.read(self._marks)[1], late or _fate(process.returncode)) from None
        except BaseException:
            await self.end()
            raise
        finally:
            if asked is not None:
                asked.cancel()
        result, told = await asyncio.to_thread(pickle.loads, answer) if len(answer) > LARGE else pickle.loads(answer)  # noqa: S301
        if told is not None:
            result.add_note(f"In a worker process:\n{told}")
            raise result
        return result  # type: ignore[no-any-return]

    @property
    def _marks(self) -> mmap.mmap:
        assert self._memory is not None
        return self._memory

    async def _watch(self, asked: asyncio.Future[bytes], limits: Limits) -> str | None:
        """Wait for the end of `asked`; if it takes too long, end the process and say so."""
        loop = asyncio.get_running_loop()
        began = since = loop.time()
        before = None
        while not (await asyncio.wait({asked}, timeout=min(LOOK, limits.object_seconds)))[0]:
            count, mark = marks.read(self._marks)
            now = loop.time()
            if count != before:
                before, since = count, now
            stuck = mark is not None and now - since > limits.object_seconds
            if stuck or now - began > limits.seconds:
                self._kill()
                return f"took more than {limits.object_seconds if stuck else limits.seconds:g} s"
        return None

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """End the process now."""
        if self._starting is not None:
            with contextlib.suppress(OSError):
                await asyncio.shield(self._starting)
        self._kill()
        if self._process is not None:
            await self._process.wait()
            # What it was sent and did not read must not stay in the loop.
            self._process._transport.close()  # type: ignore[attr-defined]


async def _ask(process: asyncio.subprocess.Process, request: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(request)
    await process.stdin.drain()
    return await process.stdout.readexactly(worker.length(await process.stdout.readexactly(worker.HEAD)))


def _fate(status: int | None) -> str:
    if status == worker.OUT_OF_MEMORY:
        return "ran out of memory"
    if status is not None and status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


class Workers:
    """Up to `size` processes. They stay until `close`; where `keep` is set, all but so many end when none is busy."""

    def __init__(self, size: int, limits: Limits | None = None, keep: int = 0) -> None:
        self.limits = limits or Limits()
        self._keep = keep
        self._slots = asyncio.Semaphore(size)
        self._size = size
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._ending: set[asyncio.Task[None]] = set()

    def start(self, count: int) -> None:
        """Have `count` processes start, without waiting for them."""
        for _ in range(count - len(self._idle) - len(self._busy)):
            fresh = Worker(self.limits)
            fresh.start()
            self._idle.append(fresh)

    async def run(self, work: Callable[..., R], hasty: int, *arguments: Any) -> R:
        """`work` in one of the processes, see `Worker.run`; its objects took too long `hasty` times already.

        Raises:
            Killed: the process did not come to an end.
        """
        async with self._slots:
            one = self._idle.pop() if self._idle else Worker(self.limits)
            self._busy.add(one)
            try:
                return await one.run(work, self.limits.hastier(hasty), *arguments)
            finally:
                self._busy.discard(one)
                if one.alive:
                    self._idle.append(one)
                if self._keep and not self._busy:
                    self._end(self._idle[self._keep :])
                    del self._idle[self._keep :]

    def _end(self, those: list[Worker]) -> None:
        for one in those:
            task = asyncio.ensure_future(one.end())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def close(self) -> None:
        """End those that have nothing to do."""
        self._end(self._idle)
        self._idle = []

    async def closed(self) -> None:
        """`close`, and wait until none is left of what has nothing to do."""
        self.close()
        while self._ending:
            await asyncio.wait(list(self._ending))
