"""One controller over one real repository, driven round by round, and what it left in the database."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import ids, tables
from agentos_controller.reconcile import loop
from agentos_controller.reconcile import options as operating
from agentos_engine import errors
from tests.support import repos

MINE = ("tenant_id", "source_id", "id", "definitions")
"""Columns that differ between two databases with the same history."""


class World:
    """A reconciler over `repo`, with its state in `state` and in `db`."""

    def __init__(
        self,
        db: databases.Database,
        repo: repos.Repo,
        state: Path,
        clock: clocks.ManualClock,
        *,
        secrets: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.db = db
        self.repo = repo
        self.clock = clock
        here = {"source": str(repo.folder), "state_dir": state, "workers": 0}
        self.options = operating.Options(**{**here, **options})
        self.secrets = dict(secrets or {})
        self.restart()

    def restart(self) -> None:
        """A new process over the same database."""
        self.reconciler = loop.Reconciler(self.db, self.options, self.clock, secret=self._secret)

    async def _secret(self, tenant_id: str, name: str, host: str) -> str:
        if name not in self.secrets:
            raise errors.Stall("SourceUnauthorized", f"secret {name} is not set")
        return self.secrets[name]

    async def forget(self) -> None:
        """Let the next round build every tenant whole, as a new version of the compiler would."""
        async with self.db.write() as conn:
            await conn.execute(tables.setting.delete().where(tables.setting.c.key.startswith("reconciled/")))
        self.restart()

    async def settle(self) -> None:
        self.clock.advance(1)
        await self.reconciler.settle()

    async def commit(self, files: Mapping[str, str | bytes | None], message: str = "Change") -> str:
        revision = self.repo.commit(files, message)
        await self.settle()
        return revision

    async def rows(self, query: Any) -> list[Any]:
        async with self.db.read() as conn:
            return list((await conn.execute(query)).all())

    async def tenant(self, name: str = "default") -> Any:
        table = tables.tenant
        (row,) = await self.rows(sa.select(table).where(table.c.name == name, table.c.deleted_at.is_(None)))
        return row

    async def tenants(self) -> list[str]:
        table = tables.tenant
        return sorted(row.name for row in await self.rows(sa.select(table.c.name).where(table.c.deleted_at.is_(None))))

    async def resources(self, tenant: str = "default") -> dict[str, Any]:
        owner = await self.tenant(tenant)
        table = tables.resource
        rows = await self.rows(sa.select(table).where(table.c.tenant_id == owner.id))
        return {f"{row.kind}/{row.name}": row for row in rows}

    async def reasons(self, tenant: str = "default") -> dict[str, str]:
        return {name: row.reason for name, row in (await self.resources(tenant)).items()}

    async def ready(self, name: str, tenant: str = "default") -> tuple[str, str]:
        """Status and reason of Ready of a resource."""
        row = (await self.resources(tenant))[name]
        return row.ready, row.reason

    async def trail(self, action: str) -> list[Any]:
        """Entries of the audit trail, oldest first."""
        table = tables.audit
        return await self.rows(sa.select(table).where(table.c.action == action).order_by(table.c.seq))

    async def live(self, tenant: str = "default") -> dict[str, str]:
        """What serves: name to digest of the manifest."""
        return {name: digest for name, (digest, _artifact) in (await self.generation(tenant)).items()}

    async def generation(self, tenant: str = "default", seq: int | None = None) -> dict[str, tuple[str, str]]:
        """The content of a generation, of the live one with None: name to digests of manifest and artifact."""
        owner = await self.tenant(tenant)
        item = tables.generation_item
        query = sa.select(item).where(item.c.tenant_id == owner.id)
        if seq is None:
            query = query.where(item.c.to_seq.is_(None))
        else:
            query = query.where(item.c.from_seq <= seq, sa.or_(item.c.to_seq.is_(None), item.c.to_seq > seq))
        return {f"{row.kind}/{row.name}": (row.digest, row.artifact_digest) for row in await self.rows(query)}

    async def diagnostics(self) -> list[tuple[str, str, int]]:
        rows = await self.rows(sa.select(tables.diagnostic))
        return sorted((row.code, row.path, row.line) for row in rows)

    async def events(self, name: str) -> list[tuple[str, str]]:
        kind, _, of = name.partition("/")
        table = tables.event
        query = sa.select(table).where(table.c.kind == kind, table.c.name == of).order_by(table.c.id)
        return [(row.type, row.reason) for row in await self.rows(query)]

    async def command(self, type_: str, args: dict[str, Any] | None = None, tenant: str | None = "default") -> Any:
        """Write a command as the API does, let the loop carry it out; its row."""
        owner = (await self.tenant(tenant)).id if tenant is not None else None
        id_ = ids.new()
        row = {"id": id_, "tenant_id": owner, "type": type_, "args": args or {}, "state": "pending"}
        async with self.db.write() as conn:
            created = self.clock.now_us()
            await conn.execute(tables.command.insert(), {**row, "actor": "key:test", "created_at": created})
        await self.settle()
        (answer,) = await self.rows(sa.select(tables.command).where(tables.command.c.id == id_))
        return answer

    async def state(self) -> dict[str, list[Any]]:
        """Everything reconciling wrote that must not depend on how it got there."""
        out: dict[str, list[Any]] = {}
        for table in (tables.resource, tables.generation_item, tables.dependency, tables.resource_label):
            rows = await self.rows(sa.select(table))
            plain = [{key: value for key, value in row._mapping.items() if key not in MINE} for row in rows]
            out[table.name] = sorted(plain, key=str)
        found = await self.rows(sa.select(tables.diagnostic))
        out["diagnostic"] = sorted(
            (row.path, row.line, row.col, row.code, row.message, row.kind, row.name) for row in found
        )
        return out
