"""Remote repositories over real transports: what a look costs, what it follows, and what it says when it fails."""

from __future__ import annotations

import http.server
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pygit2
import pytest

from agentos_controller.source import address, fetch
from agentos_engine import errors
from tests.support import git_servers, repos


@pytest.fixture
def repo(tmp_path: Path) -> repos.Repo:
    return repos.Repo(tmp_path / "served/repo.git", bare=True)


@pytest.fixture
def web(repo: repos.Repo) -> Iterator[git_servers.HttpServer]:
    with git_servers.serving_http(repo.folder.parent) as server:
        yield server


@pytest.fixture
def shell(repo: repos.Repo) -> Iterator[git_servers.SshServer]:
    with git_servers.serving_ssh(repo.folder.parent) as server:
        yield server


def over_https(web: git_servers.HttpServer, ref: str | None = "main", **more: Any) -> address.Address:
    where = address.parse(f"{web.url}/repo.git", ref)
    return replace(where, access=address.Access(ca=web.ca, auth=more.pop("auth", None)), **more)


def over_ssh(shell: git_servers.SshServer, known_hosts: str | None = None) -> address.Address:
    where = address.parse(f"{shell.url}/repo.git", "main")
    return replace(where, access=address.Access("key", known_hosts or shell.known_hosts))


@pytest.fixture
def mirrors(tmp_path: Path) -> fetch.Mirrors:
    return fetch.Mirrors(tmp_path / "mirrors")


async def test_nothing_is_fetched_where_nothing_moved(
    web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors
) -> None:
    first = repo.commit({"agents/a.yaml": "a"})
    where = over_https(web)
    await mirrors.look([where])
    mirror = mirrors.open(where)
    assert mirror.resolve("main") == first
    asked = web.asked.copy()
    for _ in range(3):
        await mirrors.look([where])
    assert web.asked["git-upload-pack"] - asked["git-upload-pack"] == 3  # the refs, in protocol 2
    assert (mirrors.counters.looks, mirrors.counters.fetches) == (4, 1)
    repo.commit({"agents/a.yaml": "other"}, branch="elsewhere")
    await mirrors.look([where])
    assert mirrors.counters.fetches == 1
    second = repo.commit({"agents/a.yaml": "b"})
    await mirrors.look([where])
    assert (mirror.resolve("main"), mirrors.counters.fetches) == (second, 2)
    assert mirror.snapshot(second).find("agents/a.yaml") is not None


async def test_one_fetch_brings_what_all_follow(
    web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors
) -> None:
    main = repo.commit({"a": "1"})
    side = repo.commit({"a": "2"}, branch="side")
    for name, commit in (("v1.0.0", main), ("v1.2.0", side), ("v2.0.0", main)):
        repo.git.references.create(f"refs/tags/{name}", commit)
    wanted = [over_https(web), over_https(web, "side"), over_https(web, None), over_https(web, None, semver="^1")]
    wanted += [over_https(web, "v2.0.0"), over_https(web, "refs/tags/v1.0.0", branch="side"), over_https(web, main)]
    await mirrors.look(wanted)
    assert mirrors.counters.fetches == 1
    mirror = mirrors.open(wanted[0])
    assert [mirror.resolve(one.ref, one.semver) for one in wanted] == [main, side, main, side, main, main, main]
    repo.git.references.delete("refs/tags/v1.2.0")
    await mirrors.look(wanted)
    assert mirror.resolve(None, "^1") == main


async def test_an_annotated_tag_is_the_commit_it_names(
    web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors
) -> None:
    commit = repo.commit({"a": "1"})
    who = pygit2.Signature("Test", "test@example.com", 1, 0)
    repo.git.create_tag("v1.0.0", commit, pygit2.enums.ObjectType.COMMIT, who, "first")
    where = over_https(web, None, semver="*")
    await mirrors.look([where])
    assert mirrors.open(where).resolve(None, "*") == commit


