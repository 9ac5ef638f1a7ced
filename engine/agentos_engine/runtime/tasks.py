"""Runs several pieces of one node side by side, each as a LangGraph task of its own.

A finished piece is kept with the checkpoint and never runs again; each waiting one shows its own question. Pieces are
created in order, because a task is known by when it was called, and only as many at a time as may run: the order of
creation is the order of pieces either way, and LangGraph's bookkeeping grows with what is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from agentos_engine.runtime import lg

Piece = Callable[[lg.RunnableConfig], Awaitable[Any]]
"""Gets the config of its task, returns JSON. It must not raise anything of its own: a task's error is kept, too, and
would come back as mere text."""


@lg.task
async def _member(piece: Piece) -> Any:
    return await piece(lg.get_config())


async def gather(pieces: Sequence[Piece], *, concurrency: int, stop: Callable[[Any], bool]) -> list[Any]:
    """Results in the order of `pieces`, at most `concurrency` at a time.

    A result of which `stop` is true ends it: nothing new starts, what runs is cancelled, and the results that are not
    there are None. If pieces wait for people, the others run to their end first; then all their questions are raised
    together.
    """
    results: list[Any] = [None] * len(pieces)
    interrupts: list[Any] = []
    finished: asyncio.Queue[asyncio.Future[Any]] = asyncio.Queue()
    running: dict[asyncio.Future[Any], int] = {}
    started = 0
    try:
        while running or started < len(pieces):
            while started < len(pieces) and len(running) < concurrency:
                future: asyncio.Future[Any] = _member(pieces[started])  # type: ignore[assignment]
                running[future] = started
                future.add_done_callback(finished.put_nowait)
                started += 1
            future = await finished.get()
            index = running.pop(future)
            if isinstance(error := future.exception(), lg.GraphInterrupt):
                interrupts.extend(error.args[0])
                continue
            if error is not None:
                raise error
            results[index] = future.result()
            if stop(results[index]):
                return results
    finally:
        for future in running:
            future.cancel()
    if interrupts:
        raise lg.GraphInterrupt(tuple(interrupts))
    return results
