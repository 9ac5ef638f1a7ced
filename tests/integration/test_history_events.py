"""What a repository may do, and what comes of it: one test for each row of the table in `docs/history.md`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pygit2
import pytest

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import tables
from tests.support import git_servers, graphs, manifests, repos, worlds

ROOT = Path(__file__).resolve().parents[2]


class Followed:
    """One repository, served over https and lying on disk; one tenant `acme` that follows it."""

    def __init__(self, folder: Path, db: databases.Database, web: git_servers.HttpServer) -> None:
        self.web = web
        self.repo = repos.Repo(folder / "served/repo.git", bare=True)
        self.platform = repos.Repo(folder / "platform", bare=True)
        self.world = worlds.World(db, self.platform, folder / "state", clocks.ManualClock())

    async def follow(self, *, local: bool = False, **source: Any) -> None:
        """Let `acme` have this source, over https unless it is `local`."""
        where = {"git": f"{self.web.url}/repo.git", "ca": self.web.ca}
        first = {"git": f"file://{self.repo.folder}"} if local else where
        asked = {"ref": "main", **first, **source}
        spec = {"sources": [{key: value for key, value in asked.items() if value is not None}]}
        text = f"{manifests.HEAD}kind: Tenant\nmetadata: {{name: acme}}\nspec: {json.dumps(spec)}\n"
        await self.world.commit({"agents/acme.yaml": text})

    async def push(self, text: str, **files: str | None) -> str:
        more = {f"agents/{name}.yaml": content for name, content in files.items()}
        return await self.look(self.repo.commit({"agents/one.yaml": manifests.model("one", text), **more}))

    async def look(self, revision: str = "") -> str:
        self.world.clock.advance(600)
        await self.world.settle()
        return revision

    async def source(self) -> Any:
        owner = await self.world.tenant("acme")
        (row,) = await self.world.rows(tables.source.select().where(tables.source.c.tenant_id == owner.id))
        return row

    async def state(self) -> tuple[str | None, str]:
        """The revision that is reconciled, and the reason of the source's condition."""
        row = await self.source()
        ready = next(one for one in row.conditions if one[0] == "Ready")
        return row.head, ready[2]

    async def serves(self) -> int:
        """The number of the live generation."""
        return (await self.world.tenant("acme")).active_seq or 0

    async def happened(self) -> list[str]:
        return [reason for _type, reason in await self.world.events("Source/main")]


@pytest.fixture
def followed(tmp_path: Path, sqlite: databases.Database) -> Iterator[Followed]:
    (tmp_path / "served").mkdir()
    with git_servers.serving_http(tmp_path / "served") as web:
        yield Followed(tmp_path, sqlite, web)


async def test_a_new_commit(followed: Followed) -> None:
    await followed.push("a")
    await followed.follow()
    second = await followed.push("b")
    assert (await followed.state(), await followed.serves()) == ((second, "Ready"), 2)


async def test_a_commit_elsewhere(followed: Followed) -> None:
    await followed.push("a")
    await followed.follow(path="agents", include=["."])
    second = await followed.look(followed.repo.commit({"other/file.txt": "x"}))
    assert (await followed.state(), await followed.serves()) == ((second, "Ready"), 1)


async def test_a_force_push_is_followed_and_told(followed: Followed) -> None:
    first = await followed.push("a")
    await followed.follow()
    await followed.push("b")
    followed.repo.reset(first)
    third = await followed.push("c")
    assert (await followed.state(), await followed.serves()) == ((third, "Ready"), 3)
    assert await followed.happened() == ["HistoryRewritten"]
    followed.repo.reset(first)
    followed.repo.commit({"agents/one.yaml": manifests.model("one", "c")}, "The same in other words")
    same = await followed.look(followed.repo.head)
    assert (await followed.state(), await followed.serves()) == ((same, "Ready"), 3)
    followed.repo.reset(first)
    await followed.look()
    assert (await followed.state(), await followed.serves()) == ((first, "Ready"), 4)


