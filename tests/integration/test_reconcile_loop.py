"""The loop as it runs: woken by commits, by files of a working copy, by commands; alive and idle."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import tables
from agentos_controller.reconcile import isolation, queue, rounds, values
from agentos_engine import errors
from tests.support import manifests, repos, worlds


@contextlib.asynccontextmanager
async def running(world: worlds.World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.reconciler.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(world: worlds.World, holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds, woken by what the loop tells."""
    with world.db.subscribe("changes", "generations", "commands:done") as woken:
        while not await holds():
            await woken.wait(1.0)


@pytest.fixture
def repo(tmp_path: Path) -> repos.Repo:
    return repos.Repo(tmp_path / "repo")


async def test_a_working_copy_is_followed_with_its_uncommitted_files(
    sqlite: databases.Database, repo: repos.Repo, tmp_path: Path
) -> None:
    repo.commit(manifests.small())
    repo.checkout()
    world = worlds.World(sqlite, repo, tmp_path / "state", clocks.SystemClock(), dev=True)  # type: ignore[arg-type]

    async def serves(name: str) -> bool:
        rows = await world.rows(sa.select(tables.resource).where(tables.resource.c.applied_digest.is_not(None)))
        return name in {row.name for row in rows}

    async with running(world):
        await until(world, lambda: serves("hello"))
        (repo.folder / "agents/new.yaml").write_text(manifests.agent("new"))
        await until(world, lambda: serves("new"))
        (source,) = await world.rows(sa.select(tables.source))
        assert source.head.startswith(repo.head[:12] + "+worktree-")
        assert world.reconciler.progress()["synced"]


async def test_a_commit_and_a_command_are_noticed(sqlite: databases.Database, repo: repos.Repo, tmp_path: Path) -> None:
    first = repo.commit(manifests.small())
    world = worlds.World(sqlite, repo, tmp_path / "state", clocks.SystemClock(), local_interval=0.05)  # type: ignore[arg-type]

    async def generation(number: int) -> bool:
        rows = await world.rows(sa.select(tables.tenant.c.active_seq))
        return [row.active_seq for row in rows] == [number]

    async with running(world):
        await until(world, lambda: generation(1))
        repo.commit({"agents/model.yaml": manifests.model(text="new")})
        await until(world, lambda: generation(2))
        owner = await world.tenant()
        row = {"id": owner.id, "tenant_id": owner.id, "type": "rollback", "args": {"generation": 1}}
        async with world.db.write() as conn:
            told = {"state": "pending", "actor": "key:test", "created_at": 1}
            await conn.execute(tables.command.insert(), {**row, **told})
        world.db.notify("commands")
        await until(world, lambda: generation(3))
        assert (await world.tenant()).hold["revision"] == first


async def test_a_failing_round_is_repeated_and_stops_no_other_tenant(
    sqlite: databases.Database,
    repo: repos.Repo,
    tmp_path: Path,
    clock: clocks.ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = worlds.World(sqlite, repo, tmp_path / "state", clock)
    text = manifests.tenant("acme", "tenants/acme") + "---\n" + manifests.tenant("beta", "tenants/beta")
    original = rounds.Round.build

    async def fails(prepared: rounds.Round, isolated: isolation.Isolation) -> values.Built:
        if prepared.tenant.name == "acme":
            raise RuntimeError("boom")
        return await original(prepared, isolated)

    monkeypatch.setattr(rounds.Round, "build", fails)
    files = {f"tenants/{name}/{path}": each for name in ("acme", "beta") for path, each in manifests.small().items()}
    await world.commit({"agents/tenants.yaml": text, **files})
    assert set((await world.reasons("beta")).values()) == {"Ready"}
    acme = await world.tenant("acme")
    assert acme.active_seq is None
    assert "boom" in acme.conditions[0][3]
    monkeypatch.undo()
    world.clock.advance(queue.MAX_PAUSE)
    await world.settle()
    assert (await world.tenant("acme")).ready == "True"


async def test_a_source_that_is_no_repository_yet(
    sqlite: databases.Database, tmp_path: Path, clock: clocks.ManualClock
) -> None:
    repo = repos.Repo(tmp_path / "late")
    world = worlds.World(sqlite, repo, tmp_path / "state", clock)
    await world.settle()
    (source,) = await world.rows(sa.select(tables.source))
    assert (source.ready, "HEAD names no commit" in source.error) == ("False", True)
    await world.commit(manifests.small())
    assert (await world.tenant()).ready == "True"
    (source,) = await world.rows(sa.select(tables.source))
    assert (source.ready, source.error) == ("True", None)


def test_a_working_copy_has_no_ref(sqlite_url: str, tmp_path: Path, clock: clocks.ManualClock) -> None:
    async def make() -> None:
        db = databases.Database(sqlite_url)
        with pytest.raises(errors.Stall, match="no `#ref`"):
            worlds.World(db, repos.Repo(tmp_path / "r"), tmp_path, clock, source=f"{tmp_path}#main", dev=True)
        await db.close()

    asyncio.run(make())


async def test_a_burden_of_one_tenant_is_its_own(sqlite: databases.Database, repo: repos.Repo, tmp_path: Path) -> None:
    repo.commit(
        {
            "agents/tenants.yaml": manifests.tenant("big", "tenants/big")
            + "---\n"
            + manifests.tenant("few", "tenants/few"),
            **{f"tenants/few/{path}": text for path, text in manifests.small().items()},
            **{f"tenants/big/{path}": text for path, text in manifests.small().items()},
        }
    )
    world = worlds.World(sqlite, repo, tmp_path / "state", clocks.SystemClock(), local_interval=0.05)  # type: ignore[arg-type]

    async def generation(tenant: str, number: int) -> bool:
        return tenant in await world.tenants() and (await world.tenant(tenant)).active_seq == number

    async with running(world):
        await until(world, lambda: generation("big", 1))
        await until(world, lambda: generation("few", 1))
        many = {f"tenants/big/agents/m{number}.yaml": manifests.model(f"m{number}") for number in range(2_000)}
        repo.commit({**many, "tenants/few/agents/model.yaml": manifests.model(text="new")})
        await until(world, lambda: generation("few", 2))
        await until(world, lambda: generation("big", 2))
    made = await world.rows(sa.select(tables.generation).order_by(tables.generation.c.applied_at))
    names = {(await world.tenant(name)).id: name for name in ("big", "few")}
    order = [(names[row.tenant_id], row.seq) for row in made if row.tenant_id in names and row.seq > 1]
    assert order == [("few", 2), ("big", 2)]


async def test_a_remote_that_does_not_answer_holds_up_nobody(
    sqlite: databases.Database, repo: repos.Repo, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stuck = manifests.tenant("stuck", f'., git: "https://127.0.0.1:{silent.getsockname()[1]}/a.git"')
        repo.commit(
            {
                "agents/tenants.yaml": manifests.tenant("few", "tenants/few") + "---\n" + stuck,
                **{f"tenants/few/{path}": each for path, each in manifests.small().items()},
            }
        )
        world = worlds.World(sqlite, repo, tmp_path / "state", clocks.SystemClock(), local_interval=0.05)  # type: ignore[arg-type]

        async def serves(number: int) -> bool:
            return "few" in await world.tenants() and (await world.tenant("few")).active_seq == number

        async with running(world):
            await until(world, lambda: serves(1))
            assert world.reconciler.repositories.looking
            repo.commit({"tenants/few/agents/model.yaml": manifests.model(text="new")})
            await until(world, lambda: serves(2))
            assert world.reconciler.repositories.looking
        assert not world.reconciler.repositories.looking
