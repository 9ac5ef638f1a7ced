"""A hundred tenants that read one remote repository: one fetch for a push, and one read of each blob."""

from __future__ import annotations

import json
from pathlib import Path

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import tables
from tests.support import git_servers, manifests, repos, worlds

TENANTS = 100


async def test_one_fetch_and_one_read_of_each_blob(sqlite: databases.Database, tmp_path: Path) -> None:
    repo = repos.Repo(tmp_path / "served/repo.git", bare=True)
    names = [f"t{number:03d}" for number in range(TENANTS)]
    files = {
        f"tenants/{name}/agents/{model}.yaml": manifests.model(model, f"{model} of {name}")
        for name in names
        for model in ("one", "two", "three")
    }
    repo.commit(files)
    platform = repos.Repo(tmp_path / "platform", bare=True)
    with git_servers.serving_http(repo.folder.parent) as web:
        url = {"git": f"{web.url}/repo.git", "ca": web.ca, "ref": "main"}
        tenants = [
            f"{manifests.HEAD}kind: Tenant\nmetadata: {{name: {name}}}\n"
            f"spec: {json.dumps({'sources': [{**url, 'path': f'tenants/{name}'}]})}\n"
            for name in names
        ]
        platform.commit({"agents/tenants.yaml": "---\n".join(tenants)})
        world = worlds.World(sqlite, platform, tmp_path / "state", clocks.ManualClock())
        await world.settle()
        own = 2  # the file of the tenants: once to see that there are any, once for the tenant that then owns it
        counters = world.reconciler.repositories.counters
        assert set((await world.reasons("t042")).values()) == {"Ready"}
        assert (counters.fetches, counters.blobs) == (1, len(files) + own)

        await world.settle()
        assert (counters.fetches, counters.blobs) == (1, len(files) + own)

        repo.commit({f"tenants/{name}/agents/one.yaml": manifests.model("one", f"new of {name}") for name in names[:7]})
        await world.settle()
        assert (counters.fetches, counters.blobs) == (2, len(files) + own + 7)
        assert [(await world.tenant(name)).active_seq for name in names[5:9]] == [2, 2, 1, 1]
        assert {row.head for row in await world.rows(tables.source.select())} == {repo.head, platform.head}
