"""The composition root: settings in, one running controller out.

The API answers as soon as the rows can be read. What is slow to import comes after it: first what reconciles, then what
executes runs (LangGraph, DBOS, providers). Runs asked for before that wait in their rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentos_controller import (
    audit,
    clock,
    database,
    egress,
    keys,
    logs,
    secrets,
    settings,
    tables,
)
from agentos_controller.api import app as api
from agentos_controller.api import parts
from agentos_controller.api import server as serving
from agentos_controller.runs import executor as executing
from agentos_controller.runs import queue
from agentos_controller.scheduling import loop as scheduling
from agentos_controller.source import address
from agentos_engine import errors

if TYPE_CHECKING:
    from agentos_controller.reconcile import loop as reconciling
    from agentos_controller.reconcile import options
    from agentos_controller.runs import services

READY = "AgentOS is ready at {address}"
"""The one line on standard output; scripts wait for it."""
STUCK_S = 30.0
"""A loop that did not come round for so long is not alive."""
FIRST_LOOK_S = 3.0
"""How long the ready line of a first start waits for the first round."""
LAUNCH_AT_LATEST_S = 20.0
"""After a restart, runs of before do not wait longer than this for a first round that takes its time."""
_RECONCILES = ("reconcile.loop",)
_EXECUTES = ("runs.durable", "runs.savers", "runs.work", "runs.services", "runs.recordings")
"""Imported after the API, in this order."""

_log = logging.getLogger(__name__)


def serve(chosen: settings.Settings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        settings.ConfigurationError: the settings or the environment do not allow a start.
    """
    logs.configure(chosen.log_level, chosen.log_format)
    _no_foreign_tracing()
    try:
        asyncio.run(_serve(chosen))
    except errors.Handled as refused:
        raise settings.ConfigurationError(refused.message) from None


async def _serve(chosen: settings.Settings) -> None:
    settings.prepare_state_directory(chosen.state_dir)
    listener = serving.listen(chosen)
    time = clock.SystemClock()
    db = database.Database(chosen.database_url, durable=chosen.durable)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(contextlib.closing(listener))
        await stack.enter_async_context(db.claim())
        stack.push_async_callback(db.close)
        await db.migrate()
        vault = secrets.Secrets(
            db,
            secrets.KeyRing.open(chosen.key_file),
            time,
            mount=secrets.Mounted(chosen.secrets_dir) if chosen.secrets_dir else None,
        )
        await vault.check()
        guard = egress.Egress(chosen.allow_egress)
        stack.push_async_callback(guard.close)
        known = keys.Keys(db, time, chosen.bootstrap_key)
        # Here, because the reconciler itself is made when it is too late to refuse a start.
        platform_source, described = _source(chosen)
        address.parse(platform_source).working_copy(chosen.dev)
        reconciler = _Reconciler(lambda: _reconciler(db, time, vault, guard, chosen))
        executor = executing.Executor(db, time, lambda: _world(db, time, vault, guard, chosen), flush=chosen.durable)
        scheduler = scheduling.Scheduler(db, time, executor)
        made_of = parts.Parts(
            database=db,
            clock=time,
            keys=known,
            secrets=vault,
            starter=executor,
            loops={
                "reconcile": reconciler.alive,
                "runs": executor.progress,
                "schedules": scheduler.progress,
            },
            counters={"reconcile": reconciler.counters},
            platform_webhook=_webhook(described),
        )
        server = serving.Server(api.create(made_of), made_of.stopping)
        async with server.running(listener):
            await _first_key(known, db, chosen)
            loops = asyncio.create_task(_loops(db, reconciler, scheduler, executor))
            ended = asyncio.create_task(server.ended())
            try:
                await _first_look(db, reconciler, loops)
                if not loops.done():
                    sys.stdout.write(READY.format(address=f"http://{serving.address_of(listener)}") + "\n")
                    sys.stdout.flush()
                _collect_from_here()
                await asyncio.wait({loops, ended}, return_when=asyncio.FIRST_COMPLETED)
                if loops.done():
                    loops.result()
            finally:
                loops.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await loops
                await executor.stop()


async def _loops(
    db: database.Database, reconciler: _Reconciler, scheduler: scheduling.Scheduler, executor: executing.Executor
) -> None:
    await reconciler.load()
    async with asyncio.TaskGroup() as group:
        group.create_task(reconciler.run(), name="reconcile")
        group.create_task(_execute(db, reconciler, executor), name="runs")
        group.create_task(scheduler.run(), name="schedules")


async def _execute(db: database.Database, reconciler: _Reconciler, executor: executing.Executor) -> None:
    restart = await _is_restart(db)
    if restart:
        await _import(_EXECUTES)
    with contextlib.suppress(TimeoutError), db.subscribe(queue.QUEUE) as asked:
        async with asyncio.timeout(LAUNCH_AT_LATEST_S if restart else None):
            # A long first round has the processors to itself, until somebody wants a run.
            while not (reconciler.synced or await asked.wait(0.01)):
                pass
    await _import(_EXECUTES)
    await executor.launch()
    await executor.run()


async def _first_look(db: database.Database, reconciler: _Reconciler, loops: asyncio.Task[None]) -> None:
    """On a first start, let the first round come before the ready line: who waits for the line finds resources.

    A long first round is not waited for; the API answers meanwhile, and says how far it is.
    """
    if await _is_restart(db):
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_LOOK_S):
            while not (reconciler.synced or loops.done()):  # noqa: ASYNC110  # tells of itself, not of changes
                await asyncio.sleep(0.01)


