"""Repositories made to do harm: each is refused or read as plain data, nothing runs, and what serves goes on.

Every case stands on a real repository behind a real server, or on a server that speaks the protocol wrongly. A canary
file, wherever it appears, says that something was run; what was read is counted. Addresses that are refused stand in
`test_source_git`, remotes that fail in `test_source_remote`.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pygit2
import pytest
from pygit2.enums import ObjectType

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import tables
from agentos_controller.source import fetch
from agentos_engine import errors
from tests.support import git_servers, manifests, repos, worlds

GOOD = manifests.model("good")


class Victim:
    """A controller whose tenant `acme` follows a repository that turned hostile; `other` follows the platform's."""

    def __init__(self, folder: Path, db: databases.Database, web: git_servers.HttpServer) -> None:
        self.folder = folder
        self.web = web
        self.repo = repos.Repo(folder / "served/repo.git", bare=True)
        self.platform = repos.Repo(folder / "platform", bare=True)
        self.world = worlds.World(db, self.platform, folder / "state", clocks.ManualClock())

    async def begin(self, **more: Any) -> None:
        """Serve one good commit, then let the worst come."""
        self.repo.commit({"agents/good.yaml": GOOD})
        source = {"git": f"{self.web.url}/repo.git", "ca": self.web.ca, "ref": "main", **more}
        text = f"{manifests.HEAD}kind: Tenant\nmetadata: {{name: acme}}\nspec: {json.dumps({'sources': [source]})}\n"
        other = manifests.tenant("other", "tenants/other")
        await self.world.commit(
            {"agents/t.yaml": f"{text}---\n{other}", "tenants/other/agents/good.yaml": manifests.model("fine")}
        )
        assert await self.world.reasons("acme") == {"Model/good": "Ready"}

    async def look(self) -> tuple[str, str]:
        """The reason of the source, and that of the good model."""
        self.world.clock.advance(600)
        await self.world.settle()
        owner = await self.world.tenant("acme")
        (row,) = await self.world.rows(tables.source.select().where(tables.source.c.tenant_id == owner.id))
        assert [file for file in self.folder.rglob("canary*") if file.is_file()] == []
        assert "Model/good" in await self.world.live("acme")
        fine = manifests.model("fine", f"at {self.world.clock.now_us()}")
        await self.world.commit({"tenants/other/agents/good.yaml": fine})
        assert await self.world.reasons("other") == {"Model/fine": "Ready"}
        ready = next(one for one in row.conditions if one[0] == "Ready")
        return ready[2], (await self.world.reasons("acme")).get("Model/good", "")

    def push_tree(self, tree: str) -> None:
        self.repo.commit_tree(tree)

    def raw_tree(self, *entries: tuple[bytes, str, str]) -> str:
        """A tree as written, whatever git thinks of it: mode, name, object id."""
        content = b"".join(
            mode + b" " + name.encode("utf-8", "surrogateescape") + b"\0" + bytes.fromhex(oid)
            for mode, name, oid in sorted(entries, key=lambda entry: entry[1] + ("/" if entry[0] == b"40000" else ""))
        )
        return self.write("tree", content)

    def write(self, kind: str, content: bytes) -> str:
        """An object written past every check of a library."""
        data = f"{kind} {len(content)}\0".encode() + content
        oid = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        file = self.repo.folder / "objects" / oid[:2] / oid[2:]
        file.parent.mkdir(exist_ok=True)
        if not file.exists():
            file.write_bytes(zlib.compress(data, 1))
        return oid

    def blob(self, content: str | bytes) -> str:
        return self.write("blob", content.encode() if isinstance(content, str) else content)

    def good(self, *more: tuple[bytes, str, str]) -> str:
        """A tree with the good manifest, and `more` beside it in `agents`."""
        return self.raw_tree((b"40000", "agents", self.raw_tree((b"100644", "good.yaml", self.blob(GOOD)), *more)))


@pytest.fixture
def victim(tmp_path: Path, sqlite: databases.Database) -> Iterator[Victim]:
    (tmp_path / "served").mkdir()
    with git_servers.serving_http(tmp_path / "served") as web:
        yield Victim(tmp_path, sqlite, web)


EVIL = manifests.model("evil")
PLAIN, FOLDER, LINK, MODULE = b"100644", b"40000", b"120000", b"160000"


def _named(name: str, mode: bytes = PLAIN) -> Callable[[Victim], str]:
    return lambda victim: victim.good((mode, name, victim.blob(EVIL)))