async def test_a_deploy_key_and_a_pinned_host_key_open_an_ssh_server(
    shell: git_servers.SshServer, repo: repos.Repo, mirrors: fetch.Mirrors
) -> None:
    commit = repo.commit({"agents/a.yaml": "a"})
    where = over_ssh(shell)
    dialled: list[tuple[str, int]] = []

    async def dial(host: str, port: int) -> str:
        dialled.append((host, port))
        return "127.0.0.1"

    async def secret(name: str) -> str:
        assert name == "key"
        return shell.key

    guarded = fetch.Mirrors(mirrors.root, dial=dial)
    await guarded.look([where], secret=secret)
    assert guarded.open(where).resolve("main") == commit
    assert dialled == [("127.0.0.1", int(shell.url.rpartition(":")[2]))]
    assert list((mirrors.root / "reach").iterdir()) == []  # the key is gone
    assert shell.key.splitlines()[1] not in "".join(
        file.read_text(errors="replace") for file in mirrors.root.rglob("*") if file.is_file()
    )


async def test_a_token_is_sent_and_never_kept(
    web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors
) -> None:
    repo.commit({"a": "1"})
    web.token = "s3cret-token"
    where = over_https(web, auth="git")

    async def secret(name: str) -> str:
        return "s3cret-token"

    with pytest.raises(errors.Retry) as refused:
        await mirrors.look([over_https(web)])
    assert refused.value.code == "SourceUnauthorized"
    await mirrors.look([where], secret=secret)
    assert mirrors.open(where).resolve("main") == repo.head
    kept = b"".join(file.read_bytes() for file in mirrors.root.rglob("*") if file.is_file())
    assert b"s3cret" not in kept


async def test_credentials_make_a_mirror_of_their_own(
    web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors
) -> None:
    repo.commit({"a": "1"})
    assert mirrors.folder(over_https(web)) != mirrors.folder(over_https(web, auth="git"))
    assert mirrors.folder(over_https(web)) == mirrors.folder(over_https(web, "v1"))
    await mirrors.look([over_https(web)])
    mirrors.keep([over_https(web, auth="git")])
    assert not mirrors.folder(over_https(web)).exists()


# What goes wrong


async def failing(mirrors: fetch.Mirrors, where: address.Address, **more: Any) -> errors.Handled:
    with pytest.raises(errors.Handled) as raised:
        await mirrors.look([where], **more)
    return raised.value


def redirecting(to: str) -> git_servers.Misbehaviour:
    def redirect(handler: http.server.BaseHTTPRequestHandler) -> bool:
        handler.send_response(301)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return redirect


def cutting(after: int) -> git_servers.Misbehaviour:
    """Announces more than it sends of every pack."""

    def cut(handler: http.server.BaseHTTPRequestHandler) -> bool:
        if "info/refs" in handler.path:
            return False
        handler.send_response(200)
        handler.send_header("Content-Type", "application/x-git-upload-pack-result")
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(b"0" * after)
        return True

    return cut


@pytest.mark.parametrize("to", ["http://169.254.169.254/latest", "https://elsewhere.example/repo.git", "file:///etc"])
async def test_a_redirect_is_not_followed(
    web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors, to: str
) -> None:
    repo.commit({"a": "1"})
    web.misbehave = redirecting(to)
    found = await failing(mirrors, over_https(web))
    assert (found.code, type(found)) == ("SourceMoved", errors.Stall)


async def test_a_certificate_nobody_vouches_for(
    web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors
) -> None:
    repo.commit({"a": "1"})
    found = await failing(mirrors, replace(over_https(web), access=None))
    assert (found.code, web.asked) == ("SourceUntrustedHost", {})


async def test_another_host_key(
    shell: git_servers.SshServer, repo: repos.Repo, mirrors: fetch.Mirrors, tmp_path: Path
) -> None:
    repo.commit({"a": "1"})
    with git_servers.serving_ssh(tmp_path) as other:
        line = f"{shell.known_hosts.split()[0]} {other.known_hosts.split(' ', 1)[1]}"

    async def secret(name: str) -> str:
        return shell.key

    for known in (line, "elsewhere.example ssh-ed25519 AAAA"):
        found = await failing(mirrors, over_ssh(shell, known), secret=secret)
        assert (found.code, shell.asked) == ("SourceUntrustedHost", {})


async def test_another_key(shell: git_servers.SshServer, mirrors: fetch.Mirrors, tmp_path: Path) -> None:
    with git_servers.serving_ssh(tmp_path) as other:

        async def secret(name: str) -> str:
            return other.key

        found = await failing(mirrors, over_ssh(shell), secret=secret)
    assert (found.code, type(found)) == ("SourceUnauthorized", errors.Retry)


