"""Every verb once against a real controller: data on standard output, the rest on standard error, exit codes."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from tests.support import manifests, repos
from tests.support.controller import AGENTOS, Controller, agentos, serving
from tests.support.manifests import HEAD

pytestmark = pytest.mark.xdist_group("cli")
"""One controller serves all of these."""

ASKING = f"""{HEAD}kind: Workflow
metadata: {{name: asking, labels: {{team: growth}}}}
spec:
  input: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}
  steps:
    consent: {{approve: {{by: role/lead, show: "${{input.n}}", edit: {{type: integer}}}}}}
  output: {{n: "${{steps.consent.output.value}}"}}
"""
SCHEDULE = f"""{HEAD}kind: Schedule
metadata: {{name: yearly}}
spec: {{cron: "0 0 1 1 *", timezone: UTC, run: {{workflow: hello, with: {{who: Bo}}}}}}
"""
ONLY = manifests.agent("only")
LONELY = manifests.agent("lonely", model="nobody")


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> repos.Repo:
    made = repos.Repo(tmp_path_factory.mktemp("cli") / "repo")
    role = f"{HEAD}kind: Role\nmetadata: {{name: lead}}\nspec: {{description: Decides.}}\n"
    more = {"workflows/asking.yaml": ASKING, "agents/role.yaml": role, "workflows/yearly.yaml": SCHEDULE}
    made.commit({**manifests.small(), **more, "agents/lonely.yaml": LONELY})
    made.checkout()
    return made


@pytest.fixture(scope="module")
def served(repo: repos.Repo) -> Iterator[Controller]:
    with serving(repo.folder, repo.folder.parent / "state") as controller:
        assert controller.agentos("reconcile").stdout == "reconciled\n"
        yield controller


def good(served: Controller, *arguments: str, **more: Any) -> str:
    """Standard output of a command that has to succeed."""
    done = served.agentos(*arguments, **more)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    assert "\x1b" not in done.stdout + done.stderr, "colour where nobody reads it"
    return done.stdout


def bad(served: Controller, *arguments: str, **more: Any) -> str:
    """Standard error of a command that has to fail."""
    done = served.agentos(*arguments, **more)
    assert done.returncode == 1, f"{arguments}: {done.stdout}{done.stderr}"
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_looking(served: Controller, repo: repos.Repo) -> None:
    table = good(served, "get", "all").splitlines()
    assert table[0].split() == ["NAME", "READY", "REASON", "DIGEST", "REVISION", "AGE"]
    names = [line.split()[0] for line in table[1:]]
    assert names == good(served, "get", "all", "-o", "name").split()
    assert names == sorted(names)
    assert {"agent/greeter", "workflow/hello", "role/lead", "schedule/yearly"} < set(names)
    (wide,) = good(served, "get", "agents", "greeter", "-o", "wide").splitlines()[1:]
    assert "agents/greeter.yaml:1" in wide
    listed = json.loads(good(served, "get", "workflows", "-l", "team=growth", "-o", "json"))["items"]
    assert [one["name"] for one in listed] == ["asking"]
    assert yaml.safe_load(good(served, "get", "workflows", "-l", "team=growth", "-o", "yaml"))["items"] == listed
    one = json.loads(good(served, "get", "workflow/hello", "-o", "json"))
    assert (one["kind"], one["ready"], one["revision"]) == ("Workflow", True, repo.head)
    broken = good(served, "get", "all", "--condition", "Ready=False")
    assert re.search(r"agent/lonely +False +UnknownReference", broken)
    for what, said in {
        "tenants": r"default +False",
        "sources": rf"True|False.*{repo.head[:12]}",
        "diagnostics": r"agents/lonely\.yaml:6:10 +UnknownReference",
        "events": r"agents/lonely\.yaml",
        "schedules": r"yearly +0 0 1 1 \*",
    }.items():
        assert re.search(said, good(served, "get", what)), what
    told = good(served, "describe", "agent/lonely")
    for said in ("Conditions", "Resolved", "UnknownReference", "agents/lonely.yaml:6:10", "Events"):
        assert said in told
    described = json.loads(good(served, "describe", "agent", "greeter", "-o", "json"))
    assert {one["name"] for one in described["dependents"]} == {"hello", "yearly"}
    source = good(served, "describe", "source/main")
    for said in (rf"URL: +{repo.folder}", rf"Revision: +{repo.head}", r"Conditions", rf"{repo.head[:12]} +1 "):
        assert re.search(said, source), said
    tenant = good(served, "describe", "tenant/default")
    for said in (r"Ready: +False \(ResourcesNotReady\)", "Message: .*agent/lonely", r"Sources: +source/main", "Events"):
        assert re.search(said, tenant, re.IGNORECASE), said
    assert "NotFound" in bad(served, "describe", "tenant/nobody")
    assert "no source nope" in bad(served, "describe", "source/nope")
    assert good(served, "graph", "workflow/hello", "--live") == good(
        served, "graph", "workflow/hello", str(repo.folder)
    )


def test_waiting(served: Controller, repo: repos.Repo) -> None:
    three = ("agent/greeter", "model/fast", "tenant/default")
    assert good(served, "wait", *three, "--for", "generation=1").splitlines() == [
        f"{one} generation=1" for one in three
    ]
    assert good(served, "wait", "source/main", "--for", f"revision={repo.head[:8]}")
    assert good(served, "wait", "agent/greeter", "--for", "condition=stalled=False")
    assert good(served, "wait", "agent/nobody", "--for", "deleted")
    late = served.agentos("wait", "agent/lonely", "agent/greeter", "agent/nobody", "--timeout", "500ms")
    assert late.returncode == 1
    blocked = late.stderr.splitlines()
    assert blocked[0] == "error: not ready after 500ms"
    assert blocked[1].startswith(
        "  agent/lonely: UnknownReference: agents/lonely.yaml:6:10: there is no Model 'nobody'"
    )
    assert blocked[2:4] == ["  agent/nobody: there is no such thing", "  `agentos describe` shows all of it."]
    for wrong, said in (
        (("nothing",), "nothing is called 'nothing'"),
        (("agent/greeter", "--for", "happy"), "is not understood"),
        (("agent/greeter", "--timeout", "soon"), "is not a duration"),
    ):
        refused = served.agentos("wait", *wrong)
        assert (refused.returncode, said in refused.stderr) == (1, True), refused.stderr


def test_running(served: Controller) -> None:
    done = served.agentos("run", "workflow/hello", "who=Bo")
    assert json.loads(done.stdout) == {"text": "Hi hello"}
    run = re.match(r"run/(\S+) succeeded \(done\), generation 1\n", done.stderr)
    assert run is not None, done.stderr
    followed = served.agentos("run", "workflow/hello", "-i", '{"who": "Bo"}', "--follow")
    assert json.loads(followed.stdout) == {"text": "Hi hello"}
    assert "run.succeeded" in followed.stderr
    piped = good(served, "run", "workflow/hello", "--input", "-", "-o", "yaml", given='{"who": "Bo"}')
    assert yaml.safe_load(piped)["state"] == "succeeded"
    queued = good(served, "run", "workflow/hello", "who=Bo", "--no-wait").strip()
    assert "run.succeeded" in good(served, "logs", "--follow", queued)
    shown = good(served, "runs", "show", queued)
    assert "State:       succeeded" in shown
    assert "greet" in shown
    listed = good(served, "runs", "--of", "workflow/hello", "--state", "succeeded", "-o", "name").split()
    assert len(listed) == 4
    assert run[1] in listed
    assert json.loads(good(served, "logs", run[1], "-o", "json").splitlines()[-1])["type"] == "run.succeeded"
    assert "who" in bad(served, "run", "workflow/hello")
    assert "UnknownReference" in (said := bad(served, "run", "agent/lonely", "who=Bo")) or "lonely" in said
    assert "is not key=value" in bad(served, "run", "workflow/hello", "who")
    assert "is not JSON" in bad(served, "run", "workflow/hello", "-i", "{")
    assert "NotFound" in bad(served, "runs", "show", "01999999-9999-7999-8999-999999999999")


def test_deciding(served: Controller) -> None:
    assert good(served, "approve") == ""
    waits = good(served, "run", "workflow/asking", "n:=3").strip()
    (line,) = good(served, "approve").splitlines()[1:]
    assert waits.removeprefix("run/") in line
    assert "role/lead" in line
    stranger = good(served, "keys", "create", "stranger", "--permission", "run").strip()
    assert "lead" in bad(served, "approve", waits, AGENTOS_API_KEY=stranger)
    ada = good(served, "keys", "create", "ada", "-p", "run", "--role", "lead").strip()
    assert "is not JSON" in bad(served, "approve", waits, "--value", "{", AGENTOS_API_KEY=ada)
    decided = good(served, "approve", waits, "--value", "4", "--comment", "less", AGENTOS_API_KEY=ada)
    assert re.fullmatch(r"approval/\S+ approved\n", decided)
    good(served, "logs", "-f", waits)
    assert json.loads(good(served, "runs", "show", waits, "-o", "json"))["output"] == {"n": 4}
    rejected = good(served, "run", "workflow/asking", "n:=3").strip()
    assert "rejected" in good(served, "approve", rejected, "--reject", AGENTOS_API_KEY=ada)
    good(served, "logs", "-f", rejected)
    assert json.loads(good(served, "runs", "show", rejected, "-o", "json"))["error"]["class"] == "Rejected"
    cancelled = good(served, "run", "workflow/asking", "n:=3").strip()
    assert good(served, "runs", "cancel", cancelled) == f"{cancelled} cancelled\n"
    assert "Conflict" in bad(served, "runs", "cancel", cancelled)


def test_keys_and_secrets(served: Controller) -> None:
    made = json.loads(good(served, "keys", "create", "ci", "--expires", "30d", "-o", "json"))
    assert (made["name"], made["permissions"]) == ("ci", ["read"])
    reader = {"AGENTOS_API_KEY": made["key"]}
    assert good(served, "get", "agent/greeter", **reader)
    assert "Forbidden" in bad(served, "reconcile", **reader)
    listing = good(served, "keys", "list")
    assert made["id"] in listing
    assert made["key"] not in listing
    assert good(served, "keys", "revoke", made["id"]) == f"key/{made['id']} revoked\n"
    assert "AGENTOS_API_KEY" in bad(served, "get", "all", **reader)
    assert "nonsense" in bad(served, "keys", "create", "x", "--expires", "nonsense")
    assert good(served, "secret", "set", "token", given="s3cret-value\n") == "secret/token set\n"
    assert good(served, "secret", "list", "-o", "name") == "token\n"
    assert "s3cret" not in good(served, "secret", "list", "-o", "json")
    assert "the value is empty" in bad(served, "secret", "set", "token", given="")
    hosts = ("--host", "api.example.com", "--host", "*.example.org")
    assert good(served, "secret", "set", "token", *hosts, given="") == "secret/token set\n"
    assert "*.example.org, api.example.com" in good(served, "secret", "list")
    assert "secrets wrapped with it: 1" in good(served, "secret", "rotate")
    assert good(served, "secret", "rm", "token") == "secret/token removed\n"
    assert "NotFound" in bad(served, "secret", "rm", "token")


def test_the_trail_is_listed_and_verified(served: Controller) -> None:
    good(served, "secret", "set", "trailing", given="s3cret-value\n")
    trail = json.loads(good(served, "audit", "list", "--limit", "1", "-o", "json"))
    assert "secret.set" in str(trail)
    assert good(served, "audit", "verify", "-t", "default", "-o", "name") == "default\n"
    assert "(platform)" in good(served, "audit", "verify")
    assert "NotFound" in bad(served, "audit", "verify", "-t", "nobody")


def test_what_is_not_there(served: Controller, tmp_path: Path) -> None:
    assert "there is no tenant nobody (NotFound)" in bad(served, "get", "all", "--tenant", "nobody")
    assert "NotFound" in bad(served, "describe", "agent/nobody")
    assert "AGENTOS_API_KEY" in bad(served, "get", "all", AGENTOS_API_KEY="wrong")
    nowhere = agentos("get", "all", AGENTOS_SERVER=served.url, AGENTOS_STATE_DIR=str(tmp_path))
    assert nowhere.returncode == 1
    assert "AGENTOS_API_KEY" in nowhere.stderr


def test_a_second_controller_on_the_same_file_is_refused(served: Controller) -> None:
    second = agentos(*served.command()[1:], AGENTOS_BOOTSTRAP_KEY=served.key or "")
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr.startswith("error: ")
    assert "agentos.db" in second.stderr
    assert "Traceback" not in second.stderr
    taken = agentos(*served.command(served.url.removeprefix("http://"))[1:], AGENTOS_STATE_DIR="/nowhere")
    assert taken.returncode == 1
    assert "--listen" in taken.stderr


def test_moving_between_generations(served: Controller, repo: repos.Repo) -> None:
    files = {path: content.decode() for path, content in repo.files.items()}
    path = "agents/greeter.yaml"
    (repo.folder / path).write_text(files[path].replace("Be kind.", "Be kinder."))
    live = served.agentos("plan", str(repo.folder), "--live", "--detailed-exitcode", "-o", "name")
    assert (live.returncode, live.stderr) == (2, "")
    assert live.stdout.split() == ["agent/greeter", "schedule/yearly", "workflow/hello"]
    (repo.folder / path).write_text(manifests.agent("greeter", model="fats"))
    wrong = served.agentos("plan", str(repo.folder), "--live", "--detailed-exitcode")
    assert wrong.returncode == 1
    assert "agents/greeter.yaml:6:10: error UnknownReference" in wrong.stdout
    # On a branch that nothing follows: the controller may look at the source at any moment.
    repo.commit({path: files[path].replace("Be kind.", "Be kinder."), "agents/lonely.yaml": None}, branch="next")
    planned = served.agentos("plan", str(repo.folder), "--revision", "next", "--detailed-exitcode")
    assert (planned.returncode, planned.stderr) == (2, ""), planned.stdout
    assert "~ agent/greeter" in planned.stdout
    repo.commit()
    good(served, "reconcile", "--tenant", "default")
    none = served.agentos("plan", str(repo.folder), "--revision", repo.head, "--detailed-exitcode")
    assert (none.returncode, none.stdout) == (0, "No changes.\n")
    rows = [line.split()[:2] for line in good(served, "history").splitlines()[1:]]
    assert rows == [["2", "applied"], ["1", "superseded"]]
    assert "generation 1 again" in good(served, "rollback", "1", "--reason", "It was better")
    (tenant,) = json.loads(good(served, "get", "tenants", "-o", "json"))["items"]
    assert tenant["hold"]["reason"] == "It was better"
    good(served, "reconcile")
    assert json.loads(good(served, "history", "-o", "json"))["items"][0]["generation"] == 3
    assert "Conflict" in bad(served, "rollback", "3")
    assert "NotFound" in bad(served, "rollback", "99")
    assert "follows its sources again" in good(served, "release")
    (tenant,) = json.loads(good(served, "get", "tenants", "-o", "json"))["items"]
    assert (tenant["hold"], tenant["activeGeneration"]) == (None, 4)
    assert "Conflict" in bad(served, "release")


def test_holding_still(served: Controller, repo: repos.Repo) -> None:
    repo.commit({"agents/spare.yaml": manifests.model("spare")})
    good(served, "reconcile")
    assert "agent/greeter is suspended for 2h" in good(
        served, "suspend", "agent/greeter", "--reason", "trial", "--for", "2h"
    )
    described = good(served, "describe", "agent/greeter")
    assert re.search(r"Suspended: +by key:\S+ until \S+Z: trial", described)
    assert re.search(r"agent/greeter +True +Suspended", good(served, "get", "agents"))
    assert re.match(r"agent/greeter goes on; generation \d+\n", good(served, "resume", "agent", "greeter"))
    assert "Conflict" in bad(served, "resume", "agent/greeter")
    good(served, "suspend", "source", "main", "--reason", "freeze")
    assert re.search(r"by key:\S+: freeze", good(served, "get", "sources"))
    assert "goes on" in good(served, "resume", "source/main")
    good(served, "suspend", "tenant", "--reason", "audit")
    assert re.search(r"by key:\S+: audit", good(served, "get", "tenants"))
    good(served, "resume", "tenant/default")
    assert "no source nope" in bad(served, "suspend", "source/nope", "--reason", "x")
    assert "which source?" in bad(served, "resume", "source")
    assert "has passed" in bad(served, "suspend", "tenant", "--reason", "x", "--until", "2020-01-01T00:00:00Z")
    held = served.agentos("rollback", "1", "--for", "30m")
    assert held.stderr == "New commits are looked at but not applied for 30m.\n"
    good(served, "release")
    done = good(served, "accept", "main", repo.head, "--reason", "meant")
    assert done == f"source/main of tenant/default takes {repo.head[:12]}\n"


def test_a_removal_is_shown_with_its_runs_and_approved(served: Controller, repo: repos.Repo) -> None:
    files = {f"agents/extra{number}.yaml": manifests.agent(f"extra{number}") for number in range(20)}
    asking = "workflows/asking.yaml"
    repo.commit(files)
    good(served, "reconcile")
    good(served, "run", "workflow/asking", "-i", '{"n": 1}', "--no-wait")
    assert "asks about no removal" in bad(served, "approve-prune")
    repo.commit({**dict.fromkeys(files), asking: None})
    good(served, "reconcile")
    (tenant,) = json.loads(good(served, "get", "tenants", "-o", "json"))["items"]
    assert tenant["prune"]["count"] == 21
    assert "another removal" in bad(served, "approve-prune", "--digest", "sha256:" + "0" * 64)
    told = served.agentos("approve-prune", given="n\n")
    assert told.returncode == 1
    assert re.match(r"21 of \d+ resources would be removed:\n", told.stdout)
    assert "and 1 more" in told.stdout
    assert "nothing was approved" in told.stderr
    assert "workflow/asking" in good(served, "get", "workflows")
    done = good(served, "approve-prune", "--digest", tenant["prune"]["digest"], "--yes")
    assert re.search(r"21 resources approved; generation \d+ serves", done)
    assert "workflow/asking" not in good(served, "get", "workflows", "-o", "name")
    orphan = ONLY.replace("metadata: {", "metadata: {annotations: {agentos/deletion: orphan}, ")
    repo.commit({"agents/only.yaml": orphan})
    good(served, "reconcile")
    repo.commit({"agents/only.yaml": None})
    good(served, "reconcile")
    assert re.search(r"agent/only +True +Orphaned", good(served, "get", "agents"))
    assert "1 resources approved" in good(served, "approve-prune", "--orphans", "--yes")
    assert "agent/only" not in good(served, "get", "agents", "-o", "name")


def test_a_run_in_flight_keeps_what_drains(served: Controller, repo: repos.Repo) -> None:
    drains = ASKING.replace("metadata: {", "metadata: {annotations: {agentos/deletion: drain}, ").replace(
        "asking", "slow"
    )
    repo.commit({"workflows/slow.yaml": drains})
    good(served, "reconcile")
    run = good(served, "run", "workflow/slow", "-i", '{"n": 1}', "--no-wait").strip()
    repo.commit({"workflows/slow.yaml": None})
    good(served, "reconcile")
    assert re.search(r"workflow/slow +False +Draining", good(served, "get", "workflows"))
    described = good(served, "describe", "workflow/slow")
    assert "Drains until:" in described
    assert "Runs in flight" in described
    assert run.removeprefix("run/") in described
    assert "Conflict" in bad(served, "run", "workflow/slow", "-i", '{"n": 2}')
    good(served, "runs", "cancel", run)
    good(served, "reconcile")


def test_watching(served: Controller, repo: repos.Repo) -> None:
    with following(served, "get", "models", "--watch") as lines, following(served, "get", "sources", "-w") as sources:
        assert lines.readline().split() == ["NAME", "READY", "REASON", "DIGEST", "REVISION", "AGE"]
        assert [lines.readline().split()[:2] for _ in range(2)] == [["model/fast", "True"], ["model/spare", "True"]]
        assert [sources.readline().split()[0] for _ in range(2)] == ["NAME", "main"]
        repo.commit({"agents/other.yaml": manifests.agent("other"), "agents/watched.yaml": manifests.model("watched")})
        good(served, "reconcile")
        assert lines.readline().split()[:2] == ["model/watched", "True"]
        assert repo.head[:12] in sources.readline()
        repo.commit({"agents/other.yaml": None, "agents/watched.yaml": None})
        good(served, "reconcile")
        assert lines.readline().split() == ["model/watched", "removed"]
    with following(served, "get", "agents", "greeter", "-w", "-o", "json") as lines:
        assert json.loads(lines.readline())["name"] == "greeter"


def test_watching_goes_on_over_a_restart(tmp_path: Path) -> None:
    repo = repos.Repo(tmp_path / "repo", bare=True)
    repo.commit(manifests.small())
    with serving(repo.folder, tmp_path / "state") as alone:
        good(alone, "wait", "model/fast")
        with following(alone, "get", "models", "-w", "-o", "name") as lines:
            assert lines.readline() == "model/fast\n"
            alone.stop()
            repo.commit({"agents/new.yaml": manifests.model("new")})
            alone.listen = alone.url.removeprefix("http://")
            alone.start()
            assert lines.readline() == "model/new\n"


@contextlib.contextmanager
def following(served: Controller, *arguments: str) -> Iterator[IO[str]]:
    """What a command prints that goes on, until it is interrupted."""
    process = subprocess.Popen([AGENTOS, *arguments], env=served.asking(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_completing(served: Controller) -> None:
    def offered(line: str, shell: str = "bash") -> list[str]:
        words = line.split(" ")
        asked = {"_AGENTOS_COMPLETE": f"complete_{shell}", "COMP_WORDS": "\n".join(words)}
        asked |= {"COMP_CWORD": str(len(words) - 1)}
        done = subprocess.run(
            [AGENTOS], env=served.asking() | asked, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.stderr == ""
        return done.stdout.split()

    assert offered("agentos desc") == ["describe"]
    assert {"--watch", "--limit"} < set(offered("agentos get all --"))
    assert offered("agentos get wor") == ["workflows"]
    assert offered("agentos get agents gr") == ["greeter"]
    assert offered("agentos describe workflow/h") == ["workflow/hello"]
    assert offered("agentos describe source/") == ["source/main"]
    assert offered("agentos run ag") == ["agent/"]
    assert offered("agentos get all -t def") == ["default"]
    assert offered("agentos accept m") == ["main"]
