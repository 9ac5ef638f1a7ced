"""Mirrors of remote repositories: bare, one for each address and way to reach it, however many sources read it.

A look asks which refs there are; only where one that somebody follows has moved is anything fetched, and then exactly
those. What is fetched arrives beside the mirror and is counted before it is let in, so that a look that fails, is
refused or dies leaves the mirror as it was. How git is run stands in `child`, how a remote is reached in `reach`;
reading what was fetched is `git`'s job. A mirror that turns out to be damaged on disk is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import shutil
import struct
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentos_controller.source import address, child, git, reach, snapshot, trouble
from agentos_engine import errors

log = logging.getLogger(__name__)

MAX_REFS = 250_000
MAX_PACKS = 50
"""Packs of a mirror above which they are made one."""
_ADVERTISED = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\t(HEAD|refs/(?:heads|tags)/[^\s^~:?*\[\\]+)(\^\{\})?")


_FETCH = (
    "fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head", "--refmap=", "--update-shallow",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one fetch: seconds, bytes packed, objects."""

    timeout: float = 120.0
    size: int = 2 << 30
    objects: int = 5_000_000

    def widened(self, other: Limits) -> Limits:
        """What satisfies both: a fetch is shared by all who read the repository."""
        return Limits(max(self.timeout, other.timeout), max(self.size, other.size), max(self.objects, other.objects))