def _folder(name: str) -> Callable[[Victim], str]:
    return lambda victim: victim.good((FOLDER, name, victim.raw_tree((PLAIN, "evil.yaml", victim.blob(EVIL)))))


def _agents_is_a_link(victim: Victim) -> str:
    return victim.raw_tree((LINK, "agents", victim.blob("/etc")))


def _deep(victim: Victim) -> str:
    tree = victim.raw_tree((PLAIN, "evil.yaml", victim.blob(EVIL)))
    for _ in range(100):
        tree = victim.raw_tree((FOLDER, "d", tree))
    return victim.good((FOLDER, "d", tree))


def _many_paths_of_few_objects(victim: Victim) -> str:
    tree = victim.raw_tree((PLAIN, "evil.yaml", victim.blob(EVIL)))
    for _ in range(20):
        tree = victim.raw_tree(*((FOLDER, f"d{number}", tree) for number in range(20)))
    return victim.good((FOLDER, "bomb", tree))


def _ignore(content: bytes) -> Callable[[Victim], str]:
    def made(victim: Victim) -> str:
        agents = victim.raw_tree((PLAIN, "good.yaml", victim.blob(GOOD)))
        return victim.raw_tree((FOLDER, "agents", agents), (PLAIN, ".agentosignore", victim.blob(content)))

    return made


def _gitmodules(url: str) -> Callable[[Victim], str]:
    def made(victim: Victim) -> str:
        agents = victim.raw_tree((PLAIN, "good.yaml", victim.blob(GOOD)), (MODULE, "sub", "1" * 40))
        text = f'[submodule "x"]\n\tpath = agents/sub\n\turl = {url}\n'
        return victim.raw_tree((FOLDER, "agents", agents), (PLAIN, ".gitmodules", victim.blob(text)))

    return made


