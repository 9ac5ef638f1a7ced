"""Keeps an eye on every repository: one look per address and round, however many sources read it.

A local repository is looked at often (resolving a ref costs microseconds), a remote one is fetched when it is due, in
the background: one that does not answer holds up nobody. A look that fails is repeated with growing pauses; what was
seen last stays usable. A working copy is one more sort of repository here. What a new head means is not decided here.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agentos_controller import clock
from agentos_controller.source import address, fetch, folder, git, snapshot
from agentos_engine import errors

log = logging.getLogger(__name__)

LOCAL_INTERVAL = 0.5
"""Seconds between two looks at a local repository."""
MAX_BACKOFF = 300.0
_SHARE = 40
"""A working copy is walked at most this part of the time, so that a large one does not keep the processor busy."""

Token = Callable[[], Awaitable[str | None]]


@dataclass(slots=True)
class Watched:
    """One address under watch. `head` is the last revision seen, `error` why the last look failed."""

    address: address.Address
    interval: float
    token: Token | None = None
    head: str | None = None
    error: errors.Handled | None = None
    failures: int = 0
    due: float = 0.0
    fetched_at: int | None = None
    repository: git.Repository | None = None
    copy: folder.FolderSnapshot | None = None
    _folder: folder.Folder | None = field(default=None, repr=False)


class Repositories:
    """All addresses under watch, by address. `working_copy` is the one local path read with uncommitted files."""

    def __init__(
        self,
        state: Path,
        time: clock.Clock,
        *,
        dial: fetch.Dial | None = None,
        working_copy: Path | None = None,
    ) -> None:
        self.counters = snapshot.Counters()
        self._time = time
        self._home = state / "git" / "home"
        self._mirrors = fetch.Mirrors(state / "git", dial=dial, counters=self.counters)
        self._working_copy = working_copy
        self._watched: dict[address.Address, Watched] = {}
        self._looks: dict[str, asyncio.Task[list[Watched]]] = {}
        self._moved: list[Watched] = []

    def watch(self, wanted: Iterable[tuple[address.Address, float, Token | None]]) -> None:
        """Watch exactly `wanted`: address, seconds between looks, where a token comes from."""
        before, self._watched = self._watched, {}
        for where, interval, token in wanted:
            watched = self._watched.get(where) or before.get(where) or Watched(where, interval)
            known = where in self._watched
            watched.interval = min(watched.interval, interval) if known else interval
            watched.token = watched.token or token if known else token
            self._watched[where] = watched

    def get(self, where: address.Address) -> Watched:
        return self._watched[where]

    def wake(self, where: address.Address | None = None) -> None:
        """Make an address (None: all) due at once."""
        for watched in self._watched.values() if where is None else [self._watched[where]]:
            watched.due = 0.0

    def wake_all(self, url: str) -> None:
        """Make every address of a repository due at once: a push may have moved any of its refs."""
        for watched in self._watched.values():
            if watched.address.url == url:
                watched.due = 0.0

    def all(self) -> list[Watched]:
        return list(self._watched.values())

    def next_due(self) -> float:
        """Seconds until the next look is due; 0 or less: now."""
        now = self._time.monotonic()
        return min((watched.due - now for watched in self._watched.values()), default=MAX_BACKOFF)

    def start(self, done: Callable[[], None]) -> None:
        """Look at everything that is due; `done` is called whenever a look in the background has ended."""
        now = self._time.monotonic()
        remote: dict[str, list[Watched]] = {}
        for watched in self._watched.values():
            if watched.due > now or watched.address.url in self._looks:
                continue
            if not watched.address.local:
                remote.setdefault(watched.address.url, []).append(watched)
            elif self._look_local(watched):
                self._moved.append(watched)
        for url, same in remote.items():
            self._begin(url, same, done)

    def _begin(self, url: str, same: list[Watched], done: Callable[[], None]) -> None:
        for watched in same:
            # Whatever wakes it from now on asks for another look.
            watched.due = math.inf

        def ended(task: asyncio.Task[list[Watched]]) -> None:
            del self._looks[url]
            if not task.cancelled():
                error = task.exception()
                for watched in same if error is not None else ():
                    self._failed(watched, error)
                self._moved += same if error is not None else task.result()
            done()

        self._looks[url] = task = asyncio.ensure_future(self._look_remote(same))
        task.add_done_callback(ended)

    def moved(self) -> list[Watched]:
        """Those in which something changed since the last call: the head, or whether it can be read."""
        moved, self._moved = self._moved, []
        return [watched for watched in moved if self._watched.get(watched.address) is watched]

    def outstanding(self, where: address.Address) -> bool:
        """Whether a look at `where` is due or under way."""
        watched = self._watched.get(where)
        return watched is not None and (where.url in self._looks or watched.due <= self._time.monotonic())

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
                watched.head = watched.repository.resolve(watched.address.ref)
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
        token = next((watched.token for watched in same if watched.token is not None), None)
        try:
            await self._mirrors.fetch(same[0].address, await token() if token is not None else None)
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
                    watched.due = min(watched.due, self._time.monotonic() + watched.interval)
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
            watched.head = watched.repository.resolve(watched.address.ref)
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
        pause = min(MAX_BACKOFF, max(1.0, watched.interval) * 2 ** min(watched.failures - 1, 8))
        # A local repository that is missing or empty is usually about to be made.
        due = self._time.monotonic() + (min(pause, 2.0) if watched.address.local else pause)
        watched.due = due if watched.address.local else min(watched.due, due)

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
        except (KeyError, ValueError):
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
