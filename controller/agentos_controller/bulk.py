"""Statements over many rows: one round of parameters instead of one statement each. Both databases, one text.

Rows of a first load count by the hundred thousand, so what goes in is encoded column by column and handed to the driver
as it is: SQLAlchemy writes each statement once, and does not look at every row again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import schema

Row = Mapping[str, Any]
_FIRST_LOAD = 500


async def insert_many(conn: AsyncConnection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert `rows`, which all have the same keys. A row that exists is an error."""
    if rows:
        await _put(conn, table, rows)


async def upsert_many(
    conn: AsyncConnection,
    table: sa.Table,
    rows: Sequence[Row],
    keys: Sequence[str],
    update: Sequence[str] = (),
    *,
    counting: str | None = None,
) -> None:
    """Insert `rows`, which all have the same keys; where `keys` exist already set the columns of `update`.

    Without `update` an existing row stays as it is. `keys` must be a primary key or a unique constraint of `table`.
    The column `counting` of an existing row goes up by one.
    """
    if rows:
        await _put(conn, table, rows, tuple(keys), tuple(update), counting)


async def update_many(conn: AsyncConnection, table: sa.Table, rows: Sequence[Row], keys: Sequence[str]) -> None:
    """In each row of `table` with the `keys` of a given row, set that row's other columns."""
    if rows:
        columns = tuple(name for name in rows[0] if name not in keys)
        statement = _update(table, tuple(keys), columns)
        await conn.execute(statement, [{f"p_{name}": value for name, value in row.items()} for row in rows])


async def delete_many(conn: AsyncConnection, table: sa.Table, rows: Sequence[Row], keys: Sequence[str]) -> None:
    """Delete the rows of `table` whose `keys` are those of a given row."""
    if rows:
        await conn.execute(_delete(table, tuple(keys)), [{f"p_{name}": row[name] for name in keys} for row in rows])


def insert(conn: AsyncConnection | sa.Connection, table: sa.Table) -> Any:
    """An INSERT that knows `on_conflict_do_update` and `on_conflict_do_nothing`, in the words of the database."""
    return insert_in(conn.dialect.name, table)


def insert_in(dialect: str, table: sa.Table) -> Any:
    """The same where there is no connection yet."""
    # Imported here: a process uses one of the two, and PostgreSQL's brings every driver's module along.
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A statement as the driver takes it. `columns` are its parameters in order: name, encoder, default."""

    text: str
    columns: tuple[tuple[str, Callable[[Any], Any] | None, Any], ...]
    named: bool
    """Whether the driver wants parameters by name."""

    def parameters(self, rows: Sequence[Row]) -> list[Any]:
        """The parameters of every row; a column none of them has gets its default."""
        given = rows[0].keys()
        encoded = []
        for name, encode, default in self.columns:
            values = [row[name] for row in rows] if name in given else [default] * len(rows)
            encoded.append(values if encode is None else [encode(value) for value in values])
        across = list(zip(*encoded, strict=True))
        names = [name for name, _encode, _default in self.columns]
        return [dict(zip(names, row, strict=True)) for row in across] if self.named else across


_prepared: dict[tuple[Any, ...], _Prepared] = {}


async def _put(
    conn: AsyncConnection,
    table: sa.Table,
    rows: Sequence[Row],
    keys: tuple[str, ...] | None = None,
    update: tuple[str, ...] = (),
    counting: str | None = None,
) -> None:
    """Insert `rows`, with `keys` as `upsert_many` does."""
    dialect, names = conn.dialect, tuple(rows[0])
    key = (dialect.name, table, names, keys, update, counting)
    prepared = _prepared.get(key)
    if prepared is None:
        statement = (
            insert_in(dialect.name, table) if keys is None else upsert(dialect.name, table, keys, update, counting)
        )
        prepared = _prepared[key] = _prepare(dialect, table, names, statement)
    await conn.exec_driver_sql(prepared.text, prepared.parameters(rows))
    await _learn(conn, table, len(rows))


def _prepare(dialect: sa.Dialect, table: sa.Table, names: tuple[str, ...], statement: Any) -> _Prepared:
    defaults = {
        column.name: column.default.arg
        for column in table.columns
        if isinstance(column.default, schema.ScalarElementColumnDefault)
    }
    columns = [*names, *(name for name in defaults if name not in names)]
    compiled = statement.compile(dialect=dialect, column_keys=columns)
    order = compiled.positiontup or columns
    encoders = {name: table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in columns}
    parameters = tuple((name, encoders[name], defaults.get(name)) for name in order)
    return _Prepared(str(compiled), parameters, not compiled.positional)


async def _learn(conn: AsyncConnection, table: sa.Table, added: int) -> None:
    """Let PostgreSQL count what a first load brought, instead of a minute later by autovacuum.

    Without statistics it takes any index that begins with the tenant for as good as the primary key, and a lookup by
    key reads the tenant's every row. Only done when a table may have doubled, so seldom.
    """
    if added < _FIRST_LOAD or conn.dialect.name != "postgresql":
        return
    counted = await conn.scalar(
        sa.text("SELECT reltuples FROM pg_class WHERE oid = to_regclass(:name)"), {"name": table.name}
    )
    if counted is not None and counted < added:
        await conn.exec_driver_sql(f"ANALYZE {table.name}")


@lru_cache(maxsize=256)
def upsert(
    dialect: str, table: sa.Table, keys: tuple[str, ...], update: tuple[str, ...], counting: str | None = None
) -> Any:
    """The statement of `upsert_many`, for a caller that executes it."""
    statement = insert_in(dialect, table)
    if not update:
        return statement.on_conflict_do_nothing(index_elements=list(keys))
    values = {name: statement.excluded[name] for name in update}
    if counting is not None:
        values[counting] = table.c[counting] + sa.literal_column("1")
    return statement.on_conflict_do_update(index_elements=list(keys), set_=values)


@lru_cache(maxsize=256)
def _update(table: sa.Table, keys: tuple[str, ...], columns: tuple[str, ...]) -> Any:
    values = {name: sa.bindparam(f"p_{name}", type_=table.c[name].type) for name in columns}
    return table.update().where(*_match(table, keys)).values(values)


@lru_cache(maxsize=256)
def _delete(table: sa.Table, keys: tuple[str, ...]) -> Any:
    return table.delete().where(*_match(table, keys))


def _match(table: sa.Table, keys: tuple[str, ...]) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == sa.bindparam(f"p_{name}", type_=table.c[name].type) for name in keys]