async def test_a_force_push_stalls_until_somebody_accepts_it(followed: Followed) -> None:
    first = await followed.push("a")
    await followed.follow(history="forward")
    second = await followed.push("b")
    followed.repo.reset(first)
    third = await followed.push("c")
    assert (await followed.state(), await followed.serves()) == ((second, "HistoryRewritten"), 2)
    source = await followed.source()
    assert "agentos accept" in source.error
    await followed.world.command("accept", {"source": source.id, "revision": third, "reason": "a rebase"}, "acme")
    await followed.look()
    assert (await followed.state(), await followed.serves()) == ((third, "Ready"), 3)
    assert await followed.happened() == ["Accepted", "HistoryRewritten"]


async def test_a_force_push_that_is_taken_back(followed: Followed) -> None:
    first = await followed.push("a")
    await followed.follow(history="mainline")
    second = await followed.push("b")
    followed.repo.reset(first)
    await followed.look()
    assert await followed.state() == (second, "HistoryRewritten")
    followed.repo.reset(second)
    await followed.look()
    assert await followed.state() == (second, "Ready")


async def test_a_branch_that_is_deleted_and_made_again(followed: Followed) -> None:
    first = await followed.push("a")
    await followed.follow()
    followed.repo.git.references.delete("refs/heads/main")
    await followed.look()
    assert (await followed.state(), await followed.serves()) == ((first, "SourceRefGone"), 1)
    fresh = await followed.push("b")
    assert followed.repo.git[fresh].peel(pygit2.Commit).parent_ids == []
    assert (await followed.state(), await followed.serves()) == ((fresh, "Ready"), 2)
    assert await followed.happened() == ["HistoryRewritten"]


@pytest.mark.parametrize("history", ["any", "forward"])
async def test_a_tag_that_is_moved(followed: Followed, history: str) -> None:
    first = await followed.push("a")
    followed.repo.git.references.create("refs/tags/v1", first)
    await followed.follow(ref="v1", history=history)
    side = followed.repo.commit({"agents/one.yaml": manifests.model("one", "side")}, branch="side")
    followed.repo.git.references.create("refs/tags/v1", side, force=True)
    await followed.look()
    expected = {"any": (side, "Ready"), "forward": (first, "HistoryRewritten")}[history]
    assert await followed.state() == expected


async def test_a_range_of_versions(followed: Followed) -> None:
    commits = {}
    for tag in ("v1.0.0", "v2.0.0", "v1.1.0"):
        commits[tag] = await followed.push(tag)
        followed.repo.git.references.create(f"refs/tags/{tag}", commits[tag])
    await followed.follow(ref=None, semver="^1")
    assert await followed.state() == (commits["v1.1.0"], "Ready")
    followed.repo.git.references.delete("refs/tags/v1.1.0")
    await followed.look()
    assert await followed.state() == (commits["v1.0.0"], "Ready")
    followed.repo.git.references.delete("refs/tags/v1.0.0")
    await followed.look()
    assert await followed.state() == (commits["v1.0.0"], "SourceRefGone")


async def test_a_branch_that_is_emptied(followed: Followed) -> None:
    await followed.push("a", two=manifests.model("two"))
    await followed.follow()
    await followed.look(followed.repo.commit({"agents/one.yaml": None, "agents/two.yaml": None, "README": "x"}))
    assert set((await followed.world.reasons("acme")).values()) == {"PruneGuarded"}
    assert await followed.serves() == 1
    back = await followed.push("a", two=manifests.model("two"))
    assert (await followed.state(), await followed.serves()) == ((back, "Ready"), 1)


async def test_a_repository_without_commits(followed: Followed) -> None:
    await followed.follow(ref=None)
    assert await followed.state() == (None, "SourceEmpty")
    first = await followed.push("a")
    assert await followed.state() == (first, "Ready")


