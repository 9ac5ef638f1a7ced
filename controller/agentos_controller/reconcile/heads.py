"""Which tenants a new head of a repository concerns, and how it passes by the sources in which it changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from typing import Any

from agentos_controller import tables
from agentos_controller.database import Database
from agentos_controller.reconcile import estate, repositories, ruling


@dataclass(slots=True)
class Concerned:
    """`tenants` need a round; `passed` has by revision the sources whose folder is the same in it as before."""

    tenants: set[str] = field(default_factory=set)
    passed: dict[str, list[estate.Source]] = field(default_factory=dict)


def concerned(
    known: estate.Estate,
    moved: Iterable[repositories.Watched],
    rulings: ruling.Rulings,
    waits: Callable[[str], bool],
    but: Set[str] = frozenset(),
) -> Concerned:
    """What `moved` asks for of all tenants `but` those. One that `waits` for a round anyway has its sources looked at
    there."""
    by_address = {watched.address: watched for watched in moved}
    found, alike = Concerned(), dict[Any, ruling.Ruling]()
    for tenant in known.tenants.values():
        if tenant.id in but:
            continue
        for source in tenant.sources:
            watched = by_address.get(source.address) if source.address is not None else None
            if watched is None or source.suspended or not watched.looked_at:
                continue
            ruled = rulings.rule(source, alike)
            if ruled.stop is not None or source.message is not None or ruled.revision is None or ruled.rewritten:
                found.tenants.add(tenant.id)
            elif source.head != ruled.revision or source.tree is None:
                tree = rulings.known.snapshot(watched.address, ruled.revision, source.path)
                if tree is None or tree.tree != source.tree or tenant.id in found.tenants or waits(tenant.id):
                    found.tenants.add(tenant.id)
                else:
                    found.passed.setdefault(ruled.revision, []).append(source)
    return found


async def pass_by(db: Database, passed: dict[str, list[estate.Source]], now: int) -> None:
    """Let the sources be at revisions in which nothing of theirs changed."""
    table = tables.source
    async with db.write() as conn:
        for head, sources in passed.items():
            for start in range(0, len(sources), 500):
                part = [source.id for source in sources[start : start + 500]]
                columns = {"head": head, "observed": head, "fetched_at": now}
                await conn.execute(table.update().where(table.c.id.in_(part)).values(**columns))
    for head, sources in passed.items():
        for source in sources:
            source.head = source.observed = head