REFUSED = ("SourceCorrupt",)
READ = ("Ready", "ResourcesNotReady")
TREES: dict[str, tuple[Callable[[Victim], str], tuple[str, ...]]] = {
    "symlink": (_named("evil.yaml", LINK), ("FileForbidden", *REFUSED)),
    "the folder of manifests is a symlink": (_agents_is_a_link, ("FileForbidden",)),
    "submodule in place of a manifest": (
        lambda victim: victim.good((MODULE, "evil.yaml", "2" * 40)), ("FileForbidden",)
    ),
    "dot-git folder": (_folder(".git"), (*READ, *REFUSED)),
    "dot-git in capitals": (_folder(".GIT"), (*READ, *REFUSED)),
    "dot-git by its short name": (_folder("git~1"), (*READ, *REFUSED)),
    "dot-git with a character that is ignored": (_folder(".g\u200cit"), (*READ, *REFUSED)),
    "folder called two dots": (_folder(".."), REFUSED),
    "folder called one dot": (_folder("."), REFUSED),
    "slash in a name": (_named("../../../canary.yaml"), REFUSED),
    "absolute name": (_named("/etc/evil.yaml"), REFUSED),
    "backslashes in a name": (_named("..\\..\\evil.yaml"), READ),
    "newline in a name": (_named("ev\nil.yaml"), READ),
    "escape sequence in a name": (_named("\x1b[2Jevil.yaml"), READ),
    "bytes that are no UTF-8 in a name": (_named("evil\udcff.yaml"), READ),
    "name of four thousand characters": (_named("e" * 4_000 + ".yaml"), READ),
    "name like an option": (_named("--upload-pack=touch canary.yaml"), READ),
    "same name in two cases": (lambda victim: victim.good((PLAIN, "GOOD.yaml", victim.blob(EVIL))), READ),
    "hundred folders deep": (_deep, ("SourceInvalid",)),
    "ten to the twenty-sixth paths": (_many_paths_of_few_objects, ("SourceTooLarge",)),
    "ignore file of two megabytes": (_ignore(b"a\n" * 1_000_000), ("SourceInvalid",)),
    "ignore file that would never end": (_ignore(b"**/a*a*a*a*a*a*a*a*a*a*a*a*a*a*b\n" * 900), READ),
    "submodule with an option as its address": (_gitmodules("--upload-pack=touch canary"), REFUSED),
    "submodule with a command as its address": (_gitmodules("ext::sh -c 'touch canary'"), ("FileForbidden", *REFUSED)),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
async def test_a_tree_made_to_do_harm(victim: Victim, name: str) -> None:
    await victim.begin()
    made, reasons = TREES[name]
    victim.push_tree(made(victim))
    reason, good = await victim.look()
    assert reason in reasons, (reason, good)
    evil = [name for name in await victim.world.live("acme") if name == "Model/evil"]
    assert not evil or reason in READ


@pytest.mark.parametrize(
    "header",
    [
        b"author \xff\xfe <a@example.com> 1767225600 +0000\ncommitter \xff <b@example.com> 1767225600 +0000\n",
        b"author A <a@example.com> 99999999999999999999 +0000\ncommitter B <b@example.com> 1 +0000\n",
        b"author A <a@example.com> 1 +9999\ncommitter B <b@example.com> 1 +0000\n",
        b"author A\n",
        b"",
    ],
    ids=["no UTF-8", "date beyond any", "zone beyond any", "no committer", "no author"],
)
async def test_a_commit_that_is_put_together_wrongly(victim: Victim, header: bytes) -> None:
    await victim.begin()
    tree = victim.good((PLAIN, "evil.yaml", victim.blob(EVIL)))
    body = f"tree {tree}\nparent {victim.repo.head}\n".encode() + header + b"\nHello\n"
    victim.repo.git.references.create("refs/heads/main", victim.write("commit", body), force=True)
    reason, _good = await victim.look()
    assert reason in ("Ready", "SourceCorrupt")


async def test_a_commit_message_of_thirty_megabytes(victim: Victim) -> None:
    await victim.begin()
    tree = victim.good()
    who = b"author A <a@example.com> 1 +0000\ncommitter A <a@example.com> 1 +0000\n"
    body = f"tree {tree}\nparent {victim.repo.head}\n".encode() + who + b"\n" + b"x" * (30 << 20)
    victim.repo.git.references.create("refs/heads/main", victim.write("commit", body), force=True)
    assert (await victim.look())[0] == "Ready"


def _zeros(repository: Path) -> str:
    """A blob of half a gigabyte."""
    command = ["sh", "-c", "head -c 500000000 /dev/zero | git hash-object -w --stdin"]
    return subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout.strip()


async def test_half_a_gigabyte_that_packs_small_is_never_read(victim: Victim) -> None:
    await victim.begin()
    zeros = _zeros(victim.repo.folder)
    read = victim.world.reconciler.repositories.counters.bytes
    victim.push_tree(victim.good((PLAIN, "evil.yaml", zeros)))
    reason, good = await victim.look()
    assert (reason, good) == ("FileTooLarge", "Ready")
    assert victim.world.reconciler.repositories.counters.bytes - read < 100_000


def _packet(data: bytes) -> bytes:
    return f"{len(data) + 4:04x}".encode() + data


def _size(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _entry(kind: int, size: int, data: bytes) -> bytes:
    first = kind << 4 | size & 15
    size >>= 4
    head = bytearray([first | 0x80 if size else first])
    while size:
        head.append(size & 0x7F | (0x80 if size > 0x7F else 0))
        size >>= 7
    return bytes(head) + zlib.compress(data, 1)


def delta_bomb() -> bytes:
    """A pack of a few kilobytes: one block of zeros, and a delta that repeats it to eight gigabytes."""
    block = bytes(0xFFFFFF)
    base = hashlib.sha1(b"blob %d\0" % len(block) + block, usedforsecurity=False).digest()
    copies = 512
    delta = _size(len(block)) + _size(copies * len(block)) + b"\xf0\xff\xff\xff" * copies
    compressed = _entry(7, len(delta), b"")[: -len(zlib.compress(b"", 1))] + base + zlib.compress(delta, 1)
    pack = b"PACK" + (2).to_bytes(4, "big") + (2).to_bytes(4, "big") + _entry(3, len(block), block) + compressed
    return pack + hashlib.sha1(pack, usedforsecurity=False).digest()


def _result(handler: Any, sent: bytes) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/x-git-upload-pack-result")
    handler.send_header("Content-Length", str(len(sent)))
    handler.end_headers()
    handler.wfile.write(sent)
    return True


def _instead_of_a_pack(pack: bytes) -> git_servers.Misbehaviour:
    """Answers every fetch with `pack`; the refs are the real ones."""

    def answer(handler: Any) -> bool:
        if "info/refs" in handler.path:
            return False
        body = handler._body()
        if b"command=fetch" not in body:
            handler.given = body
            return False
        chunks = [pack[at : at + 60_000] for at in range(0, len(pack), 60_000)]
        agreed = b"" if b"done" in body else _packet(b"acknowledgments\n") + _packet(b"ready\n") + b"0001"
        sent = agreed + _packet(b"packfile\n") + b"".join(_packet(b"\1" + chunk) for chunk in chunks) + b"0000"
        return _result(handler, sent)

    return answer


@pytest.mark.parametrize(
    ("pack", "reasons"),
    [
        (delta_bomb(), ("SourceTooLarge",)),
        (b"PACK" + (2).to_bytes(4, "big") + b"\xff\xff\xff\xff" + b"x" * 100, ("SourceCorrupt", "SourceTooLarge")),
        (b"<html>hello</html>" * 100, ("SourceCorrupt", "SourceUnavailable")),
        (b"PACK" + (2).to_bytes(4, "big") + bytes(4) + bytes(20), ("SourceCorrupt", "SourceUnavailable")),
    ],
    ids=["delta bomb", "four billion objects", "no pack", "wrong checksum"],
)
async def test_a_pack_made_to_do_harm(victim: Victim, pack: bytes, reasons: tuple[str, ...]) -> None:
    await victim.begin()
    victim.web.misbehave = _instead_of_a_pack(pack)
    victim.repo.commit({"agents/good.yaml": manifests.model("good", "new")})
    reason, _good = await victim.look()
    assert reason in reasons, [row.error for row in await victim.world.rows(tables.source.select())]
    mirror = next((victim.folder / "state/git").glob("*.git"))
    assert list(mirror.glob("arriving-*")) == []


def _advertising(lines: Callable[[], Iterator[bytes]]) -> git_servers.Misbehaviour:
    """Answers the question for refs with `lines`, of a repository with protocol 2."""

    def answer(handler: Any) -> bool:
        if "info/refs" in handler.path:
            return False
        body = handler._body()
        if b"command=ls-refs" not in body:
            handler.given = body
            return False
        sent = b"".join(_packet(line + b"\n") for line in lines()) + b"0000"
        return _result(handler, sent)

    return answer


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("refs/heads/$(touch canary)", ("SourceRefGone",)),
        ("refs/heads/--upload-pack=touch", ("SourceRefGone", "SourceUnavailable")),
        ("refs/heads/../../canary", ("SourceRefGone", "SourceUnavailable")),
        ("refs/heads/a\x1b[2Jb", ("SourceRefGone", "SourceUnavailable")),
        ("refs/heads/main", ("SourceUnavailable", "SourceCorrupt")),
    ],
    ids=["a command", "an option", "a path", "control characters", "an object that is not there"],
)
async def test_refs_made_to_do_harm(victim: Victim, name: str, reasons: tuple[str, ...]) -> None:
    await victim.begin()
    victim.web.misbehave = _advertising(lambda: iter([b"1" * 40 + b" " + name.encode()]))
    assert (await victim.look())[0] in reasons


