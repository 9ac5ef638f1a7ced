"""Reconciling real repositories: from a commit to a generation, its statuses, and what a broken commit leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import tables
from tests.support import manifests, repos, worlds


@pytest.fixture
async def world(database: databases.Database, tmp_path: Path, clock: clocks.ManualClock) -> worlds.World:
    return worlds.World(database, repos.Repo(tmp_path / "repo", bare=True), tmp_path / "state", clock)


async def test_a_commit_becomes_a_generation(world: worlds.World) -> None:
    revision = await world.commit(manifests.small())
    resources = await world.resources()
    assert {name: row.ready for name, row in resources.items()} == {
        "Model/fast": "True",
        "Agent/greeter": "True",
        "Workflow/hello": "True",
    }
    row = resources["Workflow/hello"]
    assert row.applied_digest == row.desired_digest == (await world.live())["Workflow/hello"]
    assert row.applied_revision == revision
    assert row.applied_seq == 1
    assert {condition[0]: condition[1] for condition in row.conditions}["Stalled"] == "False"
    tenant = await world.tenant()
    assert (tenant.active_seq, tenant.ready, tenant.platform) == (1, "True", True)
    (source,) = await world.rows(sa.select(tables.source))
    assert (source.head, source.ready) == (revision, "True")
    (generation,) = await world.rows(sa.select(tables.generation))
    assert (generation.revision, generation.state, generation.changes) == (revision, "applied", 3)
    assert generation.cause == {"type": "push", "subject": "Change"}
    assert generation.actor == "Test Author <author@example.com>"
    assert await world.events("Workflow/hello") == [("Normal", "Applied")]
    audited = await world.rows(sa.select(tables.audit.c.action).where(tables.audit.c.object == "generation/1"))
    assert [row.action for row in audited] == ["generation.push"]


async def test_a_commit_that_changes_nothing_makes_no_generation(world: worlds.World) -> None:
    await world.commit(manifests.small())
    before = await world.resources()
    revision = await world.commit({"README.md": "hello"})
    (source,) = await world.rows(sa.select(tables.source))
    assert source.head == revision
    assert await world.resources() == before
    await world.commit({"agents/model.yaml": "# a comment\n" + manifests.small()["agents/model.yaml"]})
    assert (await world.tenant()).active_seq == 1
    assert (await world.resources())["Model/fast"].line == 2


async def test_a_moved_file_is_no_change(world: worlds.World) -> None:
    await world.commit(manifests.small())
    before = await world.live()
    await world.commit({"agents/greeter.yaml": None, "agents/deep/moved.yml": manifests.agent("greeter")})
    assert (await world.tenant()).active_seq == 1
    assert await world.live() == before
    assert (await world.resources())["Agent/greeter"].path == "agents/deep/moved.yml"


async def test_what_is_broken_keeps_serving_and_names_its_place(world: worlds.World) -> None:
    await world.commit(manifests.small())
    before = await world.live()
    broken = manifests.agent("greeter", model="fsat")
    revision = await world.commit({"agents/greeter.yaml": broken, "agents/new.yaml": manifests.agent("other")})
    resources = await world.resources()
    assert resources["Agent/greeter"].reason == "UnknownReference"
    assert "agents/greeter.yaml:6:" in resources["Agent/greeter"].message
    assert resources["Workflow/hello"].reason == "DependencyStalled"
    assert resources["Agent/other"].ready == "True"
    assert await world.live() == {**before, "Agent/other": resources["Agent/other"].applied_digest}
    assert resources["Agent/greeter"].desired_revision == revision
    assert await world.diagnostics() == [("UnknownReference", "agents/greeter.yaml", 6)]
    assert (await world.tenant()).ready == "False"
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter")})
    assert {row.ready for row in (await world.resources()).values()} == {"True"}
    assert await world.diagnostics() == []
    assert (await world.tenant()).ready == "True"


async def test_a_file_that_cannot_be_read_deletes_nothing(world: worlds.World, tmp_path: Path) -> None:
    await world.commit(manifests.small())
    before = await world.live()
    await world.commit({"agents/model.yaml": "spec: [", "agents/greeter.yaml": b"\xff\xfe\x00"})
    assert await world.live() == before
    assert await world.reasons() == {
        "Model/fast": "YamlSyntax",
        "Agent/greeter": "InvalidUtf8",
        "Workflow/hello": "DependencyStalled",
    }
    (source,) = await world.rows(sa.select(tables.source))
    assert source.ready == "False"
    world.repo.write({"agents/greeter.yaml": manifests.agent("greeter"), "agents/model.yaml": None})
    world.repo.link("agents/model.yaml", "/etc/passwd")
    await world.commit({})
    assert (await world.reasons())["Model/fast"] == "FileForbidden"
    assert await world.live() == before
    del world.repo.modes["agents/model.yaml"]
    await world.commit({"agents/model.yaml": "x" * (2 << 20)})
    assert (await world.reasons())["Model/fast"] == "FileTooLarge"
    await world.commit({"agents/model.yaml": manifests.model()})
    assert set((await world.reasons()).values()) == {"Ready"}
    (source,) = await world.rows(sa.select(tables.source))
    assert source.ready == "True"


async def test_a_deletion_that_others_need_waits(world: worlds.World) -> None:
    spare = {f"agents/spare{number}.yaml": manifests.model(f"spare{number}") for number in range(3)}
    await world.commit({**manifests.small(), **spare})
    before = await world.live()
    await world.commit({"agents/greeter.yaml": None})
    assert await world.live() == before
    reasons = await world.reasons()
    assert {name: reasons[name] for name in ("Model/fast", "Agent/greeter", "Workflow/hello")} == {
        "Model/fast": "Ready",
        "Agent/greeter": "DeletionBlocked",
        "Workflow/hello": "UnknownReference",
    }
    await world.commit({"agents/model.yaml": None})
    assert await world.live() == before
    await world.commit({"workflows/hello.yaml": None})
    assert set(await world.live()) == set(await world.resources()) == {f"Model/spare{number}" for number in range(3)}
    assert await world.rows(sa.select(tables.dependency)) == []
    assert (await world.tenant()).ready == "True"


async def test_two_definitions_stall_both_until_one_goes(world: worlds.World) -> None:
    await world.commit(manifests.small())
    before = await world.live()
    await world.commit({"agents/second.yaml": manifests.agent("greeter", instructions="Be brief.")})
    assert (await world.reasons())["Agent/greeter"] == "DuplicateResource"
    assert await world.live() == before
    assert [path for code, path, _ in await world.diagnostics() if code == "DuplicateResource"] == [
        "agents/greeter.yaml",
        "agents/second.yaml",
    ]
    # The first of the two goes: the other takes over.
    await world.commit({"agents/greeter.yaml": None})
    resources = await world.resources()
    assert resources["Agent/greeter"].ready == "True"
    assert resources["Agent/greeter"].path == "agents/second.yaml"
    assert (await world.live())["Agent/greeter"] != before["Agent/greeter"]
    # And the other way round: the later one goes, while nothing touches the earlier.
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter")})
    assert (await world.reasons())["Agent/greeter"] == "DuplicateResource"
    await world.commit({"agents/second.yaml": None})
    assert set((await world.reasons()).values()) == {"Ready"}
    assert await world.live() == before


async def test_an_included_file_belongs_to_what_includes_it(world: worlds.World) -> None:
    prompt = manifests.agent("greeter", instructions="{file: prompts/greet.md}")
    await world.commit({**manifests.small(), "agents/greeter.yaml": prompt})
    assert (await world.reasons())["Agent/greeter"] == "FileNotFound"
    await world.commit({"agents/prompts/greet.md": "Be kind to ${input.who}."})
    assert set((await world.reasons()).values()) == {"Ready"}
    before = await world.live()
    blobs = world.reconciler.repositories.counters.blobs
    await world.commit({"agents/prompts/greet.md": "Be very kind to ${input.who}."})
    after = await world.live()
    assert {name for name in after if after[name] != before[name]} == {"Agent/greeter"}
    assert world.reconciler.repositories.counters.blobs == blobs + 1
    await world.commit({"agents/prompts/greet.md": "Be kind to ${input.whom}."})
    row = (await world.resources())["Agent/greeter"]
    assert row.reason == "UnknownField"
    assert "agents/prompts/greet.md:1:" in row.message
    assert await world.live() == after


async def test_only_what_changed_is_read(world: worlds.World) -> None:
    many = {f"agents/a{number}.yaml": manifests.agent(f"a{number}") for number in range(30)}
    await world.commit({**manifests.small(), **many})
    counters = world.reconciler.repositories.counters
    before = counters.blobs
    await world.commit({"agents/model.yaml": manifests.model(text="new")})
    assert counters.blobs == before + 1
    assert (await world.tenant()).active_seq == 2
    (generation,) = await world.rows(sa.select(tables.generation).where(tables.generation.c.seq == 2))
    assert generation.changes == 33  # the model, and everything that has it inside
    world.restart()
    await world.settle()
    assert world.reconciler.repositories.counters.blobs == 0
    assert world.reconciler.repositories.counters.trees == 0


async def test_a_policy_judges_everything_also_what_serves(world: worlds.World) -> None:
    await world.commit(manifests.small())
    before = await world.live()
    rule = manifests.policy("kind", "artifact.instructions.contains('kind')", "no kindness")
    await world.commit({"agents/policy.yaml": rule})
    row = (await world.resources())["Agent/greeter"]
    assert row.reason == "PolicyDenied"
    assert "no kindness (rule rule of platform Policy/kind)" in row.message
    assert (await world.live())["Agent/greeter"] == before["Agent/greeter"]
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter", instructions="Be brief.")})
    assert set((await world.reasons()).values()) == {"Ready"}
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter")})
    assert (await world.reasons())["Agent/greeter"] == "PolicyDenied"
    await world.commit({"agents/policy.yaml": None})
    assert set((await world.reasons()).values()) == {"Ready"}
    assert await world.live() == before


async def test_a_bug_in_the_compiler_costs_one_object(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    from agentos_engine import compile as compiling

    original = compiling.compile

    def fails(manifest, deps, texts):  # type: ignore[no-untyped-def]
        if manifest.ref.name == "greeter":
            raise RuntimeError("boom")
        return original(manifest, deps, texts)

    await world.commit(manifests.small())
    before = await world.live()
    monkeypatch.setattr(compiling, "compile", fails)
    files = {"agents/model.yaml": manifests.model(text="new"), "agents/other.yaml": manifests.agent("other")}
    await world.commit(files)
    assert await world.reasons() == {
        "Model/fast": "Ready",
        "Agent/greeter": "Quarantined",
        "Agent/other": "Ready",
        "Workflow/hello": "DependencyStalled",
    }
    assert (await world.live())["Agent/greeter"] == before["Agent/greeter"]
    monkeypatch.undo()
    await world.forget()
    await world.settle()
    assert set((await world.reasons()).values()) == {"Ready"}


async def test_the_watch_log_counts_without_holes(world: worlds.World) -> None:
    await world.commit(manifests.small())
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter", model="none")})
    await world.commit({"agents/greeter.yaml": None, "workflows/hello.yaml": None})
    rows = await world.rows(sa.select(tables.change).order_by(tables.change.c.seq))
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert [(row.type, row.name) for row in rows[3:]] == [
        ("status", "greeter"),
        ("status", "hello"),
        ("removed", "greeter"),
        ("removed", "hello"),
    ]


async def test_a_policy_that_only_warns_lets_it_pass_and_says_so(world: worlds.World) -> None:
    await world.commit(manifests.small())
    rule = manifests.policy("soft", "true").replace("message: Not allowed.", "message: Think twice., mode: warn")
    await world.commit({"agents/policy.yaml": rule})
    assert set((await world.reasons()).values()) == {"Ready"}
    assert await world.events("Agent/greeter") == [("Normal", "Applied"), ("Warning", "PolicyWarning")]
