"""The verbs that need no server, and what the command line says when one is needed and is not there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from agentos_controller import cli
from tests.support import manifests, repos
from tests.support.controller import AGENTOS, agentos, environment

VERBS = (
    "init", "validate", "plan", "graph", "schema", "serve", "get", "describe", "run", "runs", "logs", "approve",
    "reconcile", "history", "rollback", "release", "suspend", "resume", "approve-prune", "accept", "keys", "secret",
)  # fmt: skip


@pytest.fixture
def repo(tmp_path: Path) -> repos.Repo:
    """A good repository, checked out."""
    made = repos.Repo(tmp_path / "repo")
    made.commit(manifests.small())
    made.checkout()
    # What is committed was written past git's own index.
    made.git.index.read_tree(made.git.head.peel().tree.id)
    made.git.index.write()
    return made


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The command in this process, which has imported it already: exit code, standard output, standard error."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["agentos", *arguments])
        patched.setenv("TYPER_USE_RICH", "0")
        with pytest.raises(SystemExit) as ended:
            cli.main()
    shown = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, shown.out, shown.err


def test_help_names_every_verb_and_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--help")
    assert (code, err) == (0, "")
    assert all(re.search(rf"^\W*{verb}\s", out, re.MULTILINE) for verb in VERBS), out
    for verb in VERBS:
        code, out, err = run(capsys, verb, "-h")
        assert (code, err) == (0, ""), verb
        assert f"agentos {verb}" in out
    assert re.fullmatch(r"agentos \d+\.\d+\.\d+\n", agentos("--version").stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("gte",), "No such command"),
        (("get", "all", "--colour"), "No such option"),
        (("get",), "Missing argument"),
        (("get", "all", "-o", "xml"), "xml"),
        (("rollback", "zero"), "valid integer"),
        (("describe", "agents"), "describe takes one resource"),
        (("get", "agnets"), "Did you mean agents?"),
        (("run", "greeter"), "Write it as agent/NAME or workflow/NAME."),
        (("get", "policie"), "Did you mean policies?"),
        (("schema", "agnet"), "there is no kind"),
        (("validate", "/nowhere/at/all"), "is no folder"),
        (("serve",), "no source is given"),
        (("serve", "--source", ".", "--listen", "nowhere"), "listen"),
        (("serve", "--source", ".", "--allow-egress", "everything"), "allow"),
        (("serve", "--source", ".", "--record", "a", "--replay", "b"), "exclude each other"),
    ],
)
def test_wrong_usage_exits_1_and_speaks_on_standard_error(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AGENTOS_STATE_DIR", str(tmp_path))
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert said in err
    assert "Traceback" not in err


def test_validate(repo: repos.Repo) -> None:
    good = agentos("validate", str(repo.folder))
    assert (good.returncode, good.stdout) == (0, "")
    assert good.stderr == "3 manifests in 3 files: all valid\n"
    (repo.folder / "agents" / "greeter.yaml").write_text(manifests.agent("greeter", model="fats"))
    bad = agentos("validate", cwd=repo.folder)
    assert bad.returncode == 1
    assert re.match(r"agents/greeter\.yaml:6:10: error UnknownReference: .*\n    Did you mean `fast`\?\n", bad.stdout)
    shown = agentos("validate", "--output", "json", cwd=repo.folder)
    assert shown.returncode == 1
    (found,) = json.loads(shown.stdout)["diagnostics"]
    assert {key: found[key] for key in ("code", "severity", "path", "line", "column", "hint")} == {
        "code": "UnknownReference", "severity": "error", "path": "agents/greeter.yaml", "line": 6, "column": 10,
        "hint": "Did you mean `fast`?",
    }  # fmt: skip
    assert "fats" in found["message"]
    assert yaml.safe_load(agentos("validate", "-o", "yaml", cwd=repo.folder).stdout) == {"diagnostics": [found]}


def test_drawing_a_working_copy(repo: repos.Repo) -> None:
    drawn = agentos("graph", "workflow/hello", cwd=repo.folder)
    assert (drawn.returncode, drawn.stderr) == (0, "")
    assert drawn.stdout.splitlines()[0] == "flowchart TD"
    assert '[["greet<br/>agent greeter"]]' in drawn.stdout
    told = json.loads(agentos("graph", "agent/greeter", str(repo.folder), "-o", "json").stdout)
    assert (told["form"], [node["type"] for node in told["nodes"]]) == ("agent", ["agent"])
    for what, said in (("workflow/nothing", "has no workflow/nothing"), ("model/fast", "draws one agent or workflow")):
        refused = agentos("graph", what, cwd=repo.folder)
        assert (refused.returncode, said in refused.stderr) == (1, True), refused.stderr


def test_plan_of_a_working_copy(repo: repos.Repo) -> None:
    none = agentos("plan", "--detailed-exitcode", cwd=repo.folder)
    assert (none.returncode, none.stdout) == (0, "No changes.\n")
    path = repo.folder / "agents" / "greeter.yaml"
    path.write_text(manifests.agent("greeter", instructions="Be kinder."))
    some = agentos("plan", cwd=repo.folder)
    assert some.returncode == 0
    assert "~ agent/greeter" in some.stdout
    assert agentos("plan", "--detailed-exitcode", cwd=repo.folder).returncode == 2
    assert "agent/greeter\n" in agentos("plan", "-o", "name", cwd=repo.folder).stdout
    made = json.loads(agentos("plan", "-o", "json", cwd=repo.folder).stdout)
    assert made["summary"]["changed"] >= 1
    path.write_text(manifests.agent("greeter", model="fats"))
    wrong = agentos("plan", "--detailed-exitcode", cwd=repo.folder)
    assert wrong.returncode == 1
    assert "UnknownReference" in wrong.stdout


def test_schema(tmp_path: Path) -> None:
    one = json.loads(agentos("schema", "workflow").stdout)
    assert one["$schema"].startswith("https://json-schema.org/draft/2020-12")
    done = agentos("schema", "--write", str(tmp_path / "schema"))
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads((tmp_path / "schema" / "workflow.json").read_text()) == one


def test_init_makes_a_repository_that_is_valid_and_never_writes_over_a_file(tmp_path: Path) -> None:
    done = agentos("init", "mine", cwd=tmp_path, HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "")
    assert agentos("validate", "mine", cwd=tmp_path).returncode == 0
    subjects = subprocess.run(["git", "-C", tmp_path / "mine", "log", "--format=%s"], capture_output=True, text=True)
    assert len(subjects.stdout.splitlines()) == 1
    again = agentos("init", "mine", cwd=tmp_path, HOME=str(tmp_path))
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_without_a_server_or_a_usable_key_file_it_says_what_to_do(tmp_path: Path) -> None:
    away = {"AGENTOS_SERVER": "http://127.0.0.1:9", "AGENTOS_STATE_DIR": str(tmp_path)}
    none = agentos("get", "all", **away)
    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr == (
        "error: no server answers at http://127.0.0.1:9\n  Start one with `agentos serve`, or set AGENTOS_SERVER.\n"
    )
    (tmp_path / "admin.key").write_text("aos_x\n")
    (tmp_path / "admin.key").chmod(0o644)
    assert "readable by others" in agentos("get", "all", **away).stderr


@pytest.mark.parametrize("arguments", [["--help"], ["get", "all"], ["validate", "."], ["run", "agent/x"]])
def test_what_must_be_quick_imports_no_langgraph(arguments: list[str], repo: repos.Repo) -> None:
    script = (
        "import sys\nfrom agentos_controller import cli\n"
        f"sys.argv = ['agentos', *{arguments!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'langgraph', 'langchain', 'langchain_core', 'dbos', 'fastapi', 'sqlalchemy'} & set(sys.modules)\n"
        "print('HEAVY', *sorted(heavy))\n"
    )
    known = environment(AGENTOS_SERVER="http://127.0.0.1:9", AGENTOS_API_KEY="x")
    done = subprocess.run(
        [sys.executable, "-c", script], env=known, cwd=repo.folder, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "HEAVY", done.stdout + done.stderr


def test_output_to_a_closed_pipe_is_no_traceback() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{AGENTOS} schema | head -c 10"], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