def _answer(status: int, **headers: str) -> git_servers.Misbehaviour:
    def answer(handler: Any) -> bool:
        handler.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        return True

    return answer


@pytest.mark.parametrize(
    ("misbehave", "reason"),
    [
        (_answer(301, Location="https://git.example.com/renamed.git"), "SourceMoved"),
        (_answer(503), "SourceUnavailable"),
        (_answer(401, **{"WWW-Authenticate": "Basic"}), "SourceUnauthorized"),
        (_answer(200, **{"Content-Type": "application/x-git-upload-pack-advertisement"}), "SourceUnavailable"),
    ],
    ids=["renamed", "unreachable", "refusing", "half"],
)
async def test_a_remote_that_does_not_do_its_part(
    followed: Followed, misbehave: git_servers.Misbehaviour, reason: str
) -> None:
    first = await followed.push("a")
    await followed.follow()
    followed.web.misbehave = misbehave
    await followed.push("b")
    assert (await followed.state(), await followed.serves()) == ((first, reason), 1)
    followed.web.misbehave = None
    await followed.look()
    assert (await followed.state(), await followed.serves()) == ((followed.repo.head, "Ready"), 2)


async def test_a_certificate_of_somebody_else(followed: Followed) -> None:
    await followed.push("a")
    await followed.follow(ca=None)
    assert await followed.state() == (None, "SourceUntrustedHost")


async def test_a_corrupt_object(followed: Followed) -> None:
    first = await followed.push("a")
    await followed.follow()
    second = followed.repo.commit({"agents/one.yaml": manifests.model("one", "x" * 500)})
    blob = str(followed.repo.git[second].peel(pygit2.Commit).tree["agents"]["one.yaml"].id)  # type: ignore[index]
    file = followed.repo.folder / "objects" / blob[:2] / blob[2:]
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-4])
    await followed.look()
    assert (await followed.state())[0] == first
    assert (await followed.state())[1] in ("SourceCorrupt", "SourceUnavailable")
    assert await followed.serves() == 1


async def test_a_shallow_remote(followed: Followed) -> None:
    first = followed.repo.commit({"agents/one.yaml": manifests.model("one", "a")})
    followed.repo.commit({"agents/one.yaml": manifests.model("one", "b")})
    (followed.repo.folder / "shallow").write_text(followed.repo.head + "\n")
    (followed.repo.folder / "objects" / first[:2] / first[2:]).unlink()
    await followed.follow()
    assert await followed.state() == (None, "SourceShallow")


async def test_more_than_the_limits_allow(followed: Followed) -> None:
    await followed.push("a")
    await followed.follow(limits={"objects": 2})
    assert await followed.state() == (None, "SourceTooLarge")
    await followed.follow()
    assert await followed.state() == (followed.repo.head, "Ready")


async def test_more_files_and_larger_ones_than_the_limits_allow(followed: Followed) -> None:
    first = await followed.push("a")
    await followed.follow(limits={"files": 3, "fileSize": "1KiB"})
    await followed.push("b", **{f"m{number}": manifests.model(f"m{number}") for number in range(5)})
    assert await followed.state() == (first, "SourceTooLarge")
    followed.repo.write({f"agents/m{number}.yaml": None for number in range(5)})
    last = await followed.push("c", large=manifests.model("large", "x" * 2_000))
    assert await followed.state() == (last, "FileTooLarge")
    assert await followed.world.reasons("acme") == {"Model/one": "Ready"}
    await followed.follow(limits={"files": 3})
    assert await followed.world.reasons("acme") == {"Model/one": "Ready", "Model/large": "Ready"}


