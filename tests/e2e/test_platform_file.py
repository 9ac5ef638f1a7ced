"""`agentos serve --source platform.yaml`: the platform's own source, described like everyone else's."""

from __future__ import annotations

from pathlib import Path

from tests.support import controller, manifests, repos

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
