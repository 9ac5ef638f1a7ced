"""The loop: looks at repositories, takes commands, and works through the tenants that need a round.

The queue holds tenants, not events: whatever woke the loop, a round compares what is with what should be. One tenant's
failure pauses that tenant, with growing pauses, and no other. The platform's tenant goes first, because it decides
which others there are. Liveness is progress of this loop, see `progress`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentos_controller import clock, tables
from agentos_controller.apply import access
from agentos_controller.database import Database
from agentos_controller.reconcile import (
    commands,
    estate,
    expiry,
    jobs,
    movement,
    planning,
    queue,
    repositories,
    rounds,
    statuses,
    workers,
)
from agentos_controller.source import address, fetch
from agentos_engine import errors

log = logging.getLogger(__name__)

SLOW_POLL = 5.0
"""Seconds after which commands are looked for without having been woken."""
MANY = 32
"""Files of the platform's source, Tenants among them, that announce much to do: worker processes start at once."""

Secret = Callable[[str, str, str], Awaitable[str]]
"""Tenant id, name and host to the value of a secret; raises `errors.Handled` if there is none that may go there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the operator decides. `source` is the platform's: a path or an https URL, with `#ref`."""

    source: str
    state_dir: Path
    dev: bool = False
    poll_interval: float = 60.0
    local_interval: float = repositories.LOCAL_INTERVAL
    workers: int = 2
    """Processes of a bulk; they live as long as it does."""
    allow_loopback_http: bool = False


@dataclass(slots=True)
class Counts:
    """What was done since the start, for metrics."""

    rounds: int = 0
    generations: int = 0
    failures: int = 0
    seconds: float = 0.0


