"""One tenant commits everything a person who means harm could think of; the others notice nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support import controller, hostile, manifests, repos

NEIGHBOURS = ("tame", "tidy")
MEMORY_BYTES = 400 * 2**20


def _resources(client: httpx.Client, tenant: str) -> dict[str, Mapping[str, Any]]:
    answer = client.get(f"/v1/tenants/{tenant}/resources", params={"limit": 500})
    return {f"{one['kind']}/{one['name']}": one for one in answer.json()["items"]}


def _all_ready(client: httpx.Client, tenant: str) -> bool:
    found = _resources(client, tenant)
    return len(found) == 3 and all(one["ready"] for one in found.values())


def test_one_hostile_tenant(tmp_path: Path) -> None:
    repo = repos.Repo(tmp_path / "repo")
    tenants = ("hostile", *NEIGHBOURS)
    repo.write({"agentos.yaml": "---\n".join(manifests.tenant(name, f"tenants/{name}") for name in tenants)})
    for name in NEIGHBOURS:
        repo.write({f"tenants/{name}/{path}": text for path, text in manifests.small().items()})
    repo.write({"tenants/hostile/agents/fast.yaml": manifests.model()})
    for path, content in {**{path: each for path, (each, _) in hostile.FILES.items()}, **hostile.TEXTS}.items():
        where = f"tenants/hostile/{path}"
        if path in hostile.LINKS:
            repo.link(where, str(content))
        else:
            repo.write({where: content})
    repo.commit()
    with controller.serving(repo.folder, tmp_path / "state") as served, served.client() as client:
        controller.reconciled(client)
        _told(client)
        _explained(client)
        assert all(_all_ready(client, name) for name in NEIGHBOURS)
        assert served.process is not None
        assert psutil.Process(served.process.pid).memory_info().rss < MEMORY_BYTES

        # Neighbours go on changing while the harm stands.
        repo.commit({f"tenants/tame/{path}": text for path, text in _greeting("Good day").items()})
        controller.reconciled(client)
        assert all(_all_ready(client, name) for name in NEIGHBOURS)
        assert client.get("/v1/tenants/tame").json()["activeGeneration"] == 2
        assert client.get("/v1/tenants/tidy").json()["activeGeneration"] == 1

        # A good commit heals.
        gone = {f"tenants/hostile/{path}": None for path in (*hostile.FILES, *hostile.TEXTS)}
        good = {f"tenants/hostile/{path}": text for path, text in manifests.small().items()}
        repo.commit({**gone, "tenants/hostile/agents/fast.yaml": None, **good})
        controller.reconciled(client)
        assert client.get("/v1/tenants/hostile/diagnostics").json()["items"] == []
        assert _all_ready(client, "hostile")
        assert client.get("/readyz").status_code == 200
    assert "Traceback" not in served.words


def _explained(client: httpx.Client) -> None:
    """Conditions say how far everything came, and why no further."""
    whole = {one["type"]: one for one in client.get("/v1/tenants/hostile").json()["conditions"]}
    assert (whole["Ready"]["status"], whole["Ready"]["reason"]) == ("False", "ResourcesNotReady")
    broken = client.get("/v1/tenants/hostile/resources/Agent/outside").json()
    assert [(one["type"], one["status"], one["reason"]) for one in broken["conditions"]][:8] == [
        ("Loaded", "True", "Loaded"),
        ("Valid", "True", "Valid"),
        ("Resolved", "False", "FileOutsideSource"),
        ("Compiled", "Unknown", "NotReached"),
        ("Admitted", "Unknown", "NotReached"),
        ("Applied", "Unknown", "NotReached"),
        ("Healthy", "Unknown", "NotReached"),
        ("Ready", "False", "FileOutsideSource"),
    ]
    (ready,) = client.get("/v1/tenants/tame/resources", params={"kind": "Model"}).json()["items"]
    stages = ["Loaded", "Valid", "Resolved", "Compiled", "Admitted", "Applied", "Healthy", "Ready"]
    assert [(one["type"], one["reason"]) for one in ready["conditions"]][:8] == [(one, one) for one in stages]
    assert all(one["observedRevision"] == ready["revision"] for one in ready["conditions"])


def _greeting(words: str) -> dict[str, str]:
    return {path: text.replace("Hi ", f"{words} ") for path, text in manifests.small().items()}


def _told(client: httpx.Client) -> None:
    items: list[dict[str, Any]] = []
    cursor = None
    while cursor is not None or not items:
        page = client.get(
            "/v1/tenants/hostile/diagnostics", params={"limit": 100, **({"cursor": cursor} if cursor else {})}
        )
        items += page.json()["items"]
        if (cursor := page.json()["nextCursor"]) is None:
            break
    by_path: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        assert item["line"] >= 1
        assert item["column"] >= 1
        assert item["message"]
        assert len(item["message"]) < 1_000
        by_path.setdefault(item["path"].removeprefix("tenants/hostile/"), []).append(item)
    told = {path: {item["code"] for item in by_path.get(path, ())} for path in hostile.FILES}
    assert {path: codes for path, codes in told.items() if not codes & hostile.FILES[path][1]} == {}
    assert "root:" not in str(items), "a file of this machine was read"
