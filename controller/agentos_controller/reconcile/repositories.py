"""Keeps an eye on every repository: one look per address and round, however many sources read it.

A local repository is looked at often (resolving a ref costs microseconds), a remote one is fetched when it is due, in
the background: one that does not answer holds up nobody. A look that fails is repeated with growing pauses; what was
seen last stays usable. A working copy is one more sort of repository here. What a new head means is not decided here.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agentos_controller import clock
from agentos_controller.source import address, fetch, folder, git, reach, snapshot
from agentos_engine import errors

log = logging.getLogger(__name__)

LOCAL_INTERVAL = 0.5
"""Seconds between two looks at a local repository."""
MAX_BACKOFF = 300.0
_SHARE = 40
"""A working copy is walked at most this part of the time, so that a large one does not keep the processor busy."""

JITTER = 0.1
"""Share of an interval by which looks are spread, so that many sources do not ask at once."""


@dataclass(slots=True)
class Watched:
    """One address under watch. `head` is the last revision seen, `error` why the last look failed."""

    address: address.Address
    interval: float
    limits: fetch.Limits = field(default_factory=fetch.Limits)
    secret: reach.Secret | None = None
    head: str | None = None
    error: errors.Handled | None = None
    failures: int = 0
    due: float = 0.0
    fetched_at: int | None = None
    repository: git.Repository | None = None
    copy: folder.FolderSnapshot | None = None
    _folder: folder.Folder | None = field(default=None, repr=False)

    @property
    def looked_at(self) -> bool:
        """Whether a look has ended, well or not."""
        return self.head is not None or self.error is not None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one source asks for: seconds between looks, limits of a fetch, where the secrets of its access come from."""

    address: address.Address
    interval: float
    limits: fetch.Limits = field(default_factory=fetch.Limits)
    secret: reach.Secret | None = None


