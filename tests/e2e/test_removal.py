"""Somebody empties the platform's repository: every tenant serves on, and says what a person may agree to."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support import controller, manifests, repos


def test_an_emptied_platform_takes_nobody_down(tmp_path: Path) -> None:
    repo = repos.Repo(tmp_path / "repo")
    tenants = {f"agents/{name}.yaml": manifests.tenant(name, f"tenants/{name}") for name in ("acme", "beta")}
    small = {f"tenants/{name}/{path}": text for name in ("acme", "beta") for path, text in manifests.small().items()}
    repo.commit({**tenants, **small})
    with controller.serving(repo.folder, tmp_path / "state") as served, served.client() as client:
        controller.reconciled(client)
        repo.commit(dict.fromkeys((*tenants, *small)))
        controller.reconciled(client)
        for tenant in ("acme", "beta"):
            run = client.post(
                f"/v1/tenants/{tenant}/runs?wait=30",
                json={"kind": "Workflow", "name": "hello", "input": {"who": "Bo"}},
            )
            assert run.json()["state"] == "succeeded", run.text
            shown = client.get(f"/v1/tenants/{tenant}").json()
            assert (shown["prune"]["count"], shown["prune"]["total"]) == (3, 3)
        asked = served.agentos("approve-prune", "-t", "platform", given="n\n")
        assert asked.stdout.startswith("2 of 2 resources would be removed:\n  tenant/acme\n  tenant/beta\n")
        described = served.agentos("describe", "tenant/acme", "-t", "platform").stdout
        assert "Ready:            False (PruneGuarded)" in described
        assert "Asks:             to remove 3 of 3: Agent/greeter, Model/fast, Workflow/hello" in described
        assert re.search(r"Manifest: +agents/acme\.yaml:\d+, PruneGuarded", described), described
        suspended = served.agentos("suspend", "tenant/beta", "--reason", "look first", "--for", "1h")
        assert suspended.returncode == 0, suspended.stderr
        described = served.agentos("describe", "tenant/beta", "-t", "platform", "-o", "json").stdout
        assert json.loads(described)["suspension"]["reason"] == "look first"
        assert json.loads(described)["prune"] is None

        # What the person agrees to goes, tenant by tenant.
        done = served.agentos("approve-prune", "-t", "acme", "--yes")
        assert "3 resources approved" in done.stdout, done.stderr
        assert client.get("/v1/tenants/acme/resources").json()["items"] == []
        done = served.agentos("approve-prune", "-t", "platform", "--yes")
        assert done.returncode == 0, done.stderr
        controller.reconciled(client)
        assert [one["name"] for one in client.get("/v1/tenants").json()["items"]] == ["default"]
    assert "Traceback" not in served.words
