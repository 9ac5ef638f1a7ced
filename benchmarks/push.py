"""How long a push takes until it is Ready, told by a signed webhook; and what a thousand webhooks at once cost.

One bare repository behind `git http-backend` and TLS holds the manifests of 100 tenants; the platform's own repository
names them. Every tenth push changes all tenants, the others one. A push begins when its ref has moved, before the
webhook is sent, and ends when the API says that every tenant it changed is Ready at its revision.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks import report
from benchmarks.server import Server
from tests.support import git_servers, manifests, repos, webhooks

SECRET = "a-secret-of-the-benchmark"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks push", description=__doc__)
    parser.add_argument("--pushes", type=int, default=100)
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--burst", type=int, default=1000)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="agentos-push-") as scratch:
        root = Path(scratch)
        (root / "served").mkdir()
        with git_servers.serving_http(root / "served") as forge:
            shared = repos.Repo(root / "served/shared.git", bare=True)
            names = [f"t{number:03}" for number in range(chosen.tenants)]
            shared.commit({path: text for name in names for path, text in _files(name, 0).items()})
            platform = repos.Repo(root / "platform")
            platform.commit({"agents/tenants.yaml": "---\n".join(_tenant(name, forge) for name in names)})
            flags = ("--allow-egress", "127.0.0.0/8", "--poll-interval", "1h")
            with Server(str(platform.folder), root / "state", *flags) as server:
                while server.client.get("/v1/tenants/platform").is_error:
                    time.sleep(0.02)
                server.client.put("/v1/tenants/platform/secrets/hook", json={"value": SECRET}).raise_for_status()
                _ready(server, names, shared.head)
                path = next(each["webhook"] for each in _sources(server) if each["webhook"])
                _pushes(server, shared, names, path, chosen.pushes)
                for clients in (1, 8):
                    _burst(server, shared, names, path, chosen.burst, clients)


def _files(name: str, number: int) -> dict[str, str]:
    small = manifests.small() | {"agents/model.yaml": manifests.model(text=f"push {number}")}
    return {f"{name}/{path}": text for path, text in small.items()}


def _tenant(name: str, forge: git_servers.HttpServer) -> str:
    authority = "\n".join(f"        {line}" for line in (forge.ca or "").splitlines())
    return f"""{manifests.HEAD}kind: Tenant
metadata: {{name: {name}}}
spec:
  sources:
    - git: {forge.url}/shared.git
      ref: main
      path: {name}
      webhook: {{secret: hook}}
      ca: |
{authority}
"""


def _sources(server: Server) -> list[dict[str, str]]:
    found: list[dict[str, str]] = server.get("/v1/sources", limit=500)["items"]
    return found


def _ready(server: Server, names: list[str], revision: str) -> None:
    """Wait until `names` are Ready at `revision`."""
    wanted = set(names)
    until = time.monotonic() + 120
    while True:
        at = {each["tenant"] for each in _sources(server) if each["revision"] == revision and each["ready"]}
        if wanted <= at:
            tenants = {each["name"] for each in server.get("/v1/tenants", limit=500)["items"] if each["ready"]}
            if wanted <= tenants:
                return
        if time.monotonic() > until:
            raise SystemExit(f"not Ready at {revision}: {sorted(wanted - at)[:3]}")
        time.sleep(0.005)


def _pushes(server: Server, shared: repos.Repo, names: list[str], path: str, count: int) -> None:
    took = []
    fetched = server.metric("agentos_reconcile_fetches_total")
    for number in range(1, count + 1):
        changed = names if number % 10 == 0 else [names[number % len(names)]]
        # Looks at one repository are a second apart, and this measures a push and not that second.
        time.sleep(1.1)
        head = shared.commit({path: text for name in changed for path, text in _files(name, number).items()})
        began = time.perf_counter()
        _deliver(server.client, path, head)
        _ready(server, changed, head)
        took.append((time.perf_counter() - began) * 1000)
    took.sort()
    fetches = server.metric("agentos_reconcile_fetches_total") - fetched
    report.title(f"{len(names)} tenants of one repository, {count} pushes told by a webhook")
    report.line("push to Ready, p50", f"{took[int(count * 0.5) - 1]:.0f} ms", "bar < 300 ms")
    report.line("push to Ready, p99", f"{took[int(count * 0.99) - 1]:.0f} ms", "bar < 2000 ms")
    report.line("fetches per push", f"{fetches / count:.2f}", "bar 1")


def _deliver(client: httpx.Client, path: str, text: str) -> None:
    body = text.encode()
    headers = webhooks.signed("github", body, SECRET, time.time())
    client.post(path, content=body, headers=headers).raise_for_status()


def _burst(server: Server, shared: repos.Repo, names: list[str], path: str, count: int, clients: int) -> None:
    time.sleep(2.1)
    fetched = server.metric("agentos_reconcile_fetches_total")
    head = shared.commit(_files(names[0], 10_000 + clients))
    took = sorted(asyncio.run(_storm(server.address, path, count, clients)))
    _ready(server, names[:1], head)
    time.sleep(2.1)
    fetches = server.metric("agentos_reconcile_fetches_total") - fetched
    report.title(f"{count} webhooks in a burst, {clients} at once")
    report.line("acknowledged, p50", f"{took[count // 2]:.1f} ms", "")
    report.line("acknowledged, p99", f"{took[int(count * 0.99) - 1]:.1f} ms", "bar < 50 ms")
    report.line("fetches", f"{fetches:.0f}", "bar 1")


async def _storm(address: str, path: str, count: int, clients: int) -> list[float]:
    took: list[float] = []
    numbers = iter(range(count))

    async def sender() -> None:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            for number in numbers:
                body = f"{clients} {number}".encode()
                headers = webhooks.signed("github", body, SECRET, time.time())
                began = time.perf_counter()
                answer = await client.post(path, content=body, headers=headers)
                took.append((time.perf_counter() - began) * 1000)
                answer.raise_for_status()

    await asyncio.gather(*(sender() for _ in range(clients)))
    return took