async def test_an_answer_that_breaks_off_leaves_the_mirror_as_it_was(
    web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors
) -> None:
    first = repo.commit({"a": "1"})
    where = over_https(web)
    await mirrors.look([where])
    repo.commit({"a": "2"})
    for after in (0, 8, 4_000):
        web.misbehave = cutting(after)
        found = await failing(mirrors, where)
        assert isinstance(found, errors.Retry)
        assert mirrors.open(where).resolve("main") == first
    web.misbehave = None
    await mirrors.look([where])
    assert mirrors.open(where).resolve("main") == repo.head


async def test_a_remote_that_is_not_there(tmp_path: Path, mirrors: fetch.Mirrors) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    found = await failing(mirrors, address.parse(f"https://127.0.0.1:{port}/x"))
    assert (found.code, type(found)) == ("SourceUnavailable", errors.Retry)


async def test_a_remote_that_hangs_is_given_up(mirrors: fetch.Mirrors) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = address.parse(f"https://127.0.0.1:{silent.getsockname()[1]}/x")
        found = await failing(mirrors, where, limits=fetch.Limits(timeout=0.5))
    assert "took over 0.5 s" in found.message


async def test_a_repository_without_commits(
    web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors
) -> None:
    where = over_https(web, None)
    await mirrors.look([where])
    with pytest.raises(errors.Stall) as empty:
        mirrors.open(where).resolve(None)
    assert empty.value.code == "SourceEmpty"


async def test_a_branch_that_is_gone_is_gone_here_and_its_commits_stay(
    web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors
) -> None:
    first = repo.commit({"a": "1"})
    where = over_https(web)
    await mirrors.look([where])
    repo.git.references.delete("refs/heads/main")
    await mirrors.look([where])
    mirror = mirrors.open(where)
    with pytest.raises(errors.Stall) as gone:
        mirror.resolve("main")
    assert gone.value.code == "SourceRefGone"
    assert mirror.snapshot(first).find("a") is not None


async def test_a_shallow_remote(web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors) -> None:
    first = repo.commit({"a": "1"})
    repo.commit({"a": "2"})
    (repo.folder / "shallow").write_text(repo.head + "\n")
    for name in (first[:2] + "/" + first[2:],):
        (repo.folder / "objects" / name).unlink()
    found = await failing(mirrors, over_https(web))
    assert found.code == "SourceShallow"


async def test_a_corrupt_object(web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors) -> None:
    repo.commit({"a": "1" * 1000})
    blob = str(repo.git.head.peel(pygit2.Commit).tree["a"].id)
    file = repo.folder / "objects" / blob[:2] / blob[2:]
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-5] + b"xxxxx")
    found = await failing(mirrors, over_https(web))
    assert found.code in ("SourceCorrupt", "SourceUnavailable")
    assert isinstance(found, errors.Retry)


@pytest.mark.parametrize("limits", [fetch.Limits(objects=2), fetch.Limits(size=20_000)])
async def test_more_than_allowed_is_not_let_in(
    web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors, limits: fetch.Limits
) -> None:
    import random

    repo.commit({"a": random.Random(1).randbytes(100_000)})
    where = over_https(web)
    found = await failing(mirrors, where, limits=limits)
    assert (found.code, type(found)) == ("SourceTooLarge", errors.Stall)
    assert not mirrors.open(where).has(repo.head)
    assert list(mirrors.folder(where).glob("arriving-*")) == []
    await mirrors.look([where])
    assert mirrors.open(where).resolve("main") == repo.head


async def test_a_mirror_of_many_packs_is_packed_anew_and_loses_nothing(
    web: git_servers.HttpServer, repo: repos.Repo, mirrors: fetch.Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_PACKS", 3)
    where = over_https(web)
    for number in range(5):
        repo.commit({"a": str(number)})
        if number == 2:
            repo.reset(repo.commits[0])  # what was fetched before is reached by no ref any more
            repo.commit({"a": "rewritten"})
        await mirrors.look([where])
    assert len(list((mirrors.folder(where) / "objects/pack").glob("*.pack"))) <= 3
    mirror = mirrors.open(where)
    assert all(mirror.snapshot(commit).find("a") for commit in repo.commits if mirror.has(commit))
    assert mirror.has(repo.commits[1])
