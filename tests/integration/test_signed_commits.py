"""Repositories with signed commits, as git and its programs make them: what may serve, and why the rest may not."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pysequoia
import pytest

from agentos_controller.source import gate, git, history, signatures
from agentos_engine import errors
from tests.support import signing

SEQUOIA = """#!{python}
# Stands where git calls gpg to sign: the same arguments, the same answer, by another OpenPGP implementation.
import os, sys, pysequoia
secret = pysequoia.Tsk.from_file(os.environ["SECRET_KEY"])
data = sys.stdin.buffer.read()
sys.stdout.buffer.write(pysequoia.sign(secret.signer(), data, mode=pysequoia.SignatureMode.DETACHED))
sys.stderr.write("\\n[GNUPG:] SIG_CREATED D\\n")
"""


class Work:
    """A working copy driven by git itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.home = folder
        self.environment: dict[str, str] = {}
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Test Author")
        self.git("config", "user.email", "author@example.com")

    def git(self, *arguments: str) -> str:
        environment = {**os.environ, "HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1", **self.environment}
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, path: str, text: str, *, sign: bool) -> str:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self.git("add", ".")
        self.git("commit", "-q", "-m", f"Change {path}", *(["-S"] if sign else ["--no-gpg-sign"]))
        return self.git("rev-parse", "HEAD")

    def opened(self, signers: dict[str, dict[str, str]], path: str = ".") -> history.RepositoryHistory:
        repository = git.Repository(self.folder, self.home / "agentos")
        return history.RepositoryHistory(repository, path, signatures.trust({"signers": signers}))


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


VERIFY = gate.Policy(verify=True)


def ssh(work: Work, name: str) -> dict[str, str]:
    """Let git sign with a new SSH key; the signer as a Tenant lists it."""
    assert shutil.which("ssh-keygen"), "git signs with ssh-keygen: install the OpenSSH client"
    key = work.home / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)], check=True)
    work.git("config", "gpg.format", "ssh")
    work.git("config", "user.signingkey", str(key))
    return {"ssh": key.with_suffix(".pub").read_text()}