class Mirrors:
    """The mirrors of remote repositories under `root`."""

    def __init__(
        self, root: Path, *, dial: reach.Dial | None = None, counters: snapshot.Counters | None = None
    ) -> None:
        self.root = root
        self.counters = counters or snapshot.Counters()
        self._dial = dial
        self._doubted: set[Path] = set()
        self._opened: weakref.WeakSet[git.Repository] = weakref.WeakSet()

    def folder(self, where: address.Address) -> Path:
        access = where.access or address.Access()
        named = json.dumps([where.url, access.auth, access.known_hosts, access.ca])
        return self.root / (hashlib.sha256(named.encode()).hexdigest()[:32] + ".git")

    @property
    def home(self) -> Path:
        return self.root / "home"

    async def look(
        self,
        wanted: Sequence[address.Address],
        limits: Limits | None = None,
        secret: reach.Secret | None = None,
    ) -> bool:
        """Bring the mirror of `wanted`, which differ in what they follow only, up to date with its remote.

        Whether it was made anew, because it was damaged.

        Raises:
            errors.Handled: what kept it from being so; the mirror is as it was.
        """
        limits = limits or Limits()
        where = wanted[0]
        anew = await self._damaged(where, limits, thorough=self.folder(where) in self._doubted)
        self._doubted.discard(self.folder(where))
        if not anew:
            try:
                await self._look(where, wanted, limits, secret)
                return False
            except snapshot.Damaged:
                pass
            except errors.Handled as error:
                if not await self._damaged(where, limits, thorough=error.code == "SourceCorrupt"):
                    raise
        log.warning("a mirror is damaged and made anew", extra={"source": str(where)})
        for handle in list(self._opened):
            if handle.folder == self.folder(where):
                handle.git.free()  # what it has open of the packs is found by their names
        shutil.rmtree(self.folder(where), ignore_errors=True)
        await self._look(where, wanted, limits, secret)
        return True

    def doubt(self, where: address.Address) -> None:
        """Something of the mirror of `where` could not be read: the next look looks at all of it."""
        self._doubted.add(self.folder(where))

    async def _damaged(self, where: address.Address, limits: Limits, *, thorough: bool) -> bool:
        """Whether there is a mirror of `where` that is none; `thorough` reads every object of it."""
        folder = self.folder(where)
        if not folder.exists():
            return False
        try:
            if not self.open(where).sound:
                return True
            if thorough:
                await self._git(folder, ("fsck", "--no-dangling", "--no-progress"), limits)
        except errors.Handled as error:
            return error.code != "SourceUnavailable"  # it took too long
        return False

    async def _look(
        self, where: address.Address, wanted: Sequence[address.Address], limits: Limits, secret: reach.Secret | None
    ) -> None:
        folder = self.folder(where)
        if not _begun(folder):
            await self._git(self.root, ("init", "--quiet", "--bare", "--template=", "--", str(folder)), limits)
        async with reach.open(where, self.root / "reach", dial=self._dial, secret=secret) as reached:
            self.counters.looks += 1
            said = await self._git(folder, ("ls-remote", "--symref", "--", where.url), limits, reached)
            refs, head = _advertised(said)
            follow = {name for one in wanted for name in _followed(one, refs, head)}
            mirror = self.open(where)
            missing = [name for name in sorted(follow) if not mirror.has(refs[name])]
            for one in wanted:
                if one.is_commit and not mirror.has(one.ref or ""):
                    missing = sorted(refs)
            if missing:
                await self._fetch(folder, where.url, missing, limits, reached)
        mirror.take_refs({name: refs[name] for name in follow}, head)
        if len(list((folder / "objects/pack").glob("*.pack"))) > MAX_PACKS:
            # What no ref reaches any more is kept: it may be what serves.
            await self._git(folder, ("repack", "-a", "-d", "-k", "-q"), limits)

    async def _fetch(
        self, folder: Path, url: str, names: Sequence[str], limits: Limits, reached: reach.Reached
    ) -> None:
        self.counters.fetches += 1
        objects = folder / "objects"
        shallow = folder / "shallow"
        shallow.unlink(missing_ok=True)
        with _beside(folder) as arriving:
            beside = {"GIT_OBJECT_DIRECTORY": str(arriving), "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects)}
            # Without a destination no ref moves: that is for when everything is in.
            what = names if len(names) <= 1_000 else ("refs/heads/*", "refs/tags/*")
            try:
                await self._git(folder, (*_FETCH, "--", url, *what), limits, reached, beside)
            except errors.Handled:
                if any(file.stat().st_size >= limits.size // 512 * 512 for file in arriving.glob("pack/*")):
                    message = f"the fetch is larger than the {limits.size:,} bytes allowed"
                    raise trouble.of("SourceTooLarge", message) from None
                raise
            if shallow.exists():
                shallow.unlink()
                message = "the remote is a shallow clone, without the history that is needed"
                raise trouble.of("SourceShallow", message)
            count = sum(_objects(index) for index in arriving.glob("pack/*.idx"))
            if count > limits.objects:
                raise trouble.of(
                    "SourceTooLarge", f"the fetch brings {count:,} objects, more than the {limits.objects:,} allowed"
                )
            (objects / "pack").mkdir(exist_ok=True)
            for suffix in (".pack", ".rev", ".idx"):  # a pack counts from when its index is there
                for file in arriving.glob(f"pack/*{suffix}"):
                    file.rename(objects / "pack" / file.name)

    async def _git(
        self,
        folder: Path,
        arguments: Sequence[str],
        limits: Limits,
        reached: reach.Reached | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        reached = reached or reach.Reached("none")
        return await child.git(
            folder,
            arguments,
            child.Bounds(limits.timeout, limits.size),
            home=self.home,
            protocol=reached.protocol,
            options=reached.options,
            environment={**reached.environment, **(environment or {})},
        )

    def open(self, where: address.Address) -> git.Repository:
        """The mirror of `where` as it was last fetched. Raises `errors.Stall` if it never was."""
        opened = git.Repository(self.folder(where), self.home, self.counters)
        self._opened.add(opened)
        return opened

    def keep(self, wanted: Iterable[address.Address]) -> None:
        """Remove the mirrors of all but `wanted`."""
        known = {self.folder(where) for where in wanted}
        for folder in self.root.glob("*.git"):
            if folder not in known:
                shutil.rmtree(folder, ignore_errors=True)


def _begun(folder: Path) -> bool:
    """Whether there is a mirror. What is none is removed, and where it will stand is made."""
    if (folder / "HEAD").is_file():
        return True
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return False


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder for objects that are not let in yet; what a process before left of it is removed."""
    for left in folder.glob("arriving-*"):
        shutil.rmtree(left, ignore_errors=True)
    arriving = Path(tempfile.mkdtemp(prefix="arriving-", dir=folder))
    (arriving / "pack").mkdir()
    try:
        yield arriving
    finally:
        shutil.rmtree(arriving, ignore_errors=True)


def _objects(index: Path) -> int:
    """How many objects a pack has, by its index: the last entry of the fan-out table of version 2."""
    with index.open("rb") as file:
        start = file.read(8 + 256 * 4)
    count: int = struct.unpack(">I", start[-4:])[0]
    return count


def _advertised(said: str) -> tuple[dict[str, str], str | None]:
    """Every branch and tag with the object it names, and the branch that HEAD stands for."""
    refs: dict[str, str] = {}
    head = None
    for line in said.splitlines():
        if line.startswith("ref: ") and line.endswith("\tHEAD"):
            head = line[len("ref: ") : -len("\tHEAD")]
            continue
        match = _ADVERTISED.fullmatch(line)
        if match is None or match[3]:
            continue
        if match[2] != "HEAD":
            refs[match[2]] = match[1]
        if len(refs) > MAX_REFS:
            raise errors.Stall("SourceTooLarge", f"the remote has more than {MAX_REFS:,} branches and tags")
    return refs, head if head in refs else None


def _followed(one: address.Address, refs: Mapping[str, str], head: str | None) -> Iterator[str]:
    """The full names of the refs that matter to `one`, of those there are."""
    if one.branch is not None:
        yield from (name for name in address.candidates(one.branch)[:1] if name in refs)
    if one.semver is not None:
        name = git.newest(one.semver, refs)
        if name is not None:
            yield name
    elif one.ref is None:
        if head is not None:
            yield head
    elif not one.is_commit:
        yield from [name for name in address.candidates(one.ref) if name in refs][:1]
