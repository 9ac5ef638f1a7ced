"""From a push to Ready over a signed webhook, and what a storm of webhooks costs.

A hundred tenants follow one remote repository over https. Nothing polls: each push is told by one delivery, signed as
GitHub does. The remote is a real `git http-backend` in this process, so its work counts.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx

from benchmarks import report
from benchmarks.server import Server
from tests.support import git_servers, manifests, repos

SECRET = "not-so-secret"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks push", description=__doc__)
    parser.add_argument("--pushes", type=int, default=100)
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--burst", type=int, default=1_000)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="agentos-push-") as scratch:
        root = Path(scratch)
        (root / "served").mkdir()
        with git_servers.serving_http(root / "served") as web:
            _measure(root, web, chosen)


def _measure(root: Path, web: git_servers.HttpServer, chosen: argparse.Namespace) -> None:
    names = [f"t{number:03d}" for number in range(chosen.tenants)]
    repo = repos.Repo(root / "served/repo.git", bare=True)
    repo.commit({_path(name, part): manifests.model(part, f"{name} {part}") for name in names for part in ("a", "b")})
    platform = repos.Repo(root / "platform", bare=True)
    platform.commit({f"agents/{name}.yaml": _tenant(name, web) for name in names})
    flags = ("--allow-egress", "127.0.0.0/8", "--poll-interval", "1h")
    with Server(str(platform.folder), root / "state", *flags) as server:
        _until(server, lambda: len(_generations(server)) > chosen.tenants and min(_generations(server).values()) >= 1)
        server.client.put("/v1/tenants/platform/secrets/forge-hook", json={"value": SECRET}).raise_for_status()
        sources = server.pages("/v1/sources")
        hooks = {each["tenant"]: each["webhook"] for each in sources}
        fetched = server.metric("agentos_reconcile_fetches_total")
        seconds = [
            _push(server, hooks[names[0]], repo, [names[number % len(names)]], number)
            for number in range(chosen.pushes)
        ]
        fetches = server.metric("agentos_reconcile_fetches_total") - fetched
        everyone = [_push(server, hooks[names[0]], repo, names, chosen.pushes + number) for number in range(3)]
        report.title(f"a push, told by a webhook, with {chosen.tenants} tenants on one repository")
        ordered = sorted(seconds)
        for label, at, bar in (("p50", 0.5, 300), ("p99", 0.99, 2_000)):
            figure = ordered[max(0, round(len(ordered) * at) - 1)] * 1000
            report.line(f"push to Ready, {label} of {len(ordered)}", f"{figure:.0f} ms", f"bar < {bar} ms")
        report.line("fetches for a push", f"{fetches / chosen.pushes:.2f}", "bar: 1")
        slowest = f"{statistics.median(everyone) * 1000:.0f} ms"
        report.line(f"a push that changes all {chosen.tenants}, until the last is Ready", slowest, "")
        for clients, name in ((1, names[1]), (8, names[2])):  # each source has a pace of its own
            _burst(server, hooks[name], repo, name, chosen.burst, clients)


def _burst(server: Server, hook: str, repo: repos.Repo, name: str, count: int, clients: int) -> None:
    """Deliveries that all differ, after one push, from `clients` at once."""
    before = {each: server.metric(f"agentos_reconcile_{each}_total") for each in ("looks", "fetches")}
    repo.commit({_path(name, "a"): manifests.model("a", f"burst of {clients}")})
    taken: list[float] = []
    threads = [
        threading.Thread(target=_deliver_many, args=(server.address, hook, count // clients, index, taken))
        for index in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(3)
    after = {each: server.metric(f"agentos_reconcile_{each}_total") for each in before}
    ordered = sorted(taken)
    report.title(f"{len(taken)} webhooks in a burst, {clients} client{'s' if clients > 1 else ''}")
    report.line(
        "acknowledged, p50 / p99",
        f"{statistics.median(ordered) * 1000:.1f} / {ordered[round(len(ordered) * 0.99) - 1] * 1000:.1f} ms",
        "bar < 50 ms p99",
    )
    report.line("fetches", f"{after['fetches'] - before['fetches']:g}", "bar: 1")
    report.line("looks at the refs", f"{after['looks'] - before['looks']:g}", "in pauses that double")


def _deliver_many(address: str, hook: str, count: int, index: int, taken: list[float]) -> None:
    with httpx.Client(base_url=address, timeout=60) as client:
        for number in range(count):
            taken.append(_deliver(client, hook, json.dumps({"client": index, "number": number})))


def _deliver(client: httpx.Client, hook: str, body: str) -> float:
    """Seconds until a delivery is acknowledged."""
    signature = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
    headers = {"x-github-event": "push", "x-hub-signature-256": f"sha256={signature}"}
    began = time.perf_counter()
    answer = client.post(hook, content=body, headers=headers)
    took = time.perf_counter() - began
    if answer.status_code != 202:
        raise SystemExit(f"a delivery was not taken: {answer.text}")
    return took


def _push(server: Server, hook: str, repo: repos.Repo, changed: list[str], number: int) -> float:
    """Seconds from the push that changes a file of each of `changed` until they are Ready, read over the API."""
    before = _generations(server)
    repo.commit({_path(name, "a"): manifests.model("a", f"push {number} of {name}") for name in changed})
    began = time.perf_counter()
    _deliver(server.client, hook, repo.head)
    if len(changed) == 1:
        path = f"/v1/tenants/{changed[0]}/resources/Model/a"
        _until(server, lambda: _at(server.get(path), repo.head))
    else:
        _until(server, lambda: all(now > before[name] for name, now in _generations(server).items() if name in changed))
    return time.perf_counter() - began


def _at(resource: dict[str, object], revision: str) -> bool:
    return resource["revision"] == revision and resource["ready"] is True


def _generations(server: Server) -> dict[str, int]:
    return {each["name"]: each["activeGeneration"] or 0 for each in server.pages("/v1/tenants")}


def _until(server: Server, holds: object) -> None:
    assert callable(holds)
    end = time.perf_counter() + 120
    while not holds():
        if time.perf_counter() > end:
            raise SystemExit("it never came")
        time.sleep(0.01)


def _path(name: str, part: str) -> str:
    return f"tenants/{name}/agents/{part}.yaml"


def _tenant(name: str, web: git_servers.HttpServer) -> str:
    source = {"git": f"{web.url}/repo.git", "ca": web.ca, "ref": "main", "path": f"tenants/{name}"}
    spec = {"sources": [{**source, "webhook": {"secret": "forge-hook"}}]}
    return f"{manifests.HEAD}kind: Tenant\nmetadata: {{name: {name}}}\nspec: {json.dumps(spec)}\n"
