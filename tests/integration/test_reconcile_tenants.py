"""Tenants from the platform's source: who owns what, what stays apart, and what a tenant may not do."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import tables
from tests.support import manifests, repos, worlds


@pytest.fixture
async def world(sqlite: databases.Database, tmp_path: Path, clock: clocks.ManualClock) -> worlds.World:
    return worlds.World(sqlite, repos.Repo(tmp_path / "repo", bare=True), tmp_path / "state", clock)


def below(folder: str, files: dict[str, str]) -> dict[str, str]:
    return {f"{folder}/{path}": text for path, text in files.items()}


def two_tenants() -> dict[str, str]:
    return {
        "agents/tenants.yaml": manifests.tenant("acme", "tenants/acme")
        + "---\n"
        + manifests.tenant("beta", "tenants/beta"),
        **below("tenants/acme", manifests.small()),
        **below("tenants/beta", manifests.small()),
    }


async def test_the_platform_source_changes_hands_with_the_first_tenant(world: worlds.World) -> None:
    await world.commit(manifests.small())
    assert await world.tenants() == ["default"]
    await world.commit(two_tenants())
    assert await world.tenants() == ["acme", "beta", "platform"]
    assert set(await world.live("platform")) == {
        "Tenant/acme",
        "Tenant/beta",
        "Model/fast",
        "Agent/greeter",
        "Workflow/hello",
    }
    assert await world.live("acme") == await world.live("beta")
    assert {(await world.tenant(name)).ready for name in ("acme", "beta", "platform")} == {"True"}
    await world.commit({"agents/tenants.yaml": None})
    assert (await world.reasons("platform"))["Tenant/acme"] == "PruneGuarded"
    assert await world.tenants() == ["acme", "beta", "platform"]
    asked = (await world.tenant("platform")).prune
    assert (asked["count"], asked["refs"]) == (2, ["Tenant/acme", "Tenant/beta"])
    await world.command("approve-prune", {"digest": asked["digest"]}, tenant="platform")
    assert await world.tenants() == ["default"]
    assert set(await world.live()) == {"Model/fast", "Agent/greeter", "Workflow/hello"}


async def test_a_commit_moves_only_the_tenants_it_touches(world: worlds.World) -> None:
    await world.commit(two_tenants())
    table = tables.generation
    count = len(await world.rows(sa.select(table)))
    rounds = world.reconciler.counts.rounds
    revision = await world.commit({"tenants/beta/agents/greeter.yaml": manifests.agent("greeter", instructions="New.")})
    assert len(await world.rows(sa.select(table))) == count + 1
    assert (await world.tenant("acme")).active_seq == 1
    assert (await world.tenant("beta")).active_seq == 2
    assert world.reconciler.counts.rounds == rounds + 2  # beta, and the platform, whose folder holds both
    assert {row.head for row in await world.rows(sa.select(tables.source.c.head))} == {revision}


async def test_one_broken_tenant_stops_no_other(world: worlds.World) -> None:
    await world.commit(two_tenants())
    files = {
        "tenants/acme/agents/model.yaml": "a: [",
        "tenants/beta/agents/model.yaml": manifests.model(text="new"),
        "agents/other.yaml": "kind: [",
    }
    await world.commit(files)
    assert (await world.reasons("acme"))["Model/fast"] == "YamlSyntax"
    assert (await world.tenant("acme")).active_seq == 1
    assert set((await world.reasons("beta")).values()) == {"Ready"}
    assert (await world.tenant("beta")).active_seq == 2


async def test_a_tenant_cannot_make_tenants(world: worlds.World) -> None:
    files = {**two_tenants(), "tenants/acme/agents/evil.yaml": manifests.tenant("evil", ".")}
    await world.commit(files)
    assert (await world.reasons("acme"))["Tenant/evil"] == "KindNotAllowed"
    assert await world.tenants() == ["acme", "beta", "platform"]


async def test_policies_of_the_platform_bind_every_tenant_and_come_at_once(world: worlds.World) -> None:
    await world.commit(two_tenants())
    await world.commit({"agents/policy.yaml": manifests.policy("none", "tenant.name == 'acme'")})
    assert (await world.reasons("acme"))["Agent/greeter"] == "PolicyDenied"
    assert (await world.reasons("beta"))["Agent/greeter"] == "Ready"
    # A tenant's own policy of that name is another one, and loosens nothing.
    await world.commit({"tenants/acme/agents/policy.yaml": manifests.policy("none", "false")})
    assert (await world.reasons("acme"))["Agent/greeter"] == "PolicyDenied"
    await world.commit({"agents/policy.yaml": None})
    assert set((await world.reasons("acme")).values()) == {"Ready"}


async def test_a_tenant_that_goes_is_pruned_and_inherits_nothing_when_it_comes_back(world: worlds.World) -> None:
    await world.commit(two_tenants())
    first = (await world.tenant("acme")).id
    await world.commit({"agents/tenants.yaml": manifests.tenant("beta", "tenants/beta")})
    assert (await world.reasons("platform"))["Tenant/acme"] == "PruneGuarded"
    assert await world.live("acme") == await world.live("beta")
    asked = (await world.tenant("platform")).prune
    await world.command("approve-prune", {"digest": asked["digest"]}, tenant="platform")
    assert await world.tenants() == ["beta", "platform"]
    (gone,) = await world.rows(sa.select(tables.tenant).where(tables.tenant.c.id == first))
    assert (gone.state, gone.name) == ("deleting", "acme")
    resource = tables.resource
    assert await world.rows(sa.select(resource.c.name).where(resource.c.tenant_id == first)) == []
    await world.commit({"agents/tenants.yaml": two_tenants()["agents/tenants.yaml"]})
    again = await world.tenant("acme")
    assert again.id != first
    assert again.active_seq == 1
    assert set(await world.live("acme")) == {"Model/fast", "Agent/greeter", "Workflow/hello"}


async def test_a_broken_tenant_manifest_ends_no_tenant(world: worlds.World) -> None:
    await world.commit(two_tenants())
    await world.commit({"agents/tenants.yaml": "kind: [\n"})
    assert await world.tenants() == ["acme", "beta", "platform"]
    assert set((await world.reasons("platform")).values()) == {"YamlSyntax"}
    assert set(await world.live("acme")) == {"Model/fast", "Agent/greeter", "Workflow/hello"}
    (source,) = await world.rows(
        sa.select(tables.source)
        .join(tables.tenant, tables.tenant.c.id == tables.source.c.tenant_id)
        .where(tables.tenant.c.platform.is_(True))
    )
    assert source.ready == "False"


async def test_a_tenant_with_a_repository_of_its_own(world: worlds.World, tmp_path: Path) -> None:
    other = repos.Repo(tmp_path / "other", bare=True)
    other.commit(below("sub", manifests.small()), branch="live")
    text = f"""apiVersion: agentos/v1
