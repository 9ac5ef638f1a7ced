"""What one tenant's burden costs the others: a push of theirs to Ready, with and without the burden beside it.

The burdens: ten thousand broken manifests (bad syntax, unknown keys, names that are nearly right, one circle through
all of them), one commit of fifty thousand files, and manifests that kill or hang whatever builds them. The quiet
tenant's pushes are timed from the command that says look to the new digest over the API.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from benchmarks import report
from benchmarks.server import Server
from tests.support import manifests, repos

KILLERS = Path(__file__).parents[1] / "tests/support/deadly"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks fairness", description=__doc__)
    parser.add_argument("--broken", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--killers", type=int, default=5, help="of each sort: those that crash and those that hang")
    chosen = parser.parse_args(arguments)
    burdens = {
        f"{chosen.broken} broken manifests": (dict(_broken(chosen.broken)), chosen.broken),
        f"a commit of {chosen.files} files": (dict(_models(chosen.files)), 0),
        f"{2 * chosen.killers} manifests that kill their build": (dict(_killers(chosen.killers)), 2 * chosen.killers),
    }
    for name, (files, stalled) in burdens.items():
        with tempfile.TemporaryDirectory(prefix="agentos-fairness-") as scratch:
            _measure(Path(scratch), name, files, stalled)


def _measure(root: Path, name: str, files: dict[str, str], stalled: int) -> None:
    quiet, heavy, platform = (repos.Repo(root / each, bare=True) for each in ("quiet", "heavy", "platform"))
    quiet.commit(manifests.small())
    heavy.commit({"agents/first.yaml": manifests.model("first")})
    tenants = {
        f"agents/{each}.yaml": manifests.tenant(each, ".").replace("[{path", f"[{{git: 'file://{root / each}', path")
        for each in ("quiet", "heavy")
    }
    platform.commit(tenants)
    with Server(str(platform.folder), root / "state", "--poll-interval", "1h", path=KILLERS) as server:
        _until(lambda: len(_ready(server)) == 2 and all(_ready(server).values()))
        alone = [_push(server, quiet, number) for number in range(20)]
        memory = server.peak_pss
        done = threading.Event()
        took: list[float] = []
        beside: list[float] = []
        began = time.perf_counter()
        heavy.commit(files)
        committed = time.perf_counter()
        thread = threading.Thread(target=_burden, args=(server.address, server.key, len(files), stalled, took, done))
        thread.start()
        number = 100
        while not done.is_set() or len(beside) < 5:
            beside.append(_push(server, quiet, number))
            number += 1
        thread.join()
        report.title(f"{name}, and a quiet tenant beside it")
        report.line("git's own commit of it", f"{committed - began:.1f} s", "")
        report.line("the burden, told from end to end", f"{took[0]:.1f} s", "")
        for label, at in (("p50", 0.5), ("max", 1.0)):
            calm, busy = (sorted(each)[max(0, round(len(each) * at) - 1)] for each in (alone, beside))
            report.line(
                f"the quiet tenant's push to Ready, {label} of {len(beside)}",
                f"{busy * 1000:.0f} / {calm * 1000:.0f} ms",
                f"{busy / calm:.1f}×",
            )
        report.line(
            "peak memory, all processes (PSS)", f"{server.peak_pss / 1e6:.0f} MB", f"before: {memory / 1e6:.0f} MB"
        )
        shown = server.get("/v1/tenants/heavy/resources", limit=1)
        assert shown["items"], "nothing is shown of the heavy tenant"
        one = heavy.commit({"agents/first.yaml": manifests.model("first", "after it")})
        began = time.perf_counter()
        server.command("/v1/reconcile", {"tenant": "heavy"})
        _until(lambda: _resource(server, "heavy", "Model/first")["revision"] == one)
        report.line("one more file of the heavy tenant, to Ready", f"{(time.perf_counter() - began) * 1000:.0f} ms", "")


def _burden(address: str, key: str, files: int, stalled: int, took: list[float], done: threading.Event) -> None:
    """Seconds until the heavy tenant's commit is reconciled, asked for once and then looked at from time to time."""
    began = time.perf_counter()
    with httpx.Client(base_url=address, headers={"authorization": f"Bearer {key}"}, timeout=600) as client:
        asked = client.post("/v1/reconcile", json={"tenant": "heavy"}).raise_for_status().json()
        while asked["state"] in ("pending", "running"):
            asked = client.get(f"/v1/commands/{asked['id']}", params={"wait": 30}).raise_for_status().json()
        counts = client.get("/v1/tenants/heavy").raise_for_status().json()["counts"]
    took.append(time.perf_counter() - began)
    done.set()
    if not stalled <= counts["stalled"] + files - counts["ready"]:
        raise SystemExit(f"not what was expected of {files} files: {counts}")


def _push(server: Server, repo: repos.Repo, number: int) -> float:
    revision = repo.commit({"agents/model.yaml": manifests.model("fast", f"push {number}")})
    began = time.perf_counter()
    server.command("/v1/reconcile", {"tenant": "quiet"})
    _until(lambda: _resource(server, "quiet", "Model/fast")["revision"] == revision)
    return time.perf_counter() - began


def _resource(server: Server, tenant: str, name: str) -> dict[str, object]:
    found: dict[str, object] = server.get(f"/v1/tenants/{tenant}/resources/{name}")
    return found


def _ready(server: Server) -> dict[str, bool]:
    items = server.get("/v1/tenants", limit=500)["items"]
    return {each["name"]: each["counts"]["ready"] > 0 for each in items if each["name"] != "platform"}


def _until(holds: Callable[[], bool]) -> None:
    end = time.perf_counter() + 120
    while not holds():
        if time.perf_counter() > end:
            raise SystemExit("it never came")
        time.sleep(0.01)


def _broken(count: int) -> Iterator[tuple[str, str]]:
    agent = f"{manifests.HEAD}kind: Agent\nmetadata: {{name: NAME}}\nspec: {{instructions: Be kind., "
    for number in range(count):
        sort, name = number % 4, f"broken-agent-{number:05}"
        text = agent.replace("NAME", name)
        if sort == 0:
            text += f"model: broken-modell-{number:05}}}\n---\n{manifests.model(f'broken-model-{number:05}')}"
        elif sort == 1:
            text += f"model: first, modle: x, toools: {{}}, limitz: {number}}}\n"
        elif sort == 2:
            after = f"broken-agent-{(number + 4) % count:05}"
            text += f"model: first, tools: {{next: {{agent: {after}}}}}}}\n"
        else:
            text += "model: [\n"
        yield f"agents/{number % 100:02}/{name}.yaml", text


def _models(count: int) -> Iterator[tuple[str, str]]:
    for number in range(count):
        yield f"agents/{number % 200:03}/m{number:05}.yaml", manifests.model(f"m{number:05}", f"number {number}")


def _killers(count: int) -> Iterator[tuple[str, str]]:
    for how in ("crash", "hang"):
        for number in range(count):
            name = f"{how}-{number}"
            text = manifests.model(name)
            yield f"agents/{name}.yaml", text.replace(f"name: {name}", f"name: {name}, labels: {{deadly: {how}}}")