class Repositories:
    """All addresses under watch, by address. `working_copy` is the one local path read with uncommitted files."""

    def __init__(
        self,
        state: Path,
        time: clock.Clock,
        *,
        dial: reach.Dial | None = None,
        working_copy: Path | None = None,
    ) -> None:
        self.counters = snapshot.Counters()
        self._time = time
        self._home = state / "git" / "home"
        self._mirrors = fetch.Mirrors(state / "git", dial=dial, counters=self.counters)
        self._working_copy = working_copy
        self._watched: dict[address.Address, Watched] = {}
        self._looks: dict[Path, asyncio.Task[list[Watched]]] = {}
        self._moved: list[Watched] = []

    def watch(self, wanted: Iterable[Wanted]) -> None:
        """Watch exactly `wanted`. Of several at one address the shortest interval and the widest limits hold."""
        before, self._watched = self._watched, {}
        for one in wanted:
            where = one.address
            known = where in self._watched
            watched = self._watched.get(where) or before.get(where) or Watched(where, one.interval)
            watched.interval = min(watched.interval, one.interval) if known else one.interval
            watched.limits = watched.limits.widened(one.limits) if known else one.limits
            watched.secret = one.secret
            self._watched[where] = watched
        self._mirrors.keep(where for where in self._watched if not where.local)

    def get(self, where: address.Address) -> Watched:
        return self._watched[where]

    def wake(self, where: address.Address | None = None) -> None:
        """Make an address (None: all) due at once."""
        for watched in self._watched.values():
            if where is None or watched.address == where:
                watched.due = 0.0

    def wake_all(self, url: str) -> None:
        """Make every address of a repository due at once: a push may have moved any of its refs."""
        for watched in self._watched.values():
            if watched.address.url == url:
                watched.due = 0.0

    def doubt(self, where: address.Address) -> None:
        """Something at `where` that was there could not be read: look at once whether its mirror is still whole."""
        if not where.local:
            self._mirrors.doubt(where)
        self.wake(where)

    def all(self) -> list[Watched]:
        return list(self._watched.values())

    def next_due(self) -> float:
        """Seconds until the next look is due; 0 or less: now."""
        now = self._time.monotonic()
        return min((watched.due - now for watched in self._watched.values()), default=MAX_BACKOFF)

    def start(self, done: Callable[[], None]) -> None:
        """Look at everything that is due; `done` is called whenever a look in the background has ended."""
        now = self._time.monotonic()
        remote: dict[Path, list[Watched]] = {}
        for watched in self._watched.values():
            if not watched.address.local:
                remote.setdefault(self._mirrors.folder(watched.address), []).append(watched)
            elif watched.due <= now and self._look_local(watched):
                self._moved.append(watched)
        for mirror, same in remote.items():
            if mirror not in self._looks and any(watched.due <= now for watched in same):
                # All that follow the repository are looked at with the first that is due: it costs no more.
                self._begin(mirror, same, done)

    def _begin(self, mirror: Path, same: list[Watched], done: Callable[[], None]) -> None:
        for watched in same:
            # Whatever wakes it from now on asks for another look.
            watched.due = math.inf

        def ended(task: asyncio.Task[list[Watched]]) -> None:
            del self._looks[mirror]
            if not task.cancelled():
                error = task.exception()
                for watched in same if error is not None else ():
                    self._failed(watched, error)
                self._moved += same if error is not None else task.result()
            done()

        self._looks[mirror] = task = asyncio.ensure_future(self._look_remote(same))
        task.add_done_callback(ended)

    def moved(self) -> list[Watched]:
        """Those in which something changed since the last call: the head, or whether it can be read."""
        moved, self._moved = self._moved, []
        return [watched for watched in moved if self._watched.get(watched.address) is watched]

    def outstanding(self, where: address.Address) -> bool:
        """Whether a look at `where` is due or under way."""
        watched = self._watched.get(where)
        if watched is None:
            return False
        under_way = not where.local and self._mirrors.folder(where) in self._looks
        return under_way or watched.due <= self._time.monotonic()

    async def ended(self) -> None:
        """Wait until a look has ended, if any is under way."""
        if self._looks:
            await asyncio.wait(self._looks.values(), return_when=asyncio.FIRST_COMPLETED)

    @property
    def looking(self) -> bool:
        """Whether any look is under way."""
        return bool(self._looks)

    async def stop(self) -> None:
        """Break off every look."""
        for task in list(self._looks.values()):
            task.cancel()
        while self._looks:
            await asyncio.wait(list(self._looks.values()))

    def _look_local(self, watched: Watched) -> bool:
        before = (watched.head, watched.error and watched.error.message)
        started = self._time.monotonic()
        try:
            path = Path(watched.address.url)
            if self._working_copy == path:
                self._look_at_copy(watched, path)
            else:
                if watched.repository is None:
                    watched.repository = git.Repository(path, self._home, self.counters)
                watched.head = watched.repository.resolve(watched.address.ref, watched.address.semver)
            self._succeeded(watched)
        except (errors.Handled, OSError) as error:
            watched.repository = None
            self._failed(watched, error)
        taken = self._time.monotonic() - started
        if watched.error is None:
            watched.due = self._time.monotonic() + max(watched.interval, taken * _SHARE)
        return before != (watched.head, watched.error and watched.error.message)

    def _look_at_copy(self, watched: Watched, path: Path) -> None:
        if watched._folder is None:
            watched._folder = folder.Folder(path, self.counters)
        head = None
        if git.is_repository(path):
            if watched.repository is None:
                watched.repository = git.Repository(path, self._home, self.counters)
            try:
                head = watched.repository.resolve(None)
            except errors.Stall:
                head = None  # no commit yet
        watched.copy = watched._folder.look(head)
        watched.head = watched.copy.revision

    async def _look_remote(self, same: list[Watched]) -> list[Watched]:
        before = [(watched.head, watched.error and watched.error.message) for watched in same]
        for watched in same:
            if watched.repository is None:
                self._reopen(watched)  # what was fetched before serves until the remote answers
        limits = functools.reduce(fetch.Limits.widened, (watched.limits for watched in same))
        secret = next((watched.secret for watched in same if watched.secret is not None), None)
        try:
            if await self._mirrors.look([watched.address for watched in same], limits, secret):
                for watched in same:
                    watched.repository = None
        except errors.Handled as error:
            for watched in same:
                self._failed(watched, error)
                self._reopen(watched)
        else:
            for watched in same:
                try:
                    self._reopen(watched, strict=True)
                    self._succeeded(watched)
                    watched.fetched_at = self._time.now_us()
                    watched.due = min(watched.due, self._time.monotonic() + self._spread(watched, watched.interval))
                except errors.Handled as error:
                    self._failed(watched, error)
        return [
            watched
            for watched, was in zip(same, before, strict=True)
            if was != (watched.head, watched.error and watched.error.message)
        ]

    def _reopen(self, watched: Watched, *, strict: bool = False) -> None:
        """Read the head from the mirror; unless `strict`, one that was never fetched is no matter."""
        try:
            if watched.repository is None:
                watched.repository = self._mirrors.open(watched.address)
            watched.head = watched.repository.resolve(watched.address.ref, watched.address.semver)
        except errors.Handled:
            if strict:
                raise

    def _succeeded(self, watched: Watched) -> None:
        if watched.error is not None:
            log.info("source is readable again", extra={"source": str(watched.address)})
        watched.error, watched.failures = None, 0

    def _failed(self, watched: Watched, error: BaseException | None) -> None:
        handled = error if isinstance(error, errors.Handled) else errors.Retry("SourceUnavailable", str(error))
        if watched.error is None or watched.error.message != handled.message:
            log.warning("source cannot be read", extra={"source": str(watched.address), "error": handled.message})
        watched.error = handled
        watched.failures += 1
        # What only a person can mend is looked at as often as if it were well.
        growth = 1 if isinstance(handled, errors.Stall) else 2 ** min(watched.failures - 1, 8)
        pause = self._spread(watched, min(MAX_BACKOFF, max(1.0, watched.interval) * growth))
        # A local repository that is missing or empty is usually about to be made.
        due = self._time.monotonic() + (min(pause, 2.0) if watched.address.local else pause)
        watched.due = due if watched.address.local else min(watched.due, due)

    def _spread(self, watched: Watched, pause: float) -> float:
        """A pause a little shorter or longer, always the same for the same address and number of looks."""
        named = f"{watched.address} {watched.failures} {self.counters.looks}"
        share = zlib.crc32(named.encode()) / 0xFFFFFFFF
        return pause * (1 + JITTER * (2 * share - 1))

    def snapshot(self, where: address.Address, revision: str, path: str) -> snapshot.Snapshot | None:
        """The tree at `path` of a revision seen at `where`; None if it cannot be read any more."""
        watched = self._watched.get(where)
        if watched is None:
            return None
        if watched.copy is not None and watched.copy.revision == revision:
            return watched.copy.below(path)
        if watched.repository is None:
            return None
        try:
            return watched.repository.snapshot(revision, path)
        except (KeyError, ValueError, snapshot.Damaged):
            return None

    def author(self, where: address.Address, revision: str) -> tuple[str | None, str | None]:
        """Who wrote a revision and its subject line, where it is a commit."""
        watched = self._watched.get(where)
        if watched is None or watched.repository is None or watched.copy is not None:
            return None, None
        try:
            return watched.repository.author(revision), watched.repository.subject(revision)
        except KeyError:
            return None, None
