"""Reading and building so that no object can harm more than itself.

What ends the worker that is over it, or keeps it too long, is quarantined, and the others are built without it. Where
there are no workers (`size` 0) the same is done here, without that protection.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from agentos_controller import clock
from agentos_controller.reconcile import build, definitions, marks, values, worker, workers
from agentos_controller.source import snapshot
from agentos_engine import errors, load

log = logging.getLogger(__name__)

MAX_KILLED = 20
"""Objects of one round that may kill what builds them; with more the whole round fails."""

Trees = Mapping[str, snapshot.Snapshot]
"""Source id to its tree; a source that cannot be read now is missing."""


class Isolation:
    """Builds in `pool`, or here where there is none."""

    def __init__(self, pool: workers.Workers | None, time: clock.Clock) -> None:
        self.counters = snapshot.Counters()
        """What was read outside this process."""
        self._pool = pool
        self._time = time

    async def read(self, files: Mapping[values.Place, str], trees: Trees) -> dict[values.Place, values.File]:
        """The parsed form of each of `files`, place to blob id."""
        found: dict[values.Place, values.File] = {}
        if self._pool is None:
            for place, blob in files.items():
                parsed = definitions.read(place, blob, trees.get(place.source_id))
                found[place] = values.File(place, blob, parsed=parsed)
            return found
        killed = 0
        while left := {place: blob for place, blob in files.items() if place not in found}:
            try:
                packed, counted = await self._pool.run(worker.read, killed, left, _recipes(trees))
            except workers.Killed as ended:
                killed = _again(ended, killed)
                if isinstance(ended.mark, marks.Reading):
                    place = values.Place(*ended.mark)
                    found[place] = self._quarantined(values.File(place, left[place]), ended)
                continue
            self.counters.add(counted)
            for place, body in packed.items():
                found[place] = values.File(place, left[place], body, load.File.unpack(body), fresh=True)
        return found

    async def build(self, job: values.Job, trees: Trees) -> values.Built:
        """Everything that follows from `job`."""
        if self._pool is None:
            return build.build(job, trees)
        # Nothing travels twice; what was parsed here and is not packed is parsed again there.
        job = replace(job, files=[replace(file, parsed=None) for file in job.files])
        killed = 0
        while True:
            try:
                built = await self._pool.run(worker.build_job, killed, job, _recipes(trees))
            except workers.Killed as ended:
                killed = _again(ended, killed)
                job = self._without(job, ended)
                continue
            self.counters.add(built.counters)
            return built

    def _without(self, job: values.Job, ended: workers.Killed) -> values.Job:
        """`job`, with what killed its build quarantined."""
        if isinstance(ended.mark, marks.Reading):
            place = values.Place(*ended.mark)
            return replace(
                job, files=[self._quarantined(file, ended) if file.place == place else file for file in job.files]
            )
        if ended.mark is not None:
            return replace(job, poisoned={**job.poisoned, ended.mark: ended.how})
        return job

    def _quarantined(self, file: values.File, ended: workers.Killed) -> values.File:
        until = self._time.now_us() + build.QUARANTINE
        parsed = definitions.quarantined(ended.how, until)
        return replace(file, packed=parsed.pack(), parsed=parsed, fresh=True, until=until)


def _again(ended: workers.Killed, killed: int) -> int:
    """Count another death; so many that it is no use to go on are the round's."""
    log.error("build killed", extra={"mark": str(ended.mark), "how": ended.how})
    if ended.mark is None and killed:
        raise ended
    if killed >= MAX_KILLED:
        raise errors.Stall("Quarantined", f"more than {MAX_KILLED} objects end what builds them, the last: {ended}")
    return killed + 1


def _recipes(trees: Trees) -> worker.Recipes:
    return {source_id: tree.recipe() for source_id, tree in trees.items()}
