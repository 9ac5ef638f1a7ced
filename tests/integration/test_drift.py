"""Rows that somebody else wrote are found, made right and told of; an unchanged estate is only read."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import tables
from agentos_controller.reconcile import heal
from agentos_controller.runs import bodies
from agentos_controller.views import blobs
from tests.support import manifests, repos, worlds

SCHEDULE = f"""{manifests.HEAD}kind: Schedule
metadata: {{name: daily}}
spec:
  cron: "0 7 * * MON-FRI"
  run: {{workflow: hello, with: {{who: world}}}}
"""
resource, item, state = tables.resource, tables.generation_item, tables.schedule_state
artifact, label, link = tables.artifact, tables.resource_label, tables.dependency
OTHER = "sha256:" + "1" * 64
GRAPH = artifact.c.type == "graph"
COMPARED: tuple[tuple[sa.Table, tuple[str | None, ...]], ...] = (
    (artifact, ("body", "type", "name", "compiler", None)),
    (resource, ("applied_digest", "artifact_digest", "uses")),
    (item, ("digest", "artifact_digest")),
    (state, ("artifact_digest", "suspended", None)),
    (label, ("value", None)),
    (link, (None,)),
)
"""What is compared: the columns of each table, None for the whole row."""
ALTERED = {
    "body": b"rubbish",
    "type": "policy",
    "name": "Workflow/evil",
    "compiler": "0",
    "applied_digest": OTHER,
    "artifact_digest": OTHER,
    "digest": OTHER,
    "uses": {"Model/evil": OTHER},
    "suspended": True,
    "value": "evil",
}


@pytest.fixture
async def world(database: databases.Database, tmp_path: Path, clock: clocks.ManualClock) -> worlds.World:
    world = worlds.World(database, repos.Repo(tmp_path / "repo", bare=True), tmp_path / "state", clock)
    files = manifests.small() | {
        "agents/labelled.yaml": manifests.workflow("labelled", labels="{team: a}"),
        "agents/daily.yaml": SCHEDULE,
    }
    await world.commit(files)
    assert set((await world.reasons()).values()) == {"Ready"}, await world.diagnostics()
    assert await world.rows(sa.select(tables.event).where(tables.event.c.reason == "Drifted")) == []
    return world


async def tamper(world: worlds.World, statement: Any) -> None:
    async with world.db.write() as conn:
        assert (await conn.execute(statement)).rowcount > 0


async def compare(world: worlds.World) -> None:
    world.clock.advance(heal.INTERVAL)
    await world.settle()
    await world.settle()  # a tenant whose round was under way comes a little later


async def everything(world: worlds.World) -> dict[str, Any]:
    found = await world.state()
    for row in found["resource"]:
        row.pop("updated_at")
        row["conditions"] = [[*one[:2], one[2]] for one in row["conditions"]]
    for table, columns in (
        (state, (state.c.name, state.c.artifact_digest, state.c.suspended)),
        (artifact, (artifact.c.digest, artifact.c.type, artifact.c.name, artifact.c.body, artifact.c.size)),
        (tables.tenant, (tables.tenant.c.name, tables.tenant.c.spec, tables.tenant.c.quota)),
        (tables.source, (tables.source.c.name, tables.source.c.url, tables.source.c.path, tables.source.c.interval_us)),
    ):
        found[table.name] = sorted(map(tuple, await world.rows(sa.select(*columns))), key=str)
    return found


@pytest.mark.parametrize(
    ("statement", "name", "told"),
    [
        (artifact.update().where(GRAPH).values(body=b"rubbish"), "Workflow/hello", "artifact: stored missing"),
        (artifact.delete().where(GRAPH), "Workflow/hello", "artifact: stored missing"),
        (
            resource.update().where(resource.c.name == "hello").values(applied_digest=OTHER),
            "Workflow/hello",
            "resource: stored",
        ),
        (
            resource.update().where(resource.c.name == "hello").values(artifact_digest=OTHER),
            "Workflow/hello",
            "resource: stored",
        ),
        (resource.update().where(resource.c.name == "hello").values(uses={}), "Workflow/hello", "resource: stored"),
        (
            resource.update().where(resource.c.name == "fast").values(interface={"model": {"name": "evil"}}),
            "Model/fast",
            "artifact: stored missing or altered",
        ),
        (
            item.update().where(item.c.name == "hello").values(artifact_digest=OTHER),
            "Workflow/hello",
            "generation: stored",
        ),
        (state.update().values(artifact_digest=OTHER), "Schedule/daily", "schedule: stored"),
        (state.update().values(suspended=True), "Schedule/daily", "true]"),
        (state.delete(), "Schedule/daily", "schedule: stored nothing"),
        (label.update().values(value="b"), "Workflow/labelled", 'labels: stored {"team":"b"}, should be {"team":"a"}'),
        (label.delete(), "Workflow/labelled", "labels: stored {}"),
        (link.delete().where(link.c.from_name == "hello"), "Workflow/hello", "links: stored []"),
    ],
)
async def test_what_somebody_else_wrote_is_healed(world: worlds.World, statement: Any, name: str, told: str) -> None:
    before = await everything(world)
    await tamper(world, statement)
    assert await everything(world) != before
    await compare(world)
    assert await everything(world) == before
    kind, _, of = name.partition("/")
    event = tables.event
    query = sa.select(event).where(event.c.kind == kind, event.c.name == of, event.c.reason == "Drifted")
    rows = await world.rows(query)
    assert any(told in row.message and row.message.endswith("healed") for row in rows), rows
    assert {row.type for row in rows} == {"Warning"}
    audited = await world.rows(sa.select(tables.audit).where(tables.audit.c.action == "drift.heal"))
    assert name in audited[0].detail["first"]
    assert world.reconciler.progress()["drifted"] >= 1
    assert (await world.tenant()).ready == "True"


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_altered_at_once_is_healed(world: worlds.World, seed: int) -> None:
    """Several of the rows that are compared, of one resource each, altered in a column or removed."""
    chance = random.Random(seed)
    before = await everything(world)
    for _ in range(5):
        touched: set[str] = set()
        for _ in range(chance.randint(1, 4)):
            table, columns = chance.choice(COMPARED)
            rows = await world.rows(sa.select(table).where(*([table.c.to_seq.is_(None)] if table is item else [])))
            rows = [row for row in rows if _of(row) not in touched]
            if not rows:
                continue
            row, column = chance.choice(rows), chance.choice(columns)
            touched.add(_of(row))
            where = [each == getattr(row, each.name) for each in table.primary_key]
            altered = table.update().values({column: ALTERED[column]}) if column else table.delete()
            await tamper(world, altered.where(*where))
        await compare(world)
        assert await everything(world) == before, touched
    assert set((await world.reasons()).values()) == {"Ready"}


def _of(row: Any) -> str:
    """The name of the resource that a row belongs to."""
    name: str = row.from_name if hasattr(row, "from_name") else row.name
    return name.rpartition("/")[2]


async def test_an_altered_graph_does_not_run(world: worlds.World) -> None:
    tenant_id = (await world.tenant()).id
    digest = (await world.resources())["Workflow/hello"].artifact_digest
    await tamper(world, artifact.update().where(artifact.c.digest == digest).values(body=blobs.pack({"form": "agent"})))
    async with world.db.read() as conn:
        with pytest.raises(bodies.ArtifactMissing):
            await bodies.read(conn, tenant_id, digest)
    await compare(world)
    async with world.db.read() as conn:
        assert (await bodies.read(conn, tenant_id, digest))["name"] == "hello"


async def test_a_lost_resource_comes_back(world: worlds.World) -> None:
    before = await world.generation()
    await tamper(world, resource.delete().where(resource.c.name == "hello"))
    await compare(world)
    assert await world.generation() == before
    assert (await world.reasons())["Workflow/hello"] == "Ready"


async def test_where_two_rows_say_different_things_a_build_decides(world: worlds.World) -> None:
    before = await world.live()
    await tamper(world, item.update().where(item.c.name == "hello").values(uses={"Agent/greeter": OTHER}))
    await compare(world)
    assert await world.live() == before
    row = (await world.resources())["Workflow/hello"]
    assert (row.ready, OTHER in row.uses.values()) == ("True", False)


async def test_a_restart_heals_at_once(world: worlds.World) -> None:
    before = await everything(world)
    await tamper(world, state.delete())
    world.restart()
    await world.settle()
    assert await everything(world) == before


async def test_what_git_no_longer_has_stalls(world: worlds.World) -> None:
    await world.commit({"workflows/hello.yaml": manifests.workflow("hello", agent="nobody")})
    (row,) = [row for name, row in (await world.resources()).items() if name == "Workflow/hello"]
    assert row.applied_digest is not None
    await tamper(world, artifact.delete().where(artifact.c.digest == row.artifact_digest))
    await compare(world)
    (row,) = [row for name, row in (await world.resources()).items() if name == "Workflow/hello"]
    assert (row.ready, row.reason) == ("False", "Drifted")
    assert world.reconciler.progress()["unhealed"] == 1
    events = await world.rows(sa.select(tables.event.c.message).where(tables.event.c.reason == "Drifted"))
    assert [event.message.rpartition("; ")[2] for event in events] == ["cannot be healed"]


@pytest.mark.parametrize(
    "statement",
    [
        tables.tenant.update().where(tables.tenant.c.name == "acme").values(spec={"sources": []}),
        tables.tenant.update().where(tables.tenant.c.name == "acme").values(quota={"concurrentRuns": 999}),
        tables.source.update().where(tables.source.c.path == "tenants/acme").values(path="tenants/other"),
        tables.source.delete().where(tables.source.c.path == "tenants/acme"),
    ],
)
async def test_tenants_and_their_sources(
    database: databases.Database, tmp_path: Path, clock: clocks.ManualClock, statement: Any
) -> None:
    world = worlds.World(database, repos.Repo(tmp_path / "repo", bare=True), tmp_path / "state", clock)
    files = {f"tenants/acme/{path}": text for path, text in manifests.small().items()}
    await world.commit({"agents/tenants.yaml": manifests.tenant("acme", "tenants/acme"), **files})
    before, serving = await everything(world), await world.live("acme")
    await tamper(world, statement)
    await compare(world)
    after = await everything(world)
    assert (after["tenant"], after["source"]) == (before["tenant"], before["source"])
    assert await world.live("acme") == serving
    assert ("Warning", "Drifted") in await world.events("Tenant/acme")


async def test_an_unchanged_estate_is_only_read(
    sqlite: databases.Database, tmp_path: Path, clock: clocks.ManualClock
) -> None:
    world = worlds.World(sqlite, repos.Repo(tmp_path / "repo", bare=True), tmp_path / "state", clock)
    many = {f"agents/{n}.yaml": manifests.workflow(f"w{n}", labels="{team: a}") for n in range(997)}
    await world.commit(manifests.small() | many)
    assert set((await world.reasons()).values()) == {"Ready"}
    seen: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement.split()[0].upper())

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    try:
        await compare(world)
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)
    assert {"INSERT", "UPDATE", "DELETE"}.isdisjoint(seen)
    assert 0 < len(seen) < 120
    assert world.reconciler.progress()["drifted"] == 0