kind: Tenant
metadata: {{name: acme}}
spec:
  sources: [{{git: "file://{other.folder}", ref: live, path: sub, include: [agents]}}, {{name: more, path: more}}]
"""
    await world.commit({"agents/acme.yaml": text, "more/workflows/hello.yaml": manifests.workflow("hello")})
    assert set(await world.live("acme")) == {"Model/fast", "Agent/greeter", "Workflow/hello"}
    other.commit({"sub/agents/greeter.yaml": manifests.agent("greeter", instructions="New.")}, branch="live")
    await world.settle()
    assert (await world.tenant("acme")).active_seq == 2
    # Including more is a change of the Tenant, and of nothing in its repository.
    await world.commit({"agents/acme.yaml": text.replace("[agents]", "[agents, workflows]")})
    assert (await world.reasons("acme"))["Workflow/hello"] == "DuplicateResource"
    # A source that goes takes its resources along.
    one = text.replace(", {name: more, path: more}", "").replace("[agents]", "[agents, workflows]")
    await world.commit({"agents/acme.yaml": one})
    assert set((await world.reasons("acme")).values()) == {"Ready"}


async def test_a_source_that_cannot_be_read_keeps_serving(world: worlds.World, tmp_path: Path) -> None:
    other = repos.Repo(tmp_path / "other", bare=True)
    other.commit(manifests.small())
    text = f"""apiVersion: agentos/v1
kind: Tenant
metadata: {{name: acme}}
spec:
  sources: [{{git: "file://{other.folder}"}}]
"""
    await world.commit({"agents/acme.yaml": text})
    before = await world.live("acme")
    other.folder.rename(tmp_path / "away")
    await world.settle()
    assert await world.live("acme") == before
    (source,) = await world.rows(sa.select(tables.source).where(tables.source.c.url.like("file:%")))
    assert source.ready == "False"
    assert {condition[0]: condition[2] for condition in source.conditions}["Ready"] in (
        "SourceInvalid",
        "SourceUnavailable",
    )
    assert (await world.tenant("acme")).ready == "False"
    (tmp_path / "away").rename(other.folder)
    other.commit({"agents/model.yaml": manifests.model(text="new")})
    world.clock.advance(600)
    await world.settle()
    assert (await world.tenant("acme")).ready == "True"
    assert (await world.tenant("acme")).active_seq == 2


async def test_bulk_in_worker_processes_gives_the_same(
    world: worlds.World, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentos_controller.reconcile import jobs

    monkeypatch.setattr(jobs, "BULK", 2)
    world.repo.commit(two_tenants())
    await world.settle()
    assert await world.live("acme") == await world.live("beta")
    assert set((await world.reasons("acme")).values()) == {"Ready"}
    assert world.reconciler.repositories.counters.blobs > 0