async def _is_restart(db: database.Database) -> bool:
    """Whether the first round will be short: from a long one, importing meanwhile would take its time."""
    async with db.read() as conn:
        return await conn.scalar(sa.select(tables.generation.c.seq).limit(1)) is not None


class _Reconciler:
    """The reconciler, loaded when the API answers already."""

    def __init__(self, make: Callable[[], Awaitable[reconciling.Reconciler]]) -> None:
        self._make = make
        self._made: reconciling.Reconciler | None = None

    async def load(self) -> None:
        self._made = await self._make()

    async def run(self) -> None:
        assert self._made is not None
        await self._made.run()

    @property
    def synced(self) -> bool:
        return self._made is not None and bool(self._made.progress()["synced"])

    def alive(self) -> dict[str, Any]:
        if self._made is None:
            return {"ok": True, "synced": False}
        progress = self._made.progress()
        return {"ok": progress["idleSeconds"] < STUCK_S, **progress}

    def counters(self) -> dict[str, float]:
        progress = self._made.progress() if self._made is not None else {}
        growing = ("rounds", "generations", "failures", "blobsRead", "treesRead", "looks", "fetches")
        return {name: float(progress.get(name, 0)) for name in growing}


async def _reconciler(
    db: database.Database,
    time: clock.Clock,
    vault: secrets.Secrets,
    guard: egress.Egress,
    chosen: settings.Settings,
) -> reconciling.Reconciler:
    await _import(_RECONCILES)
    from agentos_controller.reconcile import loop as reconciling
    from agentos_controller.reconcile import options

    source, described = _source(chosen)
    asked = options.Options(
        source=source,
        platform=described,
        state_dir=chosen.state_dir,
        dev=chosen.dev,
        poll_interval=chosen.poll_interval,
        drift_interval=chosen.drift_interval,
        workers=chosen.workers,
    )
    return reconciling.Reconciler(db, asked, time, dial=guard.dial, secret=_tokens(vault))


async def _import(names: tuple[str, ...]) -> None:
    """Import modules of ours in a thread, so that the loop goes on serving."""
    await asyncio.to_thread(_import_now, names)


def _import_now(names: tuple[str, ...]) -> None:
    gc.disable()
    try:
        for name in names:
            importlib.import_module(f"agentos_controller.{name}")
    finally:
        _collect_from_here()


def _collect_from_here() -> None:
    """Let the garbage collector work, and never look again at what imports have made: it stays, and it is much."""
    gc.freeze()
    gc.enable()


def _world(
    db: database.Database,
    time: clock.Clock,
    vault: secrets.Secrets,
    guard: egress.Egress,
    chosen: settings.Settings,
) -> services.World:
    from agentos_controller.runs import recordings, services

    return services.World(db, time, vault, guard, recordings.of(chosen.record, chosen.replay))


def _tokens(vault: secrets.Secrets) -> options.Secret:
    async def token(tenant_id: str, name: str, host: str) -> str:
        try:
            return await vault.resolve(tenant_id, name, [host])
        except (secrets.SecretMissing, secrets.SecretBound) as refused:
            raise errors.Stall("SourceUnavailable", str(refused)) from None

    return token


def _no_foreign_tracing() -> None:
    """LangChain would send what runs say to whoever these variables name, past the egress guard."""
    for name in [name for name in os.environ if name.startswith(("LANGSMITH_", "LANGCHAIN_"))]:
        del os.environ[name]


def _source(chosen: settings.Settings) -> tuple[str, Mapping[str, Any]]:
    """The platform's source: its address with `#ref`, and what a file says of it beside that."""
    assert chosen.source is not None
    path, hash_, ref = chosen.source.partition("#")
    if "://" in path:
        return chosen.source, {}
    if not path.endswith((".yaml", ".yml")):
        return str(Path(path).expanduser().resolve()) + hash_ + ref, {}
    from agentos_controller.reconcile import platform

    described = platform.read(Path(path).expanduser().resolve())
    spec = described["sources"][0]
    return spec["git"].removeprefix("file://") + (f"#{spec['ref']}" if spec["ref"] else ""), described


def _webhook(described: Mapping[str, Any]) -> str | None:
    """The secret that signs deliveries about the platform's own source."""
    spec: Mapping[str, Any] = next(iter(described.get("sources", ())), {})
    return (spec.get("webhook") or {}).get("secret")


async def _first_key(known: keys.Keys, db: database.Database, chosen: settings.Settings) -> None:
    """Where there is no key yet and none to begin with, make one and leave it to the user who serves."""
    if chosen.bootstrap_key is not None:
        return
    async with db.write() as conn:
        if await conn.scalar(sa.select(sa.func.count()).select_from(tables.api_key)):
            return
        made = await known.create(conn, tenant_id=None, name="admin", permissions=["admin"], created_by="serve")
        await audit.append(conn, None, "serve", "key.create", f"key/{made.id}", None, "applied", {"name": "admin"})
        path = chosen.state_dir / settings.ADMIN_KEY_FILE
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(made.text + "\n")
    shown = f": {made.text}" if chosen.dev else ""
    sys.stderr.write(f"The first admin key is in {path}, where `agentos` finds it{shown}\n")
