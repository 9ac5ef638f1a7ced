"""Worker processes: what they can do, what they get, and what is left of one that dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentos_controller.reconcile import marks, values, worker, workers
from agentos_controller.source import git, overlay
from agentos_engine.model import ResourceRef
from tests.support import chores, manifests, repos

LIMITS = workers.Limits(object_seconds=1.0, seconds=60.0, memory=1 << 30)


@pytest.fixture
async def pool() -> AsyncIterator[workers.Workers]:
    made = workers.Workers(1, LIMITS)
    yield made
    await made.closed()


def job(files: list[values.File]) -> values.Job:
    tenant = values.Tenant("t", "acme", False, {}, 0)
    origins = {"s": values.Origin("s", "main", 0, "r" * 40, None, None)}
    return values.Job(tenant, origins, files, frozenset(), None, {}, frozenset(), {}, {}, {}, 1)


async def test_a_worker_reads_the_repository_itself(pool: workers.Workers, tmp_path: Path) -> None:
    repo = repos.Repo(tmp_path / "repo", bare=True)
    repo.commit(manifests.small())
    tree = git.Repository(repo.folder, tmp_path / "home").snapshot(repo.head)
    written = overlay.Overlay(tree, {"agents/new.yaml": manifests.model("new").encode()})
    files = [
        values.File(values.Place("s", path), blob) for path, blob in written.listing(lambda _path: True).files.items()
    ]
    built = await pool.run(worker.build_job, 0, job(files), {"s": written.recipe()})
    assert built.moved == {
        ResourceRef("Model", "fast"),
        ResourceRef("Model", "new"),
        ResourceRef("Agent", "greeter"),
        ResourceRef("Workflow", "hello"),
    }
    assert built.counters.blobs == 3


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "ended with status 9"),
        ("kill", "was ended by SIGKILL"),
        ("hang", "took more than 1 s"),
        ("memory", "ran out of memory"),
    ],
)
async def test_a_death_is_told_with_what_it_was_over(pool: workers.Workers, how: str, said: str) -> None:
    at = marks.Reading("source", "agents/ä b.yaml")
    with pytest.raises(workers.Killed, match=said) as caught:
        await pool.run(chores.die, 0, how, at)
    assert caught.value.mark == at
    assert await pool.run(chores.add, 0, 2, 3) == 5


async def test_a_request_that_is_over_nothing_has_a_time_too() -> None:
    pool = workers.Workers(1, workers.Limits(seconds=1.0))
    with pytest.raises(workers.Killed, match="took more than 1 s") as caught:
        await pool.run(chores.die, 0, "hang", None)
    assert caught.value.mark is None
    await pool.closed()


async def test_what_makes_progress_may_take_its_time(pool: workers.Workers) -> None:
    assert await pool.run(chores.steps, 0, 12, 0.1) == 12


async def test_an_error_comes_back_as_it_was_raised(pool: workers.Workers) -> None:
    with pytest.raises(KeyError, match="missing") as caught:
        await pool.run(chores.fail, 0, "missing")
    assert "chores.py" in caught.value.__notes__[0]
    assert await pool.run(chores.add, 0, 2, 3) == 5


async def test_large_questions_and_answers(pool: workers.Workers) -> None:
    assert len(await pool.run(chores.twice, 0, "x" * 5_000_000)) == 10_000_000


async def test_it_gets_no_secrets_and_prints_into_no_answer(
    pool: workers.Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTOS_MASTER_KEY", "not-so-secret")
    got = await pool.run(chores.environment, 0)
    assert got.keys() <= {"PATH", "LC_ALL", "LC_CTYPE", "PYTHONPATH"}


async def test_a_question_that_is_broken_off_ends_its_worker(pool: workers.Workers) -> None:
    asking = asyncio.ensure_future(pool.run(chores.die, 0, "hang", None))
    await asyncio.sleep(0)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    assert await pool.run(chores.add, 0, 2, 3) == 5


async def test_processes_started_ahead_are_those_that_work() -> None:
    pool = workers.Workers(2, LIMITS, keep=1)
    pool.start(1)
    first = await pool.run(chores.process, 0)
    assert await pool.run(chores.process, 0) == first
    both = await asyncio.gather(pool.run(chores.rest, 0, 0.2), pool.run(chores.rest, 0, 0.2))
    assert len({*both}) == 2
    assert await pool.run(chores.process, 0) in both
    await pool.closed()
    assert [each for each in (first, *both) if _alive(each)] == []


def test_it_ends_with_its_parent() -> None:
    """Even one that hears nothing any more."""
    program = "from tests.support import chores; chores.parent()"
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert _alive(child)
    parent.kill()
    parent.wait()
    while _alive(child):  # pytest's own timeout is the end of it
        pass


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process, os.WNOHANG)
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