async def test_three_hundred_thousand_refs(victim: Victim) -> None:
    await victim.begin()
    victim.web.misbehave = _advertising(lambda: (b"1" * 40 + b" refs/heads/%d" % number for number in range(300_000)))
    assert (await victim.look())[0] == "SourceTooLarge"


async def test_a_hundred_thousand_tags_are_no_matter(victim: Victim) -> None:
    await victim.begin()
    head = victim.repo.head.encode()
    tags = [head + b" refs/tags/v1.%d.0" % number for number in range(100_000)]
    victim.web.misbehave = _advertising(lambda: iter([head + b" refs/heads/main", *tags]))
    assert (await victim.look())[0] == "Ready"


@pytest.mark.parametrize("kind", [ObjectType.BLOB, ObjectType.TREE])
async def test_a_branch_that_names_no_commit(victim: Victim, kind: ObjectType) -> None:
    await victim.begin()
    oid = victim.blob("hello") if kind == ObjectType.BLOB else victim.good()
    (victim.repo.folder / "refs/tags").mkdir(exist_ok=True)
    (victim.repo.folder / "refs/tags/main2").write_text(oid + "\n")
    (victim.repo.folder / "refs/heads/main").unlink()
    (victim.repo.folder / "refs/tags/main").write_text(oid + "\n")
    assert (await victim.look())[0] == "SourceRefGone"


