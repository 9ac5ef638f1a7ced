"""Worker processes for bulk: started when there is much to parse, ended when it is done.

A worker opens the repositories itself and reads what it needs, so blobs do not travel. A worker that dies takes only
its tenant's round with it: that build is tried once more alone, and a second death is that tenant's failure.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

from agentos_controller.reconcile import build, values
from agentos_controller.source import snapshot
from agentos_engine import kind

Recipes = Mapping[str, snapshot.Recipe]


def _prepare() -> None:
    # A worker lives for one bulk: its garbage is returned to the system as a whole.
    gc.disable()


def _load() -> None:
    """What a worker loads with its first job."""
    kind.kinds()


def _work(job: values.Job, recipes: Recipes) -> values.Built:
    readers = {source_id: recipe.open() for source_id, recipe in recipes.items()}
    built = build.build(job, readers)
    for reader in readers.values():
        built.counters.add(reader.counters)
    return built


class Open:
    """A pool while it is open; its processes start with the first build."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._executor: ProcessPoolExecutor | None = None

    async def build(self, job: values.Job, recipes: Recipes) -> values.Built:
        """Build `job` in a worker.

        Raises:
            BrokenProcessPool: the worker died of it, twice.
        """
        # What was parsed here is parsed again there: that is cheaper than to carry it over.
        job = replace(job, files=[replace(file, parsed=None) for file in job.files])
        try:
            return await self._run(job, recipes)
        except BrokenProcessPool:
            self.close()
        alone = Open(1)
        try:
            return await alone._run(job, recipes)
        finally:
            alone.close()

    def start(self) -> None:
        """Start the processes, without waiting for them."""
        for _ in range(self._size):
            self._started().submit(_load)

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self._size, mp_context=context, initializer=_prepare)
        return self._executor

    async def _run(self, job: values.Job, recipes: Recipes) -> values.Built:
        return await asyncio.get_running_loop().run_in_executor(self._started(), _work, job, recipes)

    def close(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)


class Pool:
    """Where pools come from; `size` worker processes each."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._warm: Open | None = None

    def warm(self) -> None:
        """Start the processes that `take` gives next now: it is about to come, with much to do."""
        if self._warm is None:
            self._warm = Open(self._size)
            self._warm.start()

    def cool(self) -> None:
        """End what `warm` started, if nobody took it."""
        if self._warm is not None:
            self._warm.close()
            self._warm = None

    def take(self) -> Open:
        """Worker processes, the warm ones if there are any; whoever takes them closes them."""
        pool, self._warm = self._warm or Open(self._size), None
        return pool
