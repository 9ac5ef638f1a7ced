"""Work for worker processes, good and bad, and a parent whose worker is at work without an end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from agentos_controller.reconcile import marks, workers


def add(_at: marks.At, one: int, other: int) -> int:
    return one + other


def twice(_at: marks.At, text: str) -> str:
    return text * 2


def steps(at: marks.At, count: int, seconds: float) -> int:
    for number in range(count):
        at(marks.Reading("source", str(number)))
        time.sleep(seconds)
    return count


def fail(_at: marks.At, what: str) -> None:
    raise KeyError(what)


def environment(_at: marks.At) -> dict[str, str]:
    print("this is no answer")
    return dict(os.environ)


def process(_at: marks.At) -> int:
    return os.getpid()


def rest(_at: marks.At, seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def die(at: marks.At, how: str, mark: marks.Mark) -> None:
    at(mark)
    taken: list[Any] = []
    if how == "exit":
        os._exit(9)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        if how == "memory":
            taken.append(bytearray(1 << 33))


async def _parent() -> None:
    pool = workers.Workers(1)
    print(await pool.run(process, 0), flush=True)
    await pool.run(die, 0, "hang", None)


def parent() -> None:
    """Print the number of the worker's process, and wait for it for ever."""
    asyncio.run(_parent())
