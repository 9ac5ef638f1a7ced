"""A world for the API's tests: parts over a real database, tenants with a row of everything, and keys."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from agentos_controller import audit, bulk, clock, database, ids, keys, secrets, tables
from agentos_controller.api import app, deliveries, parts
from agentos_controller.views import blobs, paging
from agentos_engine import artifacts, conditions

REVISION = "a" * 40
HEAD = "b" * 40
ARTIFACTS: tuple[tuple[artifacts.Type, str, dict[str, Any]], ...] = (
    ("graph", "Agent/echo", {"form": "agent", "name": "echo"}),
    (
        "graph",
        "Workflow/flow",
        {"form": "workflow", "name": "flow", "input": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    ),
    ("connector", "Connector/crm", {"name": "crm"}),
    ("schedule", "Schedule/daily", {"cron": "0 7 * * *", "timezone": "UTC"}),
)


MADE = {name: artifacts.Artifact(type_, name, body) for type_, name, body in ARTIFACTS}


def digest(text: str) -> str:
    return artifacts.digest_of(text)


def artifact(name: str) -> str:
    """The digest of the artifact of a resource, ``Kind/name``."""
    return MADE[name].digest if name in MADE else digest(f"artifact {name}")


@dataclass(frozen=True)
class Tenant:
    """A seeded tenant and the ids of what is in it."""

    id: str
    name: str
    source: str
    run: str
    waiting: str
    approval: str
    plan: str
    command: str
    key: str


def packed(stop: conditions.Stop | None = None, revision: str = REVISION, now: int = 1) -> list[Any]:
    """The stored conditions of a resource that stopped there, or passed."""
    made = conditions.summarize(previous=(), desired_revision=revision, applied_revision=REVISION, stop=stop, now=now)
    return [condition.pack() for condition in made]


def resource(tenant_id: str, source_id: str, kind: str, name: str, **changes: Any) -> dict[str, Any]:
    """A row of `resource` that is Ready."""
    own = digest(f"{kind}/{name}")
    row: dict[str, Any] = {
        "tenant_id": tenant_id,
        "kind": kind,
        "name": name,
        "source_id": source_id,
        "path": f"agents/{name}.yaml",
        "line": 1,
        "document": 0,
        "labels": {},
        "annotations": {},
        "desired_digest": own,
        "desired_revision": REVISION,
        "applied_digest": own,
        "artifact_digest": artifact(f"{kind}/{name}"),
        "applied_revision": REVISION,
        "applied_seq": 1,
        "interface": {"effect": "read"},
        "files": [],
        "ready": "True",
        "reason": "Ready",
        "message": "",
        "conditions": packed(),
        "updated_at": 1,
    }
    return row | changes


def stalled(message: str = "no such model", reason: str = "UnknownReference") -> dict[str, Any]:
    """The columns of a resource that is stalled."""
    stop = conditions.Stop("Resolved", reason, message)
    return {"ready": "False", "reason": reason, "message": message, "conditions": packed(stop)}


class World:
    """Parts over `db`, and the application made of them."""

    def __init__(
        self,
        db: database.Database,
        time: clock.Clock,
        directory: Path,
        *,
        mount: secrets.Mounted | None = None,
        max_body: int = 1024 * 1024,
        receiving: deliveries.Limits | None = None,
        **given: Any,
    ) -> None:
        self.db = db
        self.clock = time
        self.keys = keys.Keys(db, time)
        self.secrets = secrets.Secrets(db, secrets.KeyRing.open(directory / "secrets.key"), time, mount=mount)
        self.parts = parts.Parts(db, time, self.keys, self.secrets, **given)
        self.app = app.create(self.parts, max_body=max_body, receiving=receiving)
        self._numbers = itertools.count(1)

    async def new_key(
        self,
        permissions: Collection[str] = ("admin",),
        tenant_id: str | None = None,
        roles: Collection[str] = (),
        **more: Any,
    ) -> keys.Created:
        async with self.db.write() as conn:
            return await self.keys.create(
                conn,
                tenant_id=tenant_id,
                name=f"key {next(self._numbers)}",
                permissions=permissions,
                roles=roles,
                created_by="test",
                **more,
            )

    async def key(self, *given: Any, **more: Any) -> str:
        """The text of a new key; arguments as `new_key`."""
        return (await self.new_key(*given, **more)).text

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        """A client that sends `key`, without a socket between."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://api", headers=_headers(key))

    @contextlib.asynccontextmanager
    async def served(self, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
        """A client over a real socket, for streams."""
        config = uvicorn.Config(self.app, host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="none")
        server = uvicorn.Server(config)
        with contextlib.ExitStack() as bound:
            # As `wiring` does it: the protocol is named, so that asyncio turns Nagle off.
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            bound.enter_context(contextlib.closing(listener)).bind(("127.0.0.1", 0))
            listener.listen()
            serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
            host, port = listener.getsockname()[:2]
            try:
                async with httpx.AsyncClient(
                    base_url=f"http://{host}:{port}", headers=_headers(key), timeout=20
                ) as client:
                    yield client
            finally:
                self.parts.stopping.set()
                server.should_exit = True
                await serving

    async def insert(self, table: Any, *rows: Mapping[str, Any]) -> None:
        async with self.db.write() as conn:
            await bulk.insert_many(conn, table, rows)

    async def tenant(self, name: str, **changes: Any) -> str:
        """A tenant without anything; its id."""
        tenant_id = ids.new()
        row: dict[str, Any] = {
            "id": tenant_id,
            "name": name,
            "platform": False,
            "spec": {},
            "state": "active",
            "conditions": [],
            "ready": "True",
            "created_at": 1,
        }
        await self.insert(tables.tenant, row | changes)
        return tenant_id

    async def source(self, tenant_id: str, name: str = "main", **changes: Any) -> str:
        source_id = ids.new()
        row: dict[str, Any] = {
            "id": source_id,
            "tenant_id": tenant_id,
            "name": name,
            "url": "https://git.example/x.git",
            "ref": "main",
            "path": ".",
            "position": 0,
            "head": HEAD,
            "fetched_at": 2,
            "failures": 0,
            "conditions": [],
            "ready": "True",
        }
        await self.insert(tables.source, row | changes)
        return source_id

    async def generation(self, tenant_id: str, seq: int, state: str = "applied", **changes: Any) -> None:
        row: dict[str, Any] = {
            "tenant_id": tenant_id,
            "seq": seq,
            "revision": REVISION,
            "state": state,
            "cause": {"type": "push"},
            "actor": "system",
            "changes": 1,
            "applied_at": seq,
        }
        await self.insert(tables.generation, row | changes)

    async def item(self, tenant_id: str, kind: str, name: str, start: int, end: int | None = None) -> None:
        """A stretch of generations, from `start` up to before `end`, in which one digest stood."""
        row = {
            "tenant_id": tenant_id,
            "kind": kind,
            "name": name,
            "from_seq": start,
            "to_seq": end,
            "digest": digest(f"{kind}/{name} {start}"),
            "artifact_digest": artifact(f"{kind}/{name}"),
            "path": f"agents/{name}.yaml",
            "line": 1,
            "revision": REVISION,
        }
        await self.insert(tables.generation_item, row)

    async def change(self, tenant_id: str, *seqs: int) -> None:
        """Changes of the log, with these numbers; wakes who watches."""
        row = {
            "tenant_id": tenant_id,
            "kind": "Agent",
            "name": "echo",
            "type": "changed",
            "ready": "True",
            "reason": "Ready",
            "digest": digest("x"),
            "revision": REVISION,
        }
        await self.insert(tables.change, *({**row, "seq": seq, "at": seq} for seq in seqs))
        self.db.notify("changes")

    async def run(self, tenant_id: str, **changes: Any) -> str:
        """A run that ended, or as `changes` has it."""
        run_id = ids.new()
        row: dict[str, Any] = {
            "id": run_id,
            "tenant_id": tenant_id,
            "thread_id": ids.new(),
            "target_kind": "Workflow",
            "target_name": "flow",
            "target_digest": digest("flow"),
            "generation": 2,
            "revision": REVISION,
            "digest": artifact("Workflow/flow"),
            "state": "succeeded",
            "outcome": "done",
            "interactive": False,
            "segment": 0,
            "fence": 1,
            "priority": 0,
            "cause": {"type": "api"},
            "actor": "test",
            "input": {"n": 1},
            "output": {"n": 2},
            "tokens_in": 3,
            "tokens_out": 4,
            "cost": 1_500_000,
            "steps": 1,
            "attempts": 1,
            "created_at": 1,
            "started_at": 2,
            "ended_at": 3,
            "updated_at": 3,
        }
        await self.insert(tables.run, row | changes)
        return run_id

    async def approval(self, tenant_id: str, run_id: str, **changes: Any) -> str:
        approval_id = ids.new()
        row: dict[str, Any] = {
            "id": approval_id,
            "tenant_id": tenant_id,
            "run_id": run_id,
            "segment": 0,
            "interrupt_id": ids.new(),
            "step_path": "consent",
            "requested_of": ["role/lead"],
            "show": {"sum": 5},
            "quorum": 1,
            "votes": [],
            "state": "open",
            "created_at": 1,
        }
        await self.insert(tables.approval, row | changes)
        return approval_id

    async def event(self, tenant_id: str, run_id: str, seq: int, type_: str, **changes: Any) -> None:
        """An event of a run; wakes who follows it."""
        row = {"run_id": run_id, "seq": seq, "tenant_id": tenant_id, "type": type_, "data": {}, "at": seq}
        await self.insert(tables.run_event, row | changes)
        self.db.notify(f"run:{run_id}")

    async def populate(self, name: str) -> Tenant:
        """A tenant with a row of everything; what is in it is called alike in every tenant."""
        tenant_id = await self.tenant(name, active_seq=2)
        source_id = await self.source(tenant_id)
        await self.generation(tenant_id, 1, "superseded", source_id=source_id)
        await self.generation(tenant_id, 2, source_id=source_id)
        await self.item(tenant_id, "Agent", "echo", 1)
        await self.item(tenant_id, "Workflow", "flow", 1, 2)
        await self.item(tenant_id, "Workflow", "flow", 2)
        ready = [("Agent", "echo", {"labels": {"team": "growth"}}), ("Connector", "crm", {})]
        for kind, called, changes in [*ready, ("Workflow", "flow", stalled())]:
            await self.insert(tables.resource, resource(tenant_id, source_id, kind, called, **changes))
        of = {"tenant_id": tenant_id}
        label = {"key": "team", "value": "growth", "kind": "Agent", "name": "echo"}
        await self.insert(tables.resource_label, of | label)
        await self.insert(
            tables.dependency,
            of | {"to_kind": "Connector", "to_name": "crm", "from_kind": "Agent", "from_name": "echo"},
            of | {"to_kind": "Agent", "to_name": "echo", "from_kind": "Workflow", "from_name": "flow"},
        )
        for one in MADE.values():
            data = artifacts.canonical(one.body)
            row = {"digest": one.digest, "type": one.type, "name": one.name, "body": blobs.pack(one.body)}
            made = {"size": len(data), "compiler": artifacts.COMPILER, "first_at": 1}
            await self.insert(tables.artifact, of | row | made)
        place = {"source_id": source_id, "path": "agents/flow.yaml", "number": 0, "line": 7, "col": 9, "revision": HEAD}
        what = {"code": "UnknownReference", "severity": "error", "message": "no such model", "hint": "fast?"}
        await self.insert(tables.diagnostic, of | place | what | {"kind": "Workflow", "name": "flow"})
        await self.change(tenant_id, 1, 2)
        event = {"id": ids.new(), "kind": "Agent", "name": "echo", "type": "Normal", "reason": "Applied"}
        event |= {"message": "applied", "message_hash": digest("applied"), "revision": REVISION, "path": "a.yaml"}
        counted = {"hour": 0, "line": 1, "count": 3, "first_at": 1, "last_at": 2}
        await self.insert(tables.event, of | event | counted)
        run_id = await self.run(tenant_id)
        step = {"run_id": run_id, "path": "pull", "attempt": 1, "number": 1, "type": "set", "state": "succeeded"}
        spent = {"fence": 1, "tokens_in": 0, "tokens_out": 0, "cost": 0, "started_at": 1, "ended_at": 2}
        await self.insert(tables.run_step, of | step | spent | {"input": {"a": 1}, "output": [1]})
        await self.event(tenant_id, run_id, 1, "run.created")
        await self.event(tenant_id, run_id, 2, "run.succeeded")
        waiting = await self.run(tenant_id, state="waiting", outcome=None, output=None, ended_at=None)
        approval_id = await self.approval(tenant_id, waiting)
        schedule = {"name": "daily", "artifact_digest": artifact("Schedule/daily"), "last_tick": 1}
        await self.insert(tables.schedule_state, of | schedule | {"next_tick": 2, "suspended": False, "misses": 0})
        fire = {"schedule": "daily", "tick": 1, "decision": "started", "run_id": run_id, "lateness": 1_500_000}
        await self.insert(tables.fire, of | fire | {"at": 1})
        created = await self.new_key(("read",), tenant_id)
        plan = {"id": ids.new(), "base_seq": 2, "head": REVISION, "digest": digest("plan"), "summary": {"changed": 1}}
        lists = {"changes": blobs.pack([{"action": "changed"}]), "diagnostics": blobs.pack([]), "state": "open"}
        await self.insert(tables.plan, of | plan | lists | {"requested_by": "test", "created_at": 1, "expires_at": 2})
        command = {"id": ids.new(), "type": "reconcile", "args": {}, "state": "done", "actor": "test"}
        await self.insert(tables.command, of | command | {"result": {}, "created_at": 1, "started_at": 1, "done_at": 2})
        async with self.db.write() as conn:
            await self.secrets.put(conn, tenant_id, "token", "a-secret-value", "test")
            await audit.append(conn, tenant_id, "test", "world.made", f"Tenant/{name}", None, "done", {})
        return Tenant(
            tenant_id,
            name,
            source_id,
            run_id,
            waiting,
            approval_id,
            str(plan["id"]),
            str(command["id"]),
            created.id,
        )


def _headers(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem an answer is, after checking that it is one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:agentos:problem:{code}"
    assert document["code"] == code
    assert document["status"] == status
    assert document["requestId"] == answer.headers["x-request-id"]
    assert document["title"]
    assert document["detail"]
    return document


async def pages(client: httpx.AsyncClient, path: str, **params: Any) -> list[dict[str, Any]]:
    """All items of a list, page after page."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = await client.get(path, params={**params, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= params.get("limit", paging.MAX_LIMIT)
        found += page["items"]
        cursor = page["nextCursor"]
        if cursor is None:
            return found
