"""What ends, keeps or fills the process that is over it: quarantined alone, over restarts, and tried again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import tables
from agentos_controller.reconcile import build, isolation, workers
from tests.support import manifests, repos, worlds

DEADLY = Path(__file__).parents[1] / "support/deadly"
LIMITS = workers.Limits(object_seconds=1.5, memory=1 << 30)
HOW = {"crash": "was ended by SIGSEGV", "hang": "took more than", "memory": "memory"}


def deadly(name: str, how: str, when: str = "build") -> str:
    text = manifests.model(name)
    if when == "read":
        return f"# deadly/read: {how}\n{text}"
    return text.replace(f"name: {name}", f"name: {name}, labels: {{deadly: {how}}}")


@pytest.fixture
def repo(tmp_path: Path) -> repos.Repo:
    return repos.Repo(tmp_path / "repo", bare=True)


@pytest.fixture
async def world(
    sqlite: databases.Database,
    repo: repos.Repo,
    tmp_path: Path,
    clock: clocks.ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[worlds.World]:
    monkeypatch.syspath_prepend(DEADLY)
    made = worlds.World(sqlite, repo, tmp_path / "state", clock, workers=1, limits=LIMITS)
    yield made
    await made.reconciler.stop()


@pytest.mark.parametrize("when", ["read", "build"])
@pytest.mark.parametrize("how", HOW)
async def test_it_is_quarantined_and_nothing_else_is(world: worlds.World, how: str, when: str) -> None:
    await world.commit({**manifests.small(), "agents/other.yaml": manifests.model("other", "one")})
    before = await world.live()
    # In one commit: something new and deadly, something that serves and becomes deadly, and something good.
    await world.commit(
        {
            "agents/new.yaml": deadly("new", how, when),
            "agents/other.yaml": deadly("other", how, when),
            "agents/good.yaml": manifests.model("good"),
        }
    )
    after = await world.live()
    assert after.keys() - before.keys() == {"Model/good"}
    assert after["Model/other"] == before["Model/other"]
    found = await world.resources()
    assert found["Model/other"].reason == "Quarantined"
    assert ("reading the file" if when == "read" else "the process that built it") in found["Model/other"].message or (
        how == "memory"
    )
    assert HOW[how].lower() in found["Model/other"].message.lower()
    assert "keeps serving" in found["Model/other"].message
    assert {name for name, row in found.items() if row.ready == "True"} == before.keys() - {"Model/other"} | {
        "Model/good"
    }


@pytest.mark.parametrize("when", ["read", "build"])
async def test_it_stays_so_over_a_restart_and_is_tried_again_by_and_by(
    world: worlds.World, when: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.commit({**manifests.small(), "agents/new.yaml": deadly("new", "crash", when)})
    assert _killed(caplog) == 1
    await world.reconciler.stop()
    await world.forget()  # every tenant is built whole
    await world.commit({"agents/good.yaml": manifests.model("good")})
    assert "Model/good" in await world.live()
    assert _killed(caplog) == 0
    world.clock.advance(build.QUARANTINE / clocks.SECOND)
    await world.settle()
    assert _killed(caplog) == 1
    # Mended: by another version of the program, say.
    await world.reconciler.stop()
    monkeypatch.undo()
    world.restart()
    await world.settle()
    assert "Model/new" not in await world.live()
    world.clock.advance(build.QUARANTINE / clocks.SECOND)
    await world.settle()
    assert await world.ready("Model/new") == ("True", "Ready")
    assert not await world.rows(sa.select(tables.resource).where(tables.resource.c.quarantine_until.is_not(None)))


@pytest.mark.parametrize("when", ["read", "build"])
async def test_other_content_is_tried_at_once(world: worlds.World, when: str) -> None:
    await world.commit({**manifests.small(), "agents/new.yaml": deadly("new", "crash", when)})
    await world.commit({"agents/new.yaml": manifests.model("new")})
    assert await world.ready("Model/new") == ("True", "Ready")


async def test_its_dependants_wait_with_it(world: worlds.World) -> None:
    files = manifests.small()
    (path,) = [path for path, text in files.items() if "kind: Model" in text]
    await world.commit({**files, path: deadly("fast", "crash")})
    assert await world.live() == {}
    assert (await world.reasons())["Agent/greeter"] == "DependencyStalled"
    await world.commit({path: files[path]})
    assert set((await world.reasons()).values()) == {"Ready"}


async def test_too_many_fail_their_round_and_no_other(world: worlds.World) -> None:
    many = {f"a/agents/m{n}.yaml": deadly(f"m{n}", "crash") for n in range(isolation.MAX_KILLED + 2)}
    await world.commit(
        {
            "agents/tenants.yaml": manifests.tenant("acme", "a") + "---\n" + manifests.tenant("beta", "b"),
            "a/agents/good.yaml": manifests.model("good"),
            "b/agents/good.yaml": manifests.model("good"),
        }
    )
    before = await world.live("acme")
    await world.commit({**many, "b/agents/better.yaml": manifests.model("better")})
    assert "Model/better" in await world.live("beta")
    assert await world.live("acme") == before
    (condition,) = [one for one in (await world.tenant("acme")).conditions if one[0] == "Ready"]
    assert "more than 20 objects" in condition[3]


async def test_in_the_lane_of_bulk(world: worlds.World) -> None:
    files = {f"agents/m{n:03}.yaml": manifests.model(f"m{n:03}") for n in range(300)}
    wrong = {"agents/m007.yaml": deadly("m007", "hang", "read"), "agents/m250.yaml": deadly("m250", "crash")}
    await world.commit({**files, **wrong})
    reasons = await world.reasons()
    assert {name for name, reason in reasons.items() if reason != "Ready"} == {"Model/m250"}
    assert len(reasons) == 299
    assert [(code, path) for code, path, _line in await world.diagnostics()] == [("Quarantined", "agents/m007.yaml")]


def _killed(caplog: pytest.LogCaptureFixture) -> int:
    """How many workers came to an end since the last call."""
    count = sum(1 for record in caplog.records if record.message == "build killed")
    caplog.clear()
    return count