async def test_a_tag_of_a_tag_of_a_tag(victim: Victim) -> None:
    await victim.begin()
    oid, kind = victim.repo.commit({"agents/good.yaml": manifests.model("good", "tagged")}), "commit"
    for number in range(300):
        body = f"object {oid}\ntype {kind}\ntag t{number}\ntagger A <a@example.com> 1 +0000\n\nx\n"
        oid, kind = victim.write("tag", body.encode()), "tag"
    (victim.repo.folder / "refs/heads/main").unlink()
    (victim.repo.folder / "refs/tags").mkdir(exist_ok=True)
    (victim.repo.folder / "refs/tags/main").write_text(oid + "\n")
    assert (await victim.look())[0] in ("Ready", "SourceRefGone")


async def test_configuration_and_hooks_of_a_local_repository_are_not_run(
    tmp_path: Path, sqlite: databases.Database
) -> None:
    repo = repos.Repo(tmp_path / "repo")
    repo.commit(manifests.small())
    canary = tmp_path / "canary"
    touch = f"touch {canary}"
    (tmp_path / "more").write_text(f"[core]\n\tpager = {touch}\n")
    with (repo.folder / ".git/config").open("a") as config:
        config.write(
            f'[core]\n\tfsmonitor = "{touch}"\n\tsshCommand = "{touch}"\n\thooksPath = {tmp_path}\n'
            f'[include]\n\tpath = {tmp_path}/more\n[uploadpack]\n\tpackObjectsHook = "{touch}"\n'
            f'[filter "x"]\n\tsmudge = "{touch}"\n\tclean = "{touch}"\n\tprocess = "{touch}"\n'
            f'[gpg]\n\tprogram = "{touch}"\n'
        )
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "fsmonitor-watchman"):
        for folder in (tmp_path, repo.folder / ".git/hooks"):
            folder.mkdir(exist_ok=True)
            (folder / hook).write_text(f"#!/bin/sh\n{touch}\n")
            (folder / hook).chmod(0o755)
    repo.commit({".gitattributes": "* filter=x\n"})
    world = worlds.World(sqlite, repo, tmp_path / "state", clocks.ManualClock())
    await world.settle()
    assert set((await world.reasons()).values()) == {"Ready"}
    assert not canary.exists()


async def test_a_server_that_drips_is_given_up(victim: Victim) -> None:
    import threading

    victim.repo.commit({"agents/good.yaml": GOOD})
    over = threading.Event()

    def drip(handler: Any) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        handler.end_headers()
        while not over.wait(0.05):
            try:
                handler.wfile.write(b"0")
                handler.wfile.flush()
            except OSError:
                break
        return True

    from tests.integration.test_source_remote import over_https

    victim.web.misbehave = drip
    try:
        with pytest.raises(errors.Retry, match="took over"):
            await fetch.Mirrors(victim.folder / "mirrors").look([over_https(victim.web)], fetch.Limits(timeout=1.0))
    finally:
        over.set()


async def test_a_tenant_may_not_name_a_local_repository_of_the_machine(
    victim: Victim, sqlite: databases.Database
) -> None:
    inside = repos.Repo(victim.folder / "inside", bare=True)
    inside.commit(manifests.small())
    evil = f"{manifests.HEAD}kind: Tenant\nmetadata: {{name: evil}}\nspec: {{sources: [{{git: 'file://{inside.folder}'}}]}}\n"
    victim.repo.commit({"agents/t.yaml": evil})
    described = {"sources": [{"name": "main", "git": f"{victim.web.url}/repo.git", "ca": victim.web.ca, "ref": "main"}]}
    world = worlds.World(
        sqlite, victim.repo, victim.folder / "far", clocks.ManualClock(),
        source=f"{victim.web.url}/repo.git#main", platform=described,
    )  # fmt: skip
    await world.settle()
    owner = await world.tenant("evil")
    (row,) = await world.rows(tables.source.select().where(tables.source.c.tenant_id == owner.id))
    assert "only where the platform's is local too" in row.error
    assert await world.live("evil") == {}


def test_a_link_to_itself_as_head(tmp_path: Path) -> None:
    from agentos_controller.source import git

    repo = repos.Repo(tmp_path / "repo", bare=True)
    repo.commit({"a": "1"})
    (repo.folder / "refs/heads/loop").write_text("ref: refs/heads/loop\n")
    (repo.folder / "HEAD").write_text("ref: refs/heads/loop\n")
    with pytest.raises((errors.Stall, pygit2.GitError)) as refused:
        git.Repository(repo.folder, tmp_path / "home").resolve(None)
    assert isinstance(refused.value, errors.Stall)