async def test_a_commit_that_is_not_signed(followed: Followed) -> None:
    ids: list[str] = []

    async def signed(text: str, signer: str | None) -> str:
        tree = followed.repo.git.TreeBuilder()
        inner = followed.repo.git.TreeBuilder()
        blob = followed.repo.git.create_blob(manifests.model("one", text).encode())
        inner.insert("one.yaml", blob, pygit2.enums.FileMode.BLOB)
        tree.insert("agents", inner.write(), pygit2.enums.FileMode.TREE)
        key = graphs.KEYS[signer] if signer else None
        ids.append(graphs.signed_commit(followed.repo.git, str(tree.write()), ids[-1:], key, len(ids)))
        followed.repo.git.references.create("refs/heads/main", ids[-1], force=True)
        return await followed.look(ids[-1])

    first = await signed("a", "a")
    await followed.follow(verify=graphs.SIGNERS)
    await signed("b", None)
    assert await followed.state() == (first, "CommitUnsigned")
    await signed("c", "x")
    assert await followed.state() == (first, "SignerUnknown")
    assert (await followed.source()).observed == ids[-1]
    last = await signed("d", "b")
    assert (await followed.state(), await followed.serves()) == ((last, "Ready"), 2)


async def test_a_tag_that_nobody_merged(followed: Followed) -> None:
    first = await followed.push("a")
    followed.repo.git.references.create("refs/tags/v1.0.0", first)
    await followed.follow(ref=None, semver="*", mergedInto="main")
    side = followed.repo.commit({"agents/one.yaml": manifests.model("one", "side")}, branch="side")
    followed.repo.git.references.create("refs/tags/v1.1.0", side)
    await followed.look()
    assert await followed.state() == (first, "NotMerged")


async def test_links_submodules_and_pointers_in_place_of_manifests(followed: Followed) -> None:
    names = ("link", "module", "pointer")
    await followed.push("a", **{name: manifests.model(name) for name in names})
    await followed.follow()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    followed.repo.link("agents/link.yaml", "/etc/passwd")
    followed.repo.write({"agents/pointer.yaml": pointer})
    followed.repo.modes["agents/module.yaml"] = pygit2.enums.FileMode.COMMIT
    followed.repo.submodules["agents/module.yaml"] = pygit2.Oid(hex="1" * 40)
    await followed.push("b")
    reasons = await followed.world.reasons("acme")
    assert {name: reasons[f"Model/{name}"] for name in names} == dict.fromkeys(names, "FileForbidden")
    assert reasons["Model/one"] == "Ready"
    assert len(await followed.world.live("acme")) == 4


async def test_a_rename_that_changes_only_the_case(followed: Followed) -> None:
    await followed.push("a")
    await followed.follow()
    before = await followed.world.live("acme")
    await followed.look(followed.repo.commit({"agents/one.yaml": None, "agents/ONE.yaml": manifests.model("one", "a")}))
    assert await followed.world.live("acme") == before
    assert (await followed.world.resources("acme"))["Model/one"].path == "agents/ONE.yaml"
    assert (await followed.state())[1] == "Ready"


async def test_two_sources_that_claim_one_resource(followed: Followed) -> None:
    await followed.push("a")
    second = [{"name": "first", "ref": "main", "git": f"file://{followed.repo.folder}"}]
    second.append({**second[0], "name": "second", "ref": "side"})
    side = followed.repo.commit({"agents/one.yaml": manifests.model("one", "other")}, branch="side")
    text = f"{manifests.HEAD}kind: Tenant\nmetadata: {{name: acme}}\nspec: {json.dumps({'sources': second[:1]})}\n"
    await followed.world.commit({"agents/acme.yaml": text})
    before = await followed.world.live("acme")
    text = text.replace(json.dumps(second[:1]), json.dumps(second))
    await followed.world.commit({"agents/acme.yaml": text})
    assert side
    assert await followed.world.reasons("acme") == {"Model/one": "DuplicateResource"}
    assert await followed.world.live("acme") == before
    message = (await followed.world.resources("acme"))["Model/one"].message
    assert "agents/one.yaml" in message


def test_the_table_names_only_reasons_there_are() -> None:
    from agentos_engine import errors

    table = (ROOT / "docs/history.md").read_text()
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", table))
    assert named <= errors.REGISTRY.keys()
