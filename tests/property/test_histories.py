"""Laws of the reconciler, over random histories of edits, renames, deletions and reverts in real git."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from tests.support import histories, repos, worlds

BOUNDED = settings(max_examples=15, deadline=None)


def _commit(repo: repos.Repo, files: histories.Files) -> None:
    repo.files = {f"agents/{path}": text.encode() for path, text in files.items()}
    repo.commit()


async def _compare(template: Path, folder: Path, commits: list[histories.Files]) -> None:
    repo = repos.Repo(folder / "repo", bare=True)
    opened = []
    two = []
    for name in ("incremental", "full"):
        shutil.copyfile(template, folder / f"{name}.db")
        db = databases.Database(f"sqlite:///{folder / name}.db")
        opened.append(db)
        _commit(repo, commits[0]) if not repo.commits else None
        two.append(worlds.World(db, repo, folder / name, clocks.ManualClock()))
    incremental, full = two
    kept: dict[int, dict[str, tuple[str, str]]] = {}
    try:
        for files in commits:
            _commit(repo, files)
            await full.forget()
            await full.settle()
            await incremental.settle()
            assert await incremental.state() == await full.state()
            seq = (await incremental.tenant()).active_seq
            kept.setdefault(seq, await incremental.generation(seq=seq))
        for seq, content in kept.items():
            assert await incremental.generation(seq=seq) == content
    finally:
        for db in opened:
            await db.close()


@BOUNDED
@given(histories.histories())
def test_incremental_equals_full_and_no_generation_ever_changes(
    _sqlite_template: Path,  # noqa: PT019 - its value is wanted
    commits: list[histories.Files],
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        asyncio.run(_compare(_sqlite_template, folder, commits))
    finally:
        shutil.rmtree(folder)