class Reconciler:
    """Reconciles everything there is, for as long as `run` runs. One per process, and one process at a time."""

    def __init__(
        self,
        db: Database,
        options: Options,
        time: clock.Clock,
        *,
        dial: fetch.Dial | None = None,
        secret: Secret | None = None,
    ) -> None:
        self.counts = Counts()
        self._db = db
        self._options = options
        self._time = time
        self._secret = secret
        self._rules = estate.Rules(allow_loopback_http=options.allow_loopback_http)
        self._where = address.parse(options.source, allow_loopback_http=options.allow_loopback_http)
        copy = self._where.working_copy(options.dev)
        self.repositories = repositories.Repositories(options.state_dir, time, dial=dial, working_copy=copy)
        self._queue = queue.Queue(time)
        self._pool = workers.Pool(options.workers)
        self._expiry = expiry.Watch(db, time)
        self._estate: estate.Estate | None = None
        self._policies: jobs.Policies = {}
        self._last_round = time.monotonic()
        self._first_done = False
        self._slow_due = 0.0

    def progress(self) -> dict[str, Any]:
        """How the loop does: seconds since it last came round, whether everything was looked at once, what waits."""
        return {
            "idleSeconds": self._time.monotonic() - self._last_round,
            "synced": self._first_done,
            "queued": len(self._queue),
            "rounds": self.counts.rounds,
            "generations": self.counts.generations,
            "failures": self.counts.failures,
            "blobsRead": self.repositories.counters.blobs,
            "treesRead": self.repositories.counters.trees,
            "fetches": self.repositories.counters.fetches,
        }

    async def run(self) -> None:
        """Reconcile until cancelled."""
        with self._db.subscribe("commands", "sources") as woken:
            async with asyncio.TaskGroup() as group:
                if self._options.dev and self._where.local:
                    group.create_task(self._watch_files())
                while True:
                    try:
                        await self.round()
                    except Exception:
                        _unless_cancelled()
                        # A bug or the database: nothing is lost, because the next round starts from what is.
                        log.exception("round failed")
                        self.counts.failures += 1
                        self._estate = None
                        await woken.wait(1.0)
                        continue
                    pause = min(self.repositories.next_due(), self._queue.next_due(), self._expiry.due_in(), SLOW_POLL)
                    if await woken.wait(max(pause, 0.0) + 0.001):
                        self._slow_due = 0.0

    async def _watch_files(self) -> None:
        """Wake the loop when a file of the working copy changes. Without it, polling notices a little later."""
        try:
            import watchfiles

            async for _changes in watchfiles.awatch(self._where.url, debounce=50, step=25, recursive=True):
                self.repositories.wake(self._where)
                self._db.notify("sources")
        except (OSError, RuntimeError, ImportError) as error:
            log.warning("files are not watched, only polled", extra={"error": str(error)})

    async def settle(self, limit: int = 20) -> None:
        """Make rounds until there is nothing left to do now. For tests and one-shot commands."""
        for _ in range(limit):
            self.repositories.wake()
            self._slow_due = 0.0
            if not await self.round():
                return

    async def round(self) -> bool:
        """One pass over everything that is due; whether anything was done."""
        self._last_round = self._time.monotonic()
        if self._estate is None:
            await self._reload()
        await self._end_what_is_over()
        taken = await self._take_commands()
        moved = await self.repositories.look()
        if moved:
            await self._enqueue(moved)
        worked = await self._work()
        if taken:
            await commands.finish(self._db, taken, self._estate_now(), self._time)
        if taken or worked:
            self._expiry.changed()
        self._first_done = True
        self._last_round = self._time.monotonic()
        return bool(taken) or worked

    async def _end_what_is_over(self) -> None:
        ended = await self._expiry.end()
        if ended.sources:
            await self._reload()
        for tenant_id in ended.tenants:
            if tenant_id in self._estate_now().tenants:
                self._queue.add(tenant_id, force=True)

    def _estate_now(self) -> estate.Estate:
        assert self._estate is not None
        return self._estate

    async def _load(self) -> None:
        if not self._first_done:
            await estate.ensure_platform(self._db, self._where, self._time.now_us())
        self._estate = await estate.load(self._db, self._rules)
        wanted = []
        for source in self._estate.sources:
            if source.address is not None:
                fallback = self._options.local_interval if source.address.local else self._options.poll_interval
                wanted.append((source.address, source.interval or fallback, self._token(source)))
        self.repositories.watch(wanted)
        self._policies = await rounds.platform_policies(self._db, self._estate.platform.id)
        for tenant in self._estate.tenants.values():
            if rounds.needs_whole(tenant, self._policies) or tenant.state == "deleting":
                self._queue.add(tenant.id)
            for source in tenant.sources:
                if source.error is not None and source.message != source.error.message:
                    self._queue.add(tenant.id)

    def _token(self, source: estate.Source) -> repositories.Token | None:
        secret, name, where = self._secret, source.secret_ref, source.address
        if secret is None or name is None or where is None or where.local:
            return None
        owner = self._estate_now().platform.id

        async def token() -> str:
            return await secret(owner, name, where.host)

        return token

    async def _enqueue(self, moved: Iterable[repositories.Watched]) -> None:
        """Queue the tenants that a new head concerns. Where it moved past a source, only the source's head moves."""
        by_address = {watched.address: watched for watched in moved}
        passed: dict[str, list[estate.Source]] = {}
        for tenant in self._estate_now().tenants.values():
            for source in tenant.sources:
                watched = by_address.get(source.address) if source.address is not None else None
                if watched is None or source.suspended:
                    continue
                if watched.error is not None or source.message is not None or watched.head is None:
                    self._queue.add(tenant.id)
                elif source.head != watched.head or source.tree is None:
                    tree = self.repositories.snapshot(watched.address, watched.head, source.path)
                    if tree is not None and tree.tree == source.tree and not self._queue.holds(tenant.id):
                        passed.setdefault(watched.head, []).append(source)
                    else:
                        self._queue.add(tenant.id)
        if passed:
            await self._pass(passed)

    async def _pass(self, passed: dict[str, list[estate.Source]]) -> None:
        table = tables.source
        async with self._db.write() as conn:
            for head, sources in passed.items():
                for start in range(0, len(sources), 500):
                    part = [source.id for source in sources[start : start + 500]]
                    values = {"head": head, "fetched_at": self._time.now_us()}
                    await conn.execute(table.update().where(table.c.id.in_(part)).values(**values))
        for head, sources in passed.items():
            for source in sources:
                source.head = head

    async def _take_commands(self) -> list[commands.Taken]:
        if self._slow_due > self._time.monotonic():
            return []
        self._slow_due = self._time.monotonic() + SLOW_POLL
        taken = await commands.take(self._db, self._estate_now(), self._time)
        if any(one.reloads for one in taken):
            await self._reload()
        for one in taken:
            if one.looks:
                for source in one.sources:
                    if source.address is not None:
                        self.repositories.wake(source.address)
            for tenant_id in one.tenants:
                self._queue.add(tenant_id, force=one.force)
        if any(one.generation for one in taken):
            self._db.notify("generations")
            self._db.notify("changes")
        await planning.pending(self._db, self._estate_now(), self.repositories, self._policies, self._time)
        return taken

    async def _work(self) -> bool:
        """Make the rounds of the queue: the platform's tenant alone and first, then the others."""
        try:
            return await self._work_off()
        finally:
            self._pool.cool()

    async def _work_off(self) -> bool:
        worked = False
        while due := self._queue.due():
            estate_now = self._estate_now()
            if estate_now.platform.id in due:
                self._queue.take([estate_now.platform.id])
                worked |= await self._one(estate_now.platform)
                if self._estate is None:
                    await self._reload()
                continue
            self._queue.take(due)
            tenants = [estate_now.tenants[tenant_id] for tenant_id in due if tenant_id in estate_now.tenants]
            worked |= await self._many(tenants)
            if self._estate is None:
                await self._reload()
        return worked

    async def _reload(self) -> None:
        """Read the estate anew and compare all of it with what its repositories have."""
        await self._load()
        await self.repositories.look()
        await self._enqueue(self.repositories.all())

    async def _many(self, tenants: list[estate.Tenant]) -> bool:
        """Rounds of several tenants: each in turn, or in worker processes when there is much to parse."""
        if len(tenants) == 1:
            return await self._one(tenants[0])
        async with self._pool.open() as pool, asyncio.TaskGroup() as group:
            limit = asyncio.Semaphore(2 * self._options.workers)
            tasks = []
            with _without_collector():
                for tenant in tenants:
                    await limit.acquire()
                    task = group.create_task(self._one(tenant, pool, len(tenants)))
                    task.add_done_callback(lambda _task: limit.release())
                    tasks.append(task)
                await asyncio.wait(tasks)
        return any(task.result() for task in tasks)

    async def _one(self, tenant: estate.Tenant, pool: workers.Open | None = None, of: int = 1) -> bool:
        """One tenant's round; whether anything was written. Its failure is its own."""
        started = self._time.monotonic()
        force = self._queue.forced(tenant.id)
        try:
            outcome = await self._round(tenant, force, pool, of)
        except errors.Wait as wait:
            log.info("tenant waits", extra={"tenant": tenant.name, "reason": wait.message})
            self._queue.again(tenant.id, force=force)
            return False
        except Exception as error:
            _unless_cancelled()
            self.counts.failures += 1
            log.exception("tenant failed", extra={"tenant": tenant.name})
            self._queue.again(tenant.id, force=force)
            with contextlib.suppress(Exception):
                await statuses.failed(self._db, tenant.id, error, self._time.now_us())
            return False
        finally:
            self._last_round = self._time.monotonic()
        self._queue.done(tenant.id)
        self.counts.rounds += 1
        self.counts.seconds += self._time.monotonic() - started
        if outcome.generation:
            self.counts.generations += 1
            self._db.notify("generations")
        if outcome.written:
            self._db.notify("changes")
        if outcome.tenants_changed:
            self._estate = None
        return outcome.written

    async def _round(self, tenant: estate.Tenant, force: bool, pool: workers.Open | None, of: int) -> rounds.Outcome:
        """Prepare, build, finish. `of` is how many tenants are due with this one: together they may be bulk."""
        now = self._time.now_us()
        views = movement.look(tenant, self.repositories) if tenant.state != "deleting" else []
        prepared = await rounds.prepare(self._db, tenant, views, self._policies, force=force, now=now)
        if prepared.size * of > jobs.BULK:
            if pool is None:
                async with self._pool.open() as own:
                    built = await own.build(prepared.job, prepared.recipes)
            else:
                built = await pool.build(prepared.job, prepared.recipes)
            self.repositories.counters.add(built.counters)
        else:
            built = rounds.build_here(prepared)
        if built.names_tenants and prepared.size > MANY:
            self._pool.warm()
        if tenant.platform:
            owner = access.RESERVED if await rounds.names_tenants(self._db, prepared, built) else access.DEFAULT
            if owner != tenant.name:
                await estate.hand_over(self._db, self._estate_now(), owner, now)
                return rounds.Outcome(written=True, tenants_changed=True)
        outcome = await rounds.finish(self._db, prepared, built, now)
        if tenant.platform and outcome.generation:
            policies = await rounds.platform_policies(self._db, tenant.id)
            if policies != self._policies:
                # Every other tenant is judged anew; `_load` sees which.
                outcome.tenants_changed = True
        return outcome


def _unless_cancelled() -> None:
    """End here if the task is being cancelled: a library may have turned that into an error of its own."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


@contextlib.contextmanager
def _without_collector() -> Any:
    """Bulk work makes many long-lived objects and little garbage: collecting meanwhile doubles its cost."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
