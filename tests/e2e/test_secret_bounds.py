"""Whose secret it is, and where it may go: another tenant has none of it, another host never sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.support import controller, http_server, model_server, repos
from tests.support.manifests import HEAD, tenant

KEY = "sk-bounds-0123456789abcdef"
CLOSED = "http://10.255.255.1/v1"
"""A private address that the operator did not open."""


def _model(url: str) -> str:
    return f"""{HEAD}kind: Model
metadata: {{name: fast}}
spec: {{provider: openai, name: m, baseUrl: {url}, auth: {{secret: model-key}}}}
"""


ASKING = f"""{HEAD}kind: Workflow
metadata: {{name: ask}}
spec:
  steps: {{only: {{llm: {{model: fast, prompt: Hello}}, retry: {{attempts: 1}}}}}}
  output: {{text: "${{steps.only.output}}"}}
"""


def _policy(host: str) -> str:
    return f"""{HEAD}kind: Policy
metadata: {{name: hosts}}
spec:
  applies: {{kinds: [Workflow, Agent, Model, Connector]}}
  rules:
    known: {{deny: "!artifact.hosts.all(h, h in ['{host}', '10.255.255.1'])", message: Only hosts we know.}}
"""


async def test_a_key_stays_with_its_tenant_and_its_hosts(tmp_path: Path) -> None:
    async with model_server.serve(model_server.Say("Hi!")) as known, model_server.serve(model_server.Say("!")) as other:
        repo = repos.Repo(tmp_path / "repo")
        repo.write({"agentos.yaml": "---\n".join(tenant(name, f"tenants/{name}") for name in ("acme", "globex"))})
        repo.write({"agents/policy.yaml": _policy(known.url.removeprefix("http://"))})
        for name in ("acme", "globex"):
            repo.write({f"tenants/{name}/workflows/ask.yaml": ASKING})
            repo.write({f"tenants/{name}/agents/fast.yaml": _model(f"{known.url}/v1")})
        repo.commit()
        flags = ("--allow-egress", "127.0.0.0/8")
        with controller.serving(repo.folder, tmp_path / "state", *flags) as served:
            async with served.aclient() as client:
                await _reconcile(client)
                put = await client.put("/v1/tenants/acme/secrets/model-key", json={"value": KEY})
                assert put.status_code == 200, put.text

                # Another tenant names a secret alike, and has none.
                theirs = await _run(client, "globex")
                assert (theirs["state"], theirs["error"]["class"]) == ("failed", "Unauthorized")
                assert "model-key is not set" in theirs["error"]["message"]
                assert known.requests == []
                mine = await _run(client, "acme")
                assert (mine["state"], mine["output"]) == ("succeeded", {"text": "Hi!"})
                assert _keys(known) == [f"Bearer {KEY}"]

                # The model is pointed elsewhere: the policy of the platform refuses, what served before serves on.
                repo.commit({"tenants/acme/agents/fast.yaml": _model(f"{other.url}/v1")})
                await _reconcile(client)
                stalled = (await client.get("/v1/tenants/acme/resources/Workflow/ask")).json()
                assert (stalled["ready"], stalled["reason"]) == (False, "PolicyDenied")
                assert (await _run(client, "acme"))["output"] == {"text": "Hi!"}
                assert (len(known.requests), other.requests) == (2, [])

                # A host that the policy knows: the key was bound to another by its first use. An admin binds it anew,
                # and then the operator did not open the host.
                repo.commit({"tenants/acme/agents/fast.yaml": _model(CLOSED)})
                await _reconcile(client)
                denied = await _run(client, "acme")
                assert (denied["state"], denied["error"]["class"]) == ("failed", "Denied"), denied
                assert "agentos secret set model-key --host" in denied["error"]["message"]
                path = "/v1/tenants/acme/secrets/model-key"
                assert (await client.put(path, json={"hosts": ["10.255.255.1"]})).status_code == 200
                denied = await _run(client, "acme")
                assert (denied["state"], denied["error"]["class"]) == ("failed", "Denied"), denied
                assert "--allow-egress" in denied["error"]["message"]
    assert other.requests == []


async def test_a_key_goes_nowhere_else_until_an_admin_says_so(tmp_path: Path) -> None:
    """No policy, every address open: what keeps the key from the second server is that it is bound to the first."""
    async with model_server.serve(model_server.Say("Hi!")) as known, model_server.serve(model_server.Say("!")) as other:
        host, elsewhere = (server.url.removeprefix("http://") for server in (known, other))
        repo = repos.Repo(tmp_path / "repo")
        repo.write({"agentos.yaml": tenant("acme", "acme"), "acme/workflows/ask.yaml": ASKING})
        repo.commit({"acme/agents/fast.yaml": _model(f"{known.url}/v1")})
        mount = tmp_path / "mount" / "acme"
        mount.mkdir(parents=True)
        flags = ("--allow-egress", "127.0.0.0/8", "--secrets-dir", str(mount.parent))
        with controller.serving(repo.folder, tmp_path / "state", *flags) as served:
            async with served.aclient() as client:
                path = "/v1/tenants/acme/secrets/model-key"
                await _reconcile(client)
                await client.put(path, json={"value": KEY})
                assert (await client.get(path)).json()["hosts"] == []
                assert (await _run(client, "acme"))["state"] == "succeeded"
                assert (await client.get(path)).json()["hosts"] == [host]

                repo.commit({"acme/agents/fast.yaml": _model(f"{other.url}/v1")})
                await _reconcile(client)
                # Neither a new value nor a mounted one of the same name lifts it.
                await client.put(path, json={"value": KEY + "2"})
                assert await _denied(client) == await _denied(client)
                (mount / "model-key").write_text(KEY + "3")
                message = await _denied(client)
                assert message.startswith(f"secret model-key is bound to {host}, and {elsewhere} is not among them")
                assert other.requests == []

                shown = await client.put(path, json={"hosts": [elsewhere.upper()]})
                assert (shown.json()["provider"], shown.json()["hosts"]) == ("mounted", [elsewhere])
                assert (await _run(client, "acme"))["state"] == "succeeded"
                assert _keys(other) == [f"Bearer {KEY}3"]
                assert _keys(known) == [f"Bearer {KEY}"]
                trail = (await client.get("/v1/audit")).json()["items"]
                bound = [entry for entry in trail if entry["action"] == "secret.bind"]
                assert [entry["detail"] for entry in bound] == [
                    {"hosts": [elsewhere]},
                    {"hosts": [host], "firstUse": True},
                ]


async def _denied(client: httpx.AsyncClient) -> str:
    run = await _run(client, "acme")
    assert (run["state"], run["error"]["class"]) == ("failed", "Denied"), run
    return str(run["error"]["message"])


def _keys(server: http_server.Server) -> list[str]:
    return [request.headers["authorization"] for request in server.requests]


async def _reconcile(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/reconcile", json={})
    done = await client.get(f"/v1/commands/{made.json()['id']}", params={"wait": 60})
    assert done.json()["state"] == "done", done.text


async def _run(client: httpx.AsyncClient, tenant_name: str) -> dict[str, Any]:
    body = {"kind": "Workflow", "name": "ask", "wait": 60}
    answer = await client.post(f"/v1/tenants/{tenant_name}/runs", json=body)
    assert answer.status_code == 201, answer.text
    run: dict[str, Any] = answer.json()
    return run
