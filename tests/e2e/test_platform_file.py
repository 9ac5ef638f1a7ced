"""`agentos serve --source platform.yaml`: the platform's own source, described like everyone else's."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.support import controller, git_servers, manifests, repos, webhooks

PLATFORM = """\
apiVersion: agentos/v1
kind: Tenant
metadata: {name: platform}
spec:
  sources: [{git: "file://%s", ref: main, path: fleet, exclude: ["*.draft.yaml"]}]
"""


def test_the_file_says_where_and_what(tmp_path: Path) -> None:
    repo = repos.Repo(tmp_path / "repo", bare=True)
    repo.commit(
        {
            "fleet/agents/hello.yaml": manifests.model("hello"),
            "fleet/agents/new.draft.yaml": manifests.model("new"),
            "agents/elsewhere.yaml": manifests.model("elsewhere"),
        }
    )
    file = tmp_path / "platform.yaml"
    file.write_text(PLATFORM % repo.folder)
    with controller.serving(file, tmp_path / "state") as serving, serving.client() as client:
        controller.reconciled(client)
        found = client.get("/v1/tenants/default/resources").json()["items"]
        assert [(one["kind"], one["name"], one["ready"]) for one in found] == [("Model", "hello", True)]


def test_a_mistake_in_the_file_ends_the_start_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text((PLATFORM % "/x").replace("path: fleet", "pth: fleet"))
    done = controller.agentos("serve", "--source", str(file), "--state-dir", str(tmp_path / "state"))
    assert done.returncode == 1
    assert f"{file}:5:" in done.stderr
    assert "unknown key `pth`" in done.stderr


def test_its_guard_of_removals_is_that_of_the_file(tmp_path: Path) -> None:
    repo = repos.Repo(tmp_path / "repo", bare=True)
    repo.commit({f"fleet/agents/m{n}.yaml": manifests.model(f"m{n}") for n in range(5)})
    file = tmp_path / "platform.yaml"
    file.write_text(PLATFORM % repo.folder + "  prune: {minCount: 1, maxShare: 0.1}\n")
    with controller.serving(file, tmp_path / "state") as serving, serving.client() as client:
        controller.reconciled(client)
        repo.commit({"fleet/agents/m1.yaml": None})
        controller.reconciled(client)
        asks = client.get("/v1/tenants/default").json()["prune"]
        assert (asks["count"], asks["total"], asks["resources"]) == (1, 5, ["Model/m1"])
        assert client.get("/v1/tenants/default/resources/Model/m1").json()["reason"] == "PruneGuarded"
        done = serving.agentos("approve-prune", "--digest", asks["digest"], "--yes")
        assert done.returncode == 0, done.stderr
        assert client.get("/v1/tenants/default/resources/Model/m1").status_code == 404


def test_a_signed_delivery_about_it_wakes_the_loop(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    repo = repos.Repo(tmp_path / "served/repo.git", bare=True)
    repo.commit({"agents/hello.yaml": manifests.model("hello")})
    with git_servers.serving_http(tmp_path / "served") as web:
        source = {"git": f"{web.url}/repo.git", "ref": "main", "ca": web.ca, "webhook": {"secret": "forge-hook"}}
        file = tmp_path / "platform.yaml"
        spec = json.dumps({"sources": [source]})
        file.write_text(f"{manifests.HEAD}kind: Tenant\nmetadata: {{name: platform}}\nspec: {spec}\n")
        flags = ("--allow-egress", "127.0.0.0/8", "--poll-interval", "1h")
        with controller.serving(file, tmp_path / "state", *flags) as serving, serving.client() as client:
            assert serving.agentos("secret", "set", "forge-hook", given="not-so-secret").returncode == 0
            assert serving.agentos("wait", "model/hello").returncode == 0
            (shown,) = client.get("/v1/sources").json()["items"]
            repo.commit({"agents/pushed.yaml": manifests.model("pushed")})
            body = b'{"ref": "refs/heads/main"}'
            refused = client.post(shown["webhook"], content=body, headers={"X-Hub-Signature-256": "sha256=00"})
            assert refused.status_code == 401
            headers = webhooks.signed("github", body, "not-so-secret", time.time())
            assert client.post(shown["webhook"], content=body, headers=headers).status_code == 202
            waited = serving.agentos("wait", "model/pushed", "--for", f"revision={repo.head}", "--timeout", "30s")
            assert waited.returncode == 0, waited.stderr
