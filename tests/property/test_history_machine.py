"""Random histories of a repository over https, ssh and from disk, with outages and restarts at random points.

After each quiet point every tenant serves exactly what the rules of its source allow, and that is what a controller
started from nothing on that revision serves. What those rules never allowed never stood in any generation.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pygit2
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from pygit2.enums import FileMode

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import tables
from agentos_controller.source import address, gate, git
from tests.support import git_servers, graphs, manifests, oracles, repos, worlds

GUARDED, FREE = "agents/guarded.yaml", "agents/free.yaml"
SIGNER = st.sampled_from([None, "a", "a", "b", "x"])
VALUE = st.integers(0, 2)
QUIET = st.sampled_from([True, True, False])
"""Whether the controller comes to rest before the next thing happens."""
WAYS = ("https", "ssh", "disk")


@dataclass(frozen=True)
class Tenant:
    """A way to the repository, what is followed, and the rules; `more` is the rest of its source."""

    name: str
    way: str
    more: dict[str, Any]
    policy: gate.Policy = field(default_factory=gate.Policy)

    @property
    def branch(self) -> str | None:
        return self.more.get("mergedInto")


def _signed(**more: Any) -> dict[str, Any]:
    return {"verify": {**graphs.SIGNERS, **more}}


TENANTS = (
    Tenant("open", "https", {"ref": "main"}),
    Tenant("guarded", "https", {"ref": "main", **_signed(paths=[GUARDED])}, gate.Policy(True, graphs.GUARDED)),
    Tenant("forward", "ssh", {"ref": "main", "history": "forward"}, gate.Policy(history="forward")),
    Tenant("released", "ssh", {"semver": "^1", "mergedInto": "main"}),
    Tenant(
        "mainline", "disk", {"ref": "refs/heads/main", "history": "mainline", **_signed()},
        gate.Policy(True, history="mainline"),
    ),
    Tenant("tagged", "disk", {"ref": "refs/tags/live"}),
)  # fmt: skip


def content(commit: graphs.Commit) -> dict[str, str]:
    return {
        GUARDED: manifests.model("guarded", f"text {commit.guarded}"),
        FREE: manifests.model("free", f"text {commit.free}"),
    }


class Machine(RuleBasedStateMachine):
    """One repository in two places that hold the same, three ways to it, six tenants, one controller."""

    template: Path
    fresh: dict[tuple[int, int], dict[str, tuple[str, str]]]
    """What a controller started from nothing serves, by the values of the commit."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.stack = contextlib.ExitStack()
        self.runner = self.stack.enter_context(asyncio.Runner())
        self.served = repos.Repo(self.folder / "served/repo.git", bare=True)
        self.disk = repos.Repo(self.folder / "disk.git", bare=True)
        self.hidden = self.folder / "hidden.git"
        self.graph = graphs.Graph(())
        self.ids: list[str] = []
        self.refs: dict[str, int] = {}
        self.seen: dict[str, dict[str, int]] = {way: {} for way in WAYS}
        self.serving: dict[str, str | None] = {tenant.name: None for tenant in TENANTS}
        self.ever: dict[str, set[str]] = {tenant.name: set() for tenant in TENANTS}
        self.accepted: dict[str, str] = {}
        self.out: set[str] = set()

    def teardown(self) -> None:
        try:
            self._quiet()
            self.runner.run(self.db.close())
        finally:
            self.stack.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # The world

    @initialize()
    def begin(self) -> None:
        self.web = self.stack.enter_context(git_servers.serving_http(self.folder / "served"))
        self.shell = self.stack.enter_context(git_servers.serving_ssh(self.folder / "served"))
        platform = repos.Repo(self.folder / "platform", bare=True)
        platform.commit({f"agents/{tenant.name}.yaml": self._manifest(tenant) for tenant in TENANTS})
        shutil.copyfile(self.template, self.folder / "agentos.db")
        self.db = databases.Database(f"sqlite:///{self.folder}/agentos.db")
        secrets = {"deploy-key": self.shell.key}
        self.world = worlds.World(self.db, platform, self.folder / "state", clocks.ManualClock(), secrets=secrets)
        self._commit((), "a", 0, 0)
        self._move("refs/heads/main", 0)

    def _manifest(self, tenant: Tenant) -> str:
        reached: dict[str, dict[str, Any]] = {
            "https": {"git": f"{self.web.url}/repo.git", "ca": self.web.ca},
            "ssh": {
                "git": f"{self.shell.url}/repo.git", "auth": {"secret": "deploy-key"},
                "knownHosts": self.shell.known_hosts,
            },
            "disk": {"git": f"file://{self.disk.folder}"},
        }  # fmt: skip
        spec = {"sources": [{**reached[tenant.way], **tenant.more}]}
        return f"{manifests.HEAD}kind: Tenant\nmetadata: {{name: {tenant.name}}}\nspec: {json.dumps(spec)}\n"

    def _commit(self, parents: tuple[int, ...], signer: str | None, guarded: int, free: int) -> int:
        commit = graphs.Commit(parents, guarded, free, signer)
        self.graph = graphs.Graph((*self.graph.commits, commit))
        for repo in self._both():
            index = pygit2.Index()
            for path, text in content(commit).items():
                index.add(pygit2.IndexEntry(path, repo.create_blob(text.encode()), FileMode.BLOB))
            tree = str(index.write_tree(repo))
            above = [self.ids[parent] for parent in parents]
            key = graphs.KEYS[signer] if signer is not None else None
            made = graphs.signed_commit(repo, tree, above, key, len(self.graph.commits))
        self.ids.append(made)
        return len(self.ids) - 1

    def _both(self) -> list[pygit2.Repository]:
        """Where everything is written; the one on disk may be away."""
        return [self.served.git, pygit2.Repository(str(self.hidden if self.hidden.exists() else self.disk.folder))]

    def _move(self, name: str, target: int | None) -> None:
        for repo in self._both():
            if target is not None:
                repo.references.create(name, self.ids[target], force=True)
            elif name in repo.references:
                repo.references.delete(name)
        if target is None:
            self.refs.pop(name, None)
        else:
            self.refs[name] = target

    # What may happen

    @rule(signer=SIGNER, guarded=VALUE, free=VALUE, branch=st.sampled_from(["main", "main", "side"]), then=QUIET)
    def commit(self, signer: str | None, guarded: int, free: int, branch: str, then: bool) -> None:
        name = f"refs/heads/{branch}"
        above = self.refs.get(name, self.refs.get("refs/heads/main"))
        self._move(name, self._commit(() if above is None else (above,), signer, guarded, free))
        self._quiet(then)

    @precondition(lambda self: {"refs/heads/main", "refs/heads/side"} <= self.refs.keys())
    @rule(signer=SIGNER, foxtrot=st.booleans(), then=QUIET)
    def merge(self, signer: str | None, foxtrot: bool, then: bool) -> None:
        main, side = self.refs["refs/heads/main"], self.refs["refs/heads/side"]
        theirs = self.graph.commits[side]
        parents = (side, main) if foxtrot else (main, side)
        self._move("refs/heads/main", self._commit(parents, signer, theirs.guarded, theirs.free))
        self._quiet(then)

    @rule(data=st.data(), branch=st.sampled_from(["main", "side"]), then=QUIET)
    def push_by_force(self, data: st.DataObject, branch: str, then: bool) -> None:
        self._move(f"refs/heads/{branch}", data.draw(st.integers(0, len(self.ids) - 1)))
        self._quiet(then)

    @rule(data=st.data(), name=st.sampled_from(["v1.0.0", "v1.1.0", "live", "v2.0.0"]), then=QUIET)
    def tag(self, data: st.DataObject, name: str, then: bool) -> None:
        self._move(f"refs/tags/{name}", data.draw(st.integers(max(0, len(self.ids) - 3), len(self.ids) - 1)))
        self._quiet(then)

    @rule(name=st.sampled_from(["heads/main", "tags/v1.0.0", "tags/v1.1.0", "tags/live"]), then=QUIET)
    def delete(self, name: str, then: bool) -> None:
        self._move(f"refs/{name}", None)
        self._quiet(then)

    @rule(way=st.sampled_from(WAYS))
    def go_out(self, way: str) -> None:
        self.out.add(way)
        self._outage()

    @precondition(lambda self: self.out)
    @rule()
    def come_back(self) -> None:
        self.out.clear()
        self._outage()

    def _outage(self) -> None:
        self.web.misbehave = _unavailable if "https" in self.out else None
        self.shell.refusing = "ssh" in self.out
        if "disk" in self.out and not self.hidden.exists():
            self.disk.folder.rename(self.hidden)
        elif "disk" not in self.out and self.hidden.exists():
            self.hidden.rename(self.disk.folder)

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @rule(tenant=st.sampled_from(["forward", "mainline"]))
    def accept(self, tenant: str) -> None:
        """A person lets in what the source's ref named at the last quiet point."""

        async def write() -> None:
            owner = (await self.world.tenant(tenant)).id
            table = tables.source
            async with self.db.write() as conn:
                mine = table.update().where(table.c.tenant_id == owner)
                await conn.execute(mine.values(accepted=table.c.observed))

        observed = self._observed(_of(tenant), self.seen[_of(tenant).way])
        if observed is not None:
            self.runner.run(write())
            self.world.restart()
            self.accepted[tenant] = observed

    # What has to hold

    def _observed(self, tenant: Tenant, refs: dict[str, int]) -> str | None:
        if "semver" in tenant.more:
            name = git.newest(tenant.more["semver"], refs)
            return str(refs[name]) if name is not None else None
        names = address.candidates(tenant.more["ref"])
        return next((str(refs[name]) for name in names if name in refs), None)

    def _quiet(self, now: bool = True) -> None:
        if not now:
            return
        for way in WAYS:
            if way not in self.out:
                self.seen[way] = dict(self.refs)
        self.runner.run(self.world.settle())
        for tenant in TENANTS:
            self._expect(tenant)
            self.runner.run(self._check(tenant))

    def _expect(self, tenant: Tenant) -> None:
        refs = self.seen[tenant.way]
        observed = self._observed(tenant, refs)
        tip = refs.get(f"refs/heads/{tenant.branch}") if tenant.branch else None
        if tenant.way in self.out or observed is None or (tenant.branch and tip is None):
            return
        policy = replace(tenant.policy, merged_into=str(tip) if tenant.branch else None)
        before = self.serving[tenant.name]
        now = oracles.oracle(self.graph, policy, observed, before, self.accepted.get(tenant.name))
        self.serving[tenant.name] = now
        if now is not None:
            self.ever[tenant.name].add(self.ids[int(now)])

    async def _check(self, tenant: Tenant) -> None:
        owner = await self.world.tenant(tenant.name)
        (source,) = await self.world.rows(tables.source.select().where(tables.source.c.tenant_id == owner.id))
        serving = self.serving[tenant.name]
        assert source.head == (self.ids[int(serving)] if serving is not None else None), (tenant.name, source.error)
        live = await self.world.generation(tenant.name)
        assert live == (await self._from_scratch(int(serving)) if serving is not None else {}), tenant.name
        table = tables.generation
        made = await self.world.rows(table.select().where(table.c.tenant_id == owner.id, table.c.changes > 0))
        assert {row.revision for row in made} <= self.ever[tenant.name], tenant.name

    async def _from_scratch(self, index: int) -> dict[str, tuple[str, str]]:
        commit = self.graph.commits[index]
        key = (commit.guarded, commit.free)
        if key not in self.fresh:
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            shutil.copyfile(self.template, folder / "agentos.db")
            db = databases.Database(f"sqlite:///{folder}/agentos.db")
            repo = repos.Repo(folder / "repo.git", bare=True)
            repo.commit(content(commit))
            world = worlds.World(db, repo, folder / "state", clocks.ManualClock())
            await world.settle()
            self.fresh[key] = await world.generation()
            await db.close()
        return self.fresh[key]


def _of(name: str) -> Tenant:
    return next(tenant for tenant in TENANTS if tenant.name == name)


def _unavailable(handler: Any) -> bool:
    handler.send_response(503)
    handler.send_header("Content-Length", "0")
    handler.end_headers()
    return True


def test_whatever_a_repository_does_only_what_is_allowed_serves(
    _sqlite_template: Path,  # noqa: PT019 - its value is wanted
) -> None:
    made: Callable[[], Machine] = type("Here", (Machine,), {"template": _sqlite_template, "fresh": {}})
    thorough = settings().max_examples > 100
    bounded = settings(
        max_examples=60 if thorough else 6,
        stateful_step_count=40 if thorough else 20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(made, settings=bounded)
