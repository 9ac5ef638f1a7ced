"""Builds in worker processes, and what is left of a worker that dies."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentos_controller.reconcile import values, workers
from agentos_controller.source import git, snapshot
from agentos_engine.model import ResourceRef
from tests.support import manifests, repos


@dataclass(frozen=True)
class Deadly:
    """A source whose reading kills the process."""

    def open(self) -> snapshot.Reader:
        os._exit(9)


def job(files: list[values.File]) -> values.Job:
    tenant = values.Tenant("t", "acme", False, {}, 0)
    origins = {"s": values.Origin("s", "main", 0, "r" * 40, None, None)}
    return values.Job(tenant, origins, files, frozenset(), None, {}, frozenset(), {}, {}, {}, 1)


async def test_a_worker_reads_the_repository_itself(tmp_path: Path) -> None:
    repo = repos.Repo(tmp_path / "repo", bare=True)
    repo.commit(manifests.small())
    tree = git.Repository(repo.folder, tmp_path / "home").snapshot(repo.head)
    files = [
        values.File(values.Place("s", path), blob) for path, blob in tree.listing(lambda _path: True).files.items()
    ]
    with contextlib.closing(workers.Pool(1).take()) as pool:
        built = await pool.build(job(files), {"s": tree.recipe()})
    assert built.moved == {
        ResourceRef("Model", "fast"),
        ResourceRef("Agent", "greeter"),
        ResourceRef("Workflow", "hello"),
    }
    assert built.counters.blobs == 3


async def test_a_worker_that_dies_fails_its_build_and_no_other(tmp_path: Path) -> None:
    with contextlib.closing(workers.Pool(1).take()) as pool:
        with pytest.raises(BrokenProcessPool):
            await pool.build(job([]), {"s": Deadly()})
        assert (await pool.build(job([]), {})).resources == []


async def test_processes_started_ahead_are_those_that_are_opened_or_end() -> None:
    for process in multiprocessing.active_children():
        process.join()  # of other tests, about to end
    pool = workers.Pool(1)
    pool.warm()
    (ahead,) = multiprocessing.active_children()
    with contextlib.closing(pool.take()) as opened:
        assert (await opened.build(job([]), {})).resources == []
        assert multiprocessing.active_children() == [ahead]
    ahead.join()
    pool.warm()
    (ahead,) = multiprocessing.active_children()
    pool.cool()
    ahead.join()
    assert multiprocessing.active_children() == []
