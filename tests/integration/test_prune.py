"""Guarded deletion, orphans and drains over real repositories and both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller.runs import records
from agentos_engine import errors
from tests.support import manifests, repos, worlds

HOUR = 3600


@pytest.fixture
async def world(database: databases.Database, tmp_path: Path, clock: clocks.ManualClock) -> worlds.World:
    return worlds.World(database, repos.Repo(tmp_path / "repo", bare=True), tmp_path / "state", clock)


async def approve(world: worlds.World, tenant: str = "default") -> Any:
    asked = (await world.tenant(tenant)).prune
    return await world.command("approve-prune", {"digest": asked["digest"]}, tenant)


# The guard


async def test_a_mass_deletion_removes_nothing_and_asks(world: worlds.World) -> None:
    await world.commit(manifests.models(*range(6)))
    before = await world.live()
    changed = {"agents/m5.yaml": manifests.model("m5", "new"), "agents/x.yaml": manifests.model("x")}
    await world.commit({**manifests.gone(0, 1, 2, 3), **changed})
    live = await world.live()
    assert {name: live[name] for name in before if name != "Model/m5"} == {
        name: digest for name, digest in before.items() if name != "Model/m5"
    }
    assert live["Model/m5"] != before["Model/m5"], "changes still apply"
    assert "Model/x" in live, "creations still apply"
    reasons = await world.reasons()
    assert {name for name, reason in reasons.items() if reason == "PruneGuarded"} == {f"Model/m{n}" for n in range(4)}
    tenant = await world.tenant()
    assert (tenant.prune["count"], tenant.prune["total"]) == (4, 6)
    said = {condition[0]: condition for condition in tenant.conditions}["Ready"]
    assert said[2] == "PruneGuarded"
    assert "4 of 6 resources would be removed, and are not: agentos approve-prune -t default --digest " in said[3]
    since = tenant.prune["since"]
    await world.commit({"agents/y.yaml": manifests.model("y")})
    assert (await world.tenant()).prune["since"] == since
    world.restart()
    await world.settle()
    assert (await world.reasons())["Model/m0"] == "PruneGuarded"

    done = await approve(world)
    assert (done.state, done.result["approved"]) == ("done", 4)
    assert set(await world.live()) == {"Model/m4", "Model/m5", "Model/x", "Model/y"}
    tenant = await world.tenant()
    assert (tenant.prune, tenant.prune_approved, tenant.ready) == (None, None, "True")
    (entry,) = await world.trail("tenant.approve-prune")
    assert (entry.actor, entry.detail["count"]) == ("key:test", 4)
    before_forgetting = await world.state()
    await world.forget()
    await world.settle()
    assert await world.state() == before_forgetting


async def test_files_that_come_back_answer_the_question(world: worlds.World) -> None:
    await world.commit(manifests.models(*range(4)))
    before = await world.live()
    await world.commit(manifests.gone(0, 1, 2))
    assert (await world.tenant()).prune["count"] == 3
    await world.commit(manifests.models(0, 1, 2))
    assert (await world.tenant()).prune is None
    assert set((await world.reasons()).values()) == {"Ready"}
    assert await world.live() == before


async def test_an_emptied_tenant_asks_however_small(world: worlds.World) -> None:
    await world.commit(manifests.models(0))
    await world.commit(manifests.gone(0))
    assert set(await world.live()) == {"Model/m0"}
    assert (await world.tenant()).prune["count"] == 1
    # To put another in its place is no emptying.
    await world.commit(manifests.models(1))
    assert set(await world.live()) == {"Model/m1"}


async def test_an_approval_holds_for_exactly_what_was_shown(world: worlds.World) -> None:
    await world.commit(manifests.models(*range(8)))
    await world.commit(manifests.gone(0, 1, 2, 3, 4))
    shown = (await world.tenant()).prune["digest"]
    # Another push between asking and approving, seen by the same look as the approval.
    world.repo.commit(manifests.gone(5))
    answer = await world.command("approve-prune", {"digest": shown})
    assert (answer.state, answer.error) == (
        "failed",
        "what would be removed changed meanwhile: look at it again",
    )
    assert len(await world.live()) == 8
    assert (await world.tenant()).prune["count"] == 6
    refused = await world.command("approve-prune", {"digest": shown})
    assert refused.state == "failed"
    assert "has changed since it was shown" in refused.error
    # The set that was approved in vain does not go when it comes again.
    await world.commit(manifests.models(5))
    assert len(await world.live()) == 8
    assert (await world.tenant()).prune["digest"] == shown
    assert (await approve(world)).state == "done"
    assert set(await world.live()) == {"Model/m5", "Model/m6", "Model/m7"}
    assert (await world.command("approve-prune", {"digest": shown})).error == "nothing waits for an approval"


async def test_nothing_is_approved_in_a_tenant_that_is_held(world: worlds.World) -> None:
    await world.commit(manifests.models(*range(4)))
    await world.commit({"agents/x.yaml": manifests.model("x")})
    await world.commit(manifests.gone(0, 1, 2, 3))
    digest = (await world.tenant()).prune["digest"]
    await world.command("rollback", {"generation": 1})
    assert (await world.tenant()).prune is None
    assert "a rollback holds the tenant" in (await world.command("approve-prune", {"digest": digest})).error
    assert set(await world.live()) == {f"Model/m{n}" for n in range(4)}
    await world.command("release")
    assert set(await world.live()) == {"Model/x", *(f"Model/m{n}" for n in range(4))}
    assert (await world.tenant()).prune["digest"] == digest


async def test_a_source_that_is_taken_out_is_guarded_too(world: worlds.World) -> None:
    files = {f"more/{path}": text for path, text in manifests.models(*range(4)).items()}
    tenant = manifests.tenant("acme", "own").replace("[{path: own}]", "[{path: own}, {name: more, path: more}]")
    own = {"own/agents/x.yaml": manifests.model("x")}
    await world.commit({"agents/acme.yaml": tenant, **own, **files})
    assert len(await world.live("acme")) == 5
    await world.commit({"agents/acme.yaml": manifests.tenant("acme", "own")})
    assert len(await world.live("acme")) == 5
    assert (await world.tenant("acme")).prune["count"] == 4
    assert (await approve(world, "acme")).state == "done"
    assert set(await world.live("acme")) == {"Model/x"}
    # A path that vanished.
    await world.commit({"own/agents/x.yaml": None})
    assert set(await world.live("acme")) == {"Model/x"}
    assert (await world.reasons("acme"))["Model/x"] == "PruneGuarded"


async def test_the_tenant_says_how_much_is_much(world: worlds.World) -> None:
    tenant = manifests.tenant("acme", "own") + "  prune: {maxShare: 1, maxCount: 2, minCount: 1}\n"
    await world.commit(
        {"agents/acme.yaml": tenant, **{f"own/{path}": text for path, text in manifests.models(*range(9)).items()}}
    )
    await world.commit({f"own/{path}": None for path in manifests.gone(0, 1)})
    assert len(await world.live("acme")) == 7
    await world.commit({f"own/{path}": None for path in manifests.gone(2, 3, 4)})
    assert len(await world.live("acme")) == 7
    # A looser guard is a change of the Tenant: what waits is judged anew.
    await world.commit({"agents/acme.yaml": tenant.replace("maxCount: 2", "maxCount: 3")})
    assert len(await world.live("acme")) == 4


async def test_a_tenant_goes_without_asking_only_where_its_manifest_says_so(world: worlds.World) -> None:
    keep, go = manifests.tenant("keep", "own"), manifests.annotated(manifests.tenant("go", "own"), deletion="delete")
    stay = manifests.annotated(manifests.tenant("stay", "own"), deletion="orphan")
    files = {"agents/keep.yaml": keep, "agents/go.yaml": go, "agents/stay.yaml": stay}
    await world.commit({**files, **{f"own/{path}": text for path, text in manifests.models(0).items()}})
    await world.commit({"agents/go.yaml": None, "agents/stay.yaml": None})
    assert await world.tenants() == ["keep", "platform", "stay"]
    reasons = await world.reasons("platform")
    assert reasons == {"Tenant/keep": "Ready", "Tenant/stay": "Orphaned"}
    await world.commit({"agents/keep.yaml": None})
    assert await world.tenants() == ["keep", "platform", "stay"]
    await approve(world, "platform")
    # An orphan is a tenant still: the source does not change hands.
    assert await world.tenants() == ["platform", "stay"]
    assert set(await world.live("stay")) == {"Model/m0"}
    assert (await world.command("approve-prune", {"orphans": True}, "platform")).state == "done"
    assert await world.tenants() == ["default"]


# Deletion policies


async def test_an_orphan_serves_on_until_somebody_lets_it_go(world: worlds.World) -> None:
    model = manifests.annotated(manifests.model(), deletion="orphan")
    await world.commit({**manifests.small(), "agents/model.yaml": model})
    before = await world.live()
    await world.commit({"agents/model.yaml": None})
    assert await world.live() == before
    assert await world.ready("Model/fast") == ("True", "Orphaned")
    assert (await world.tenant()).ready == "True"
    # Who needs it may go on to change.
    await world.commit({"agents/greeter.yaml": manifests.agent("greeter", instructions="New.")})
    assert await world.ready("Agent/greeter") == ("True", "Ready")
    assert (await world.live())["Agent/greeter"] != before["Agent/greeter"]
    state = await world.state()
    await world.forget()
    await world.settle()
    assert await world.state() == state
    # Committed again it is one as any other.
    await world.commit({"agents/model.yaml": model})
    assert await world.ready("Model/fast") == ("True", "Ready")
    await world.commit(
        {"agents/model.yaml": None, "agents/greeter.yaml": manifests.agent("greeter", "m1"), **manifests.models(1)}
    )
    assert await world.ready("Model/fast") == ("True", "Orphaned")
    done = await world.command("approve-prune", {"orphans": True})
    assert (done.state, done.result["approved"]) == ("done", 1)
    assert "Model/fast" not in await world.live()
    assert (await world.command("approve-prune", {"orphans": True})).error == "the tenant has no orphans"


async def _run(world: worlds.World, name: str = "greeter") -> records.RunRow:
    return await records.create_run(
        world.db,
        tenant_id=(await world.tenant()).id,
        kind="Agent",
        name=name,
        input={"who": "you"},
        cause={"type": "api"},
        actor="key:test",
        interactive=False,
        clock=world.clock,
    )


async def _draining(world: worlds.World, workflow: str | None = None, **annotations: str) -> records.RunRow:
    """A world in which an agent has been removed that a run is still of, and that a workflow may still need."""
    agent = manifests.annotated(manifests.agent("greeter"), deletion="drain", **annotations)
    await world.commit({"agents/model.yaml": manifests.model(), "agents/greeter.yaml": agent, **manifests.models(1)})
    if workflow is not None:
        await world.commit({f"workflows/{workflow}.yaml": manifests.workflow(workflow)})
    run = await _run(world)
    await world.commit({"agents/greeter.yaml": None})
    assert "Agent/greeter" in await world.live()
    assert await world.ready("Agent/greeter") == ("False", "Draining")
    return run


async def test_a_drain_waits_for_the_runs_in_flight_and_takes_no_new_ones(world: worlds.World) -> None:
    run = await _draining(world)
    row = (await world.resources())["Agent/greeter"]
    assert row.drain_until is not None
    assert world.clock.now_us() < row.drain_until <= world.clock.now_us() + HOUR * clocks.SECOND
    with pytest.raises(errors.Problem, match="Agent/greeter is removed and takes no new runs") as refused:
        await _run(world)
    assert refused.value.code == "Conflict"
    # What it needs waits with it.
    await world.commit({"agents/model.yaml": None})
    assert await world.ready("Model/fast") == ("False", "DeletionBlocked")
    world.clock.advance(60)
    await world.settle()
    assert "Agent/greeter" in await world.live()
    await records.request_cancel(world.db, run.tenant_id, run.id, "key:test", world.clock)
    world.clock.advance(6)
    assert world.reconciler._expiry.due_in() <= 0
    await world.settle()
    assert set(await world.live()) == {"Model/m1"}
    assert (await world.tenant()).ready == "True"


async def test_a_drain_ends_at_its_deadline(world: worlds.World) -> None:
    await _draining(world, drain_deadline="10m")
    world.clock.advance(540)
    await world.settle()
    assert "Agent/greeter" in await world.live()
    world.restart()
    world.clock.advance(70)
    await world.settle()
    assert "Agent/greeter" not in await world.live()


async def test_a_drain_without_runs_goes_at_once_and_one_committed_again_serves_in_full(world: worlds.World) -> None:
    run = await _draining(world)
    await world.commit({"agents/greeter.yaml": manifests.annotated(manifests.agent("greeter"), deletion="drain")})
    assert await world.ready("Agent/greeter") == ("True", "Ready")
    assert (await world.resources())["Agent/greeter"].drain_until is None
    again = await _run(world)
    for one in (run, again):
        await records.request_cancel(world.db, one.tenant_id, one.id, "key:test", world.clock)
    await world.commit({"agents/greeter.yaml": None})
    world.clock.advance(6)
    await world.settle()
    assert "Agent/greeter" not in await world.live()


async def test_a_drain_that_is_over_waits_for_who_still_needs_it(world: worlds.World) -> None:
    run = await _draining(world, workflow="hello")
    assert await world.ready("Workflow/hello") == ("False", "UnknownReference")
    await records.request_cancel(world.db, run.tenant_id, run.id, "key:test", world.clock)
    world.clock.advance(6)
    await world.settle()
    assert await world.ready("Agent/greeter") == ("False", "DeletionBlocked")
    with pytest.raises(errors.Problem, match="takes no new runs"):
        await _run(world)
    world.clock.advance(60)
    assert not await world.reconciler.round(), "it waits, and keeps nobody busy"
    await world.commit({"workflows/hello.yaml": None})
    assert "Agent/greeter" not in await world.live()


async def test_a_rollback_ends_a_drain_and_a_release_begins_it_anew(world: worlds.World) -> None:
    await _draining(world)
    await world.command("rollback", {"generation": 1})
    assert (await world.resources())["Agent/greeter"].drain_until is None
    assert await world.ready("Agent/greeter") == ("False", "Held")
    await _run(world)
    world.clock.advance(2 * HOUR)
    await world.settle()
    assert "Agent/greeter" in await world.live()
    await world.command("release")
    assert await world.ready("Agent/greeter") == ("False", "Draining")
