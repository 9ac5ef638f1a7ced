"""The loop: looks at repositories, takes commands, and works through the tenants that need a round.

The queue holds tenants, not events: whatever woke the loop, a round compares what is with what should be. One tenant's
failure pauses that tenant, with growing pauses, and no other. The platform's tenant goes first, because it decides
which others there are. Liveness is progress of this loop, see `progress`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from agentos_controller import clock
from agentos_controller.apply import access
from agentos_controller.database import Database
from agentos_controller.reconcile import (
    commands,
    estate,
    expiry,
    heads,
    heal,
    jobs,
    lanes,
    movement,
    options,
    planning,
    queue,
    repositories,
    rounds,
    ruling,
    statuses,
    values,
    wakes,
)
from agentos_controller.source import address, reach, snapshot
from agentos_engine import errors

log = logging.getLogger(__name__)

FIRST_LOOK = 10.0
"""Seconds after which the first round counts as made although a remote has not answered yet."""
SLOW_POLL = 5.0
"""Seconds after which commands are looked for without having been woken."""
MANY = 32
"""Files of the platform's source, Tenants among them, that announce much to do: worker processes start at once."""


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
        chosen: options.Options,
        time: clock.Clock,
        *,
        dial: reach.Dial | None = None,
        secret: options.Secret | None = None,
    ) -> None:
        self.counts = Counts()
        self._db = db
        self._options = chosen
        self._time = time
        self._secret = secret
        self._rules = estate.Rules(allow_loopback_http=chosen.allow_loopback_http, platform=chosen.platform)
        self._where = address.parse(chosen.source, allow_loopback_http=chosen.allow_loopback_http)
        copy = self._where.working_copy(chosen.dev)
        self.repositories = repositories.Repositories(chosen.state_dir, time, dial=dial, working_copy=copy)
        self._rulings = ruling.Rulings(self.repositories)
        self._queue = queue.Queue(time)
        self._lanes = lanes.Lanes(chosen.workers, self._ended, time, chosen.limits)
        self._expiry = expiry.Watch(db, time)
        self._drift = heal.Watch(db, time, chosen.drift_interval)
        self._estate: estate.Estate | None = None
        self._stale = False
        """The estate has to be read anew; until then rounds under way go by the one before, which `write.guard` and
        the guard of sources catch where it matters."""
        self._open: list[commands.Taken] = []
        self._wake: Callable[[], None] | None = None
        self._worked = 0
        self._started = time.monotonic()
        self._policies: jobs.Policies = {}
        self._last_round = time.monotonic()
        self._first_done = False
        self._slow_due = 0.0

    def progress(self) -> dict[str, Any]:
        """How the loop does: seconds since it last came round, whether everything was looked at once, what waits."""
        read = snapshot.Counters()
        for counters in (self.repositories.counters, *self._lanes.counters):
            read.add(counters)
        return {
            "idleSeconds": self._time.monotonic() - self._last_round,
            "synced": self._first_done,
            "queued": len(self._queue) + len(self._lanes.busy),
            "rounds": self.counts.rounds,
            "generations": self.counts.generations,
            "failures": self.counts.failures,
            "blobsRead": read.blobs,
            "treesRead": read.trees,
            "looks": read.looks,
            "fetches": read.fetches,
            "drifted": self._drift.drifted,
            "unhealed": self._drift.unhealed,
        }

    async def run(self) -> None:
        """Reconcile until cancelled."""
        channels = ("commands", "sources")
        self._lanes.begin()
        with self._db.subscribe(*channels) as woken, self._db.subscribe(*channels) as asked:
            self._wake = woken.wake  # for looks and rounds that end: they ask for nothing that has to be read
            try:
                async with asyncio.TaskGroup() as group:
                    if self._options.dev and self._where.local:
                        group.create_task(self._watch_files())
                    while True:
                        try:
                            await self._step()
                        except Exception:
                            _unless_cancelled()
                            # A bug or the database: nothing is lost, because the next step starts from what is.
                            log.exception("round failed")
                            self.counts.failures += 1
                            self._stale = True
                            await woken.wait(1.0)
                            continue
                        waiting = self._queue.next_due(self._lanes.busy)
                        slow = self._slow_due - self._time.monotonic()
                        ends = min(self._expiry.due_in(), self._drift.due_in())
                        pause = min(self.repositories.next_due(), waiting, ends, slow)
                        await woken.wait(max(pause, 0.0) + 0.001)
                        if await asked.wait(0):
                            self._slow_due = 0.0
            finally:
                await self.stop()

    async def stop(self) -> None:
        """Break off what is under way. Nothing is lost."""
        await self._lanes.stop()
        await self.repositories.stop()

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
        """Everything that is due, and what follows from it, to its end; whether anything was done."""
        worked = self._worked
        while await self._step() or self.repositories.looking or self._lanes.busy:
            await self.repositories.ended()
            await self._lanes.ended()
        return self._worked != worked

    async def _step(self) -> bool:
        """One turn: see what moved and what was asked for, begin what is due, answer what is done.

        Whether something is due already again.
        """
        self._last_round = self._time.monotonic()
        if self._estate is None or self._stale:
            await self._reload()
        await self._end_what_is_over()
        await self._take_commands()
        self.repositories.start(self._ended)
        if moved := self.repositories.moved():
            await self._enqueue(moved)
        await self._work()
        await self._answer()
        if not self._first_done and not self._lanes.busy and not len(self._queue):
            late = self._time.monotonic() - self._started > FIRST_LOOK
            self._first_done = late or not self.repositories.looking
        if self._first_done:
            await self._compare()
        self._last_round = self._time.monotonic()
        due = self._queue.next_due(self._lanes.busy) <= 0
        return self._stale or due or (self._first_done and self._drift.due_in() <= 0)

    def _ended(self) -> None:
        """A look or a round in the background has ended."""
        if self._wake is not None:
            self._wake()

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

    async def _load(self) -> frozenset[str]:
        """Read the estate, and queue the tenants in which something other than a file has changed.

        Gives those whose rounds are under way and are right as they are: they need no other.
        """
        if not self._first_done:
            spec: Mapping[str, Any] = next(iter(self._options.platform.get("sources", ())), {})
            await estate.ensure_platform(self._db, self._where, spec, self._time.now_us())
        fresh = await estate.load(self._db, self._rules)
        kept = fresh.keep(self._estate, self._lanes.busy) if self._estate is not None else frozenset[str]()
        self._estate = fresh
        self.repositories.watch(self._options.wanted(self._estate, self._secret))
        policies = await rounds.platform_policies(self._db, self._estate.platform.id)
        if policies != self._policies:
            self._policies, kept = policies, frozenset()
        for tenant in self._estate.tenants.values():
            if tenant.id in kept:
                continue
            if rounds.needs_whole(tenant, self._policies) or tenant.state == "deleting":
                self._queue.add(tenant.id)
            for source in tenant.sources:
                if source.error is not None and source.message != source.error.message:
                    self._queue.add(tenant.id)
        return kept

    async def _enqueue(self, moved: Iterable[repositories.Watched], but: Set[str] = frozenset()) -> None:
        """Queue the tenants that a new head concerns, all `but` those. Where it moved past a source, only the source's
        head moves."""
        found = heads.concerned(self._estate_now(), moved, self._rulings, self._queue.holds, but)
        for tenant_id in found.tenants:
            self._queue.add(tenant_id)
        if found.passed:
            await heads.pass_by(self._db, found.passed, self._time.now_us())

    async def _take_commands(self) -> None:
        if self._slow_due > self._time.monotonic():
            return
        self._slow_due = self._time.monotonic() + SLOW_POLL
        await self._take_wakes()
        under_way = {one.id for one in self._open}
        taken = await commands.take(self._db, self._estate_now(), self._time, but=under_way)
        self._open += taken
        if taken:
            self._worked += len(taken)
            self._expiry.changed()
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
        await planning.pending(
            self._db, self._estate_now(), self._rulings, self._policies, self._lanes.isolated, self._time
        )

    async def _take_wakes(self) -> None:
        """Look at the repositories of sources that deliveries made due, and come back when the next one is."""
        now = self._time.now_us()
        woken = await wakes.take(self._db, now)
        for source in self._estate_now().sources if woken.sources else ():
            if source.id in woken.sources and source.address is not None:
                self.repositories.wake_all(source.address.url)
        if woken.upcoming is not None:
            self._slow_due = min(self._slow_due, self._time.monotonic() + (woken.upcoming - now) / clock.SECOND)

    async def _answer(self) -> None:
        """Answer the commands whose looks and rounds are done. A round that failed is tried again without them."""
        busy = self._lanes.busy
        done = [
            one
            for one in self._open
            if not any(source.address and self.repositories.outstanding(source.address) for source in one.looked)
            and not any(tenant_id in busy or self._queue.ready(tenant_id) for tenant_id in one.tenants)
        ]
        if done:
            await commands.finish(self._db, done, self._estate_now(), self._time)
            self._open = [one for one in self._open if one not in done]

    async def _work(self) -> None:
        """Begin the rounds that are due. The platform's tenant goes first, and is waited for: it decides which others
        there are."""
        while True:
            busy = self._lanes.busy
            due = [tenant_id for tenant_id in self._queue.due() if tenant_id not in busy]
            platform = self._estate_now().platform
            if platform.id not in due:
                break
            self._queue.take([platform.id])
            await self._tenant(platform.id)
            if self._stale:
                await self._reload()
        self._queue.take(due)
        for tenant_id in due:
            if tenant_id in self._estate_now().tenants:
                self._lanes.start(tenant_id, functools.partial(self._tenant, tenant_id))
        if not self._lanes.busy:
            self._lanes.cool()

    async def _compare(self) -> None:
        """The next slice of what is applied against what is stored, of a tenant that nothing else works on."""
        tenants = self._estate_now().tenants
        due = self._drift.next(tenants, lambda one: one in self._lanes.busy or self._queue.ready(one))
        if due is None or self._stale:
            return
        try:
            healed = await self._drift.slice(tenants[due], functools.partial(self._anew, tenants[due]))
        except Exception:
            _unless_cancelled()
            self.counts.failures += 1
            log.exception("comparing failed", extra={"tenant": tenants[due].name})
            self._drift.failed()
            return
        if healed.objects:
            self._worked += 1
            self._stale |= healed.tenants
            self._db.notify("generations")
            self._db.notify("changes")
        if healed.whole:
            self._queue.add(due, force=True)

    async def _anew(self, tenant: estate.Tenant) -> values.Built:
        """What a build of the whole tenant gives where nothing is stored."""
        views = movement.look(tenant, self._rulings)
        now = self._time.now_us()
        where = self._lanes.isolated
        prepared = await rounds.prepare(self._db, tenant, views, self._policies, where, force=True, now=now, obey=False)
        prepared.job = dataclasses.replace(prepared.job, stored={})
        if prepared.size > jobs.BULK:
            async with self._lanes.bulk():
                return await prepared.build(self._lanes.bulky)
        return await prepared.build(where)

    async def _reload(self) -> None:
        """Read the estate anew and compare all of it with what its repositories have."""
        self._stale = False
        kept = await self._load()
        self.repositories.start(self._ended)
        moved = self.repositories.moved()
        await self._enqueue(self.repositories.all(), kept)
        if kept and moved:
            await self._enqueue(moved)

    async def _tenant(self, tenant_id: str) -> None:
        """One tenant's round, in the lane where it belongs."""
        tenant = self._estate_now().tenants[tenant_id]
        try:
            if not rounds.needs_whole(tenant, self._policies):
                async with self._lanes.small():
                    return await self._one(tenant_id, bulk=False)
        except _Bulk:
            pass
        async with self._lanes.bulk():
            return await self._one(tenant_id, bulk=True)

    async def _one(self, tenant_id: str, *, bulk: bool) -> None:
        """One tenant's round; its failure is its own.

        Raises:
            _Bulk: it is too much for the lane of small rounds.
        """
        tenant = self._estate_now().tenants.get(tenant_id)
        if tenant is None:
            return
        started = self._time.monotonic()
        force = self._queue.forced(tenant_id)
        try:
            outcome = await self._round(tenant, force, bulk=bulk)
        except _Bulk:
            self._queue.force(tenant_id, force)
            raise
        except errors.Wait as wait:
            log.info("tenant waits", extra={"tenant": tenant.name, "reason": wait.message})
            self._queue.again(tenant_id, force=force)
            return
        except Exception as error:
            _unless_cancelled()
            self.counts.failures += 1
            log.exception("tenant failed", extra={"tenant": tenant.name})
            if isinstance(error, snapshot.Damaged):
                for source in tenant.sources:
                    if source.address is not None:
                        self.repositories.doubt(source.address)
            self._queue.again(tenant_id, force=force)
            with contextlib.suppress(Exception):
                await statuses.failed(self._db, tenant_id, error, self._time.now_us())
            return
        finally:
            self._last_round = self._time.monotonic()
        self._queue.done(tenant_id)
        self.counts.rounds += 1
        self.counts.seconds += self._time.monotonic() - started
        if outcome.generation:
            self.counts.generations += 1
            self._db.notify("generations")
        if outcome.written:
            self._worked += 1
            self._db.notify("changes")
        if outcome.ends:
            self._expiry.changed()
        if outcome.tenants_changed or self._estate_now().tenants.get(tenant_id) is not tenant:
            self._stale = True

    async def _round(self, tenant: estate.Tenant, force: bool, *, bulk: bool) -> rounds.Outcome:
        """Prepare, build, finish."""
        now = self._time.now_us()
        self._all_looked_at(tenant)
        views = movement.look(tenant, self._rulings) if tenant.state != "deleting" else []
        where = self._lanes.isolated
        prepared = await rounds.prepare(self._db, tenant, views, self._policies, where, force=force, now=now)
        if prepared.size > jobs.BULK and not bulk:
            raise _Bulk
        much = bulk and prepared.size * self._lanes.heavy > jobs.BULK
        built = await prepared.build(self._lanes.bulky if much else where)
        if built.names_tenants and prepared.size > MANY:
            self._lanes.warm()
        if tenant.platform:
            owner = access.RESERVED if await rounds.names_tenants(self._db, prepared, built) else access.DEFAULT
            if owner != tenant.name:
                await self._lanes.drained()
                await estate.hand_over(self._db, self._estate_now(), owner, now)
                return rounds.Outcome(written=True, tenants_changed=True)
        outcome = await rounds.finish(self._db, prepared, built, now)
        if tenant.platform and outcome.generation:
            policies = await rounds.platform_policies(self._db, tenant.id)
            if policies != self._policies:
                # Every other tenant is judged anew; `_load` sees which.
                outcome.tenants_changed = True
        return outcome

    def _all_looked_at(self, tenant: estate.Tenant) -> None:
        """Refuse a round on half of what a tenant asks for.

        Raises:
            errors.Wait: the first look at one of its sources is under way.
        """
        for source in tenant.sources:
            watched = self.repositories.get(source.address) if source.address is not None else None
            if watched is not None and not watched.looked_at and not source.suspended:
                raise errors.Wait("Reconciling", f"source {source.name} is being looked at for the first time")


class _Bulk(Exception):
    """A round is too much for the lane of small ones."""


def _unless_cancelled() -> None:
    """End here if the task is being cancelled: a library may have turned that into an error of its own."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