def openpgp(work: Work) -> dict[str, str]:
    """Let git sign with a new OpenPGP key."""
    secret = pysequoia.Tsk.generate("Ada <ada@example.com>")
    (work.home / "secret.asc").write_text(str(secret))
    program = work.home / "sign"
    program.write_text(SEQUOIA.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    work.environment["SECRET_KEY"] = str(work.home / "secret.asc")
    work.git("config", "gpg.format", "openpgp")
    work.git("config", "gpg.program", str(program))
    work.git("config", "user.signingkey", "ada@example.com")
    return {"openpgp": str(secret.extract_certificate())}


def test_an_unverified_head_stalls_with_the_reason_and_the_last_verified_one_serves(work: Work) -> None:
    real = work.opened({"ada": ssh(work, "ada")})
    first = work.commit("agents/a.yaml", "1", sign=True)
    assert gate.decide(real, VERIFY, first) == gate.Decision(first)
    second = work.commit("agents/a.yaml", "2", sign=False)
    held = gate.decide(real, VERIFY, second, first)
    assert held.revision == first
    assert held.stop == gate.Stop("CommitUnsigned", f"commit {second[:12]} does not serve: it is not signed")
    third = work.commit("agents/b.yaml", "3", sign=True)
    assert gate.decide(real, VERIFY, third, first) == gate.Decision(third)


def test_signed_commits_below_an_unsigned_head_still_go_live(work: Work) -> None:
    real = work.opened({"ada": openpgp(work)})
    first = work.commit("agents/a.yaml", "1", sign=True)
    second = work.commit("agents/a.yaml", "2", sign=True)
    head = work.commit("agents/a.yaml", "3", sign=False)
    found = gate.decide(real, VERIFY, head, first)
    assert found.revision == second
    assert found.stop is not None
    assert found.stop.code == "CommitUnsigned"


def test_a_signature_by_somebody_else_is_told_from_none(work: Work) -> None:
    ada = ssh(work, "ada")
    first = work.commit("agents/a.yaml", "1", sign=True)
    ssh(work, "eve")
    second = work.commit("agents/a.yaml", "2", sign=True)
    found = gate.decide(work.opened({"ada": ada}), VERIFY, second, first)
    assert found.revision == first
    assert found.stop is not None
    assert found.stop.code == "SignerUnknown"


def test_a_signature_moved_to_another_commit_counts_for_nothing(work: Work) -> None:
    real = work.opened({"ada": ssh(work, "ada")})
    first = work.commit("agents/a.yaml", "1", sign=True)
    made = str(real.repository.git[first].gpg_signature[0].decode())  # type: ignore[attr-defined]
    second = work.commit("agents/a.yaml", "evil", sign=False)
    content = real.repository.git[second].read_raw().decode()
    forged = str(real.repository.git.create_commit_with_signature(content, made, "gpgsig"))
    found = gate.decide(real, VERIFY, forged, first)
    assert found.revision == first
    assert found.stop is not None
    assert found.stop.code == "SignatureInvalid"


def test_only_commits_that_touch_guarded_paths_need_a_signature(work: Work) -> None:
    real = work.opened({"ada": ssh(work, "ada")}, "tenants/acme")
    guarded = gate.Policy(verify=True, paths=("policies/", "*.secret.yaml"))
    root = work.commit("README", "unsigned, and outside of the source", sign=False)
    assert gate.decide(real, guarded, root) == gate.Decision(root)
    plain = work.commit("tenants/acme/agents/a.yaml", "1", sign=False)
    assert gate.decide(real, guarded, plain, root) == gate.Decision(plain)
    elsewhere = work.commit("tenants/other/policies/p.yaml", "1", sign=False)
    assert gate.decide(real, guarded, elsewhere, plain) == gate.Decision(elsewhere)
    for path in ("tenants/acme/policies/deep/p.yaml", "tenants/acme/agents/x.secret.yaml"):
        bad = work.commit(path, "1", sign=False)
        found = gate.decide(real, guarded, bad, elsewhere)
        assert found.revision == elsewhere
        assert found.stop is not None
        assert found.stop.code == "CommitUnsigned"
    above = work.commit("tenants/acme/agents/a.yaml", "2", sign=False)
    found = gate.decide(real, guarded, above, elsewhere)
    assert found.revision == elsewhere
    assert found.stop is not None
    assert f"the last commit that changes what must be signed is {bad[:12]}" in found.stop.message
    good = work.commit("tenants/acme/policies/deep/p.yaml", "2", sign=True)
    later = work.commit("tenants/acme/agents/a.yaml", "3", sign=False)
    assert gate.decide(real, guarded, good, elsewhere) == gate.Decision(good)
    assert gate.decide(real, guarded, later, good) == gate.Decision(later)


def test_a_signed_merge_vouches_for_what_it_merges(work: Work) -> None:
    real = work.opened({"ada": ssh(work, "ada")})
    first = work.commit("agents/a.yaml", "1", sign=True)
    work.git("checkout", "-q", "-b", "feature")
    feature = work.commit("agents/b.yaml", "1", sign=False)
    work.git("checkout", "-q", "main")
    work.git("merge", "-q", "--no-ff", "-S", "-m", "Merge", "feature")
    merge = work.git("rev-parse", "HEAD")
    assert gate.decide(real, VERIFY, merge, first) == gate.Decision(merge)
    merged = gate.Policy(merged_into=merge)
    assert gate.decide(real, merged, feature, first).revision == first
    assert gate.decide(real, merged, merge, first) == gate.Decision(merge)


def test_a_force_push_is_followed_or_held_as_the_source_says(work: Work) -> None:
    real = work.opened({})
    first = work.commit("agents/a.yaml", "1", sign=False)
    second = work.commit("agents/a.yaml", "2", sign=False)
    work.git("reset", "-q", "--hard", first)
    other = work.commit("agents/a.yaml", "3", sign=False)
    assert gate.decide(real, gate.Policy(), other, second) == gate.Decision(other, rewritten=True)
    forward = gate.Policy(history="forward")
    for observed in (other, first):
        held = gate.decide(real, forward, observed, second)
        assert held.revision == second
        assert held.stop is not None
        assert held.stop.code == "HistoryRewritten"
    assert gate.decide(real, forward, other, second, accepted=other) == gate.Decision(other, rewritten=True)


def test_mainline_holds_a_merge_in_the_wrong_direction(work: Work) -> None:
    real = work.opened({})
    work.commit("agents/a.yaml", "1", sign=False)
    work.git("checkout", "-q", "-b", "feature")
    work.commit("agents/b.yaml", "1", sign=False)
    work.git("checkout", "-q", "main")
    serving = work.commit("agents/a.yaml", "2", sign=False)
    work.git("checkout", "-q", "feature")
    work.git("merge", "-q", "--no-ff", "-m", "Merge main into feature, to be pushed as main", "main")
    foxtrot = work.git("rev-parse", "HEAD")
    assert gate.decide(real, gate.Policy(history="forward"), foxtrot, serving) == gate.Decision(foxtrot)
    held = gate.decide(real, gate.Policy(history="mainline"), foxtrot, serving)
    assert held.revision == serving
    assert held.stop is not None
    assert held.stop.code == "HistoryRewritten"
    assert "line of first parents" in held.stop.message


def test_a_commit_of_many_megabytes_is_not_read(work: Work) -> None:
    real = work.opened({"ada": {"ssh": signing.data("ssh-ed25519.pub").decode()}})
    (work.folder / "message").write_text("x" * 2_000_000)
    (work.folder / "a").write_text("1")
    work.git("add", "a")
    work.git("commit", "-q", "-F", "message")
    found = real.verdict(work.git("rev-parse", "HEAD"))
    assert isinstance(found, signatures.Refused)
    assert found.code == "SignatureInvalid"
    assert "bytes" in found.message


def test_a_shallow_history_ends_as_one_with_a_root(work: Work, tmp_path: Path) -> None:
    ada = ssh(work, "ada")
    work.commit("agents/a.yaml", "1", sign=True)
    head = work.commit("README", "2", sign=False)
    work.git("clone", "-q", "--depth", "1", f"file://{work.folder}", str(tmp_path / "shallow"))
    repository = git.Repository(tmp_path / "shallow", tmp_path / "agentos")
    real = history.RepositoryHistory(repository, "agents", signatures.trust({"signers": {"ada": ada}}))
    held = gate.decide(real, VERIFY, head)  # whether the commit below touched something cannot be known
    assert held.revision is None
    assert held.stop is not None
    assert held.stop.code == "CommitUnsigned"
    assert gate.decide(work.opened({"ada": ada}, "agents"), VERIFY, head) == gate.Decision(head)


def test_a_repository_of_sha256_objects_is_refused_clearly(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--object-format=sha256", str(tmp_path / "repo")], check=True)
    with pytest.raises(errors.Stall, match="sha256") as stalled:
        git.Repository(tmp_path / "repo", tmp_path / "agentos")
    assert stalled.value.code == "SourceInvalid"
