"""The column types every table and every migration uses, the same on SQLite and PostgreSQL.

Text sorts by bytes on both databases (`COLLATE "C"`). Moments are epoch microseconds, money is micro-USD. A `Doc` is
JSON that no query looks into. Rules: data model, section "Ground rules" in `docs/architecture.md`.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeEngine


def text(length: int | None = None) -> TypeEngine[str]:
    """Text sorted by bytes."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


Id = sa.Uuid(as_uuid=False)
"""UUID, read and written as canonical lower-case text."""
Time = sa.BigInteger()
"""Epoch microseconds."""
Money = sa.BigInteger()
"""Micro-USD."""
Count = sa.BigInteger()
Digest = text(71)
"""``sha256:<hex>``."""
Rev = text(64)
"""A git object id, SHA-1 or SHA-256."""
Name = text(253)
Text = text()
Enum = text(24)
Blob = sa.LargeBinary()


class _Doc(sa.TypeDecorator[Any]):
    """JSON, on PostgreSQL JSONB. Not a variant, which would import PostgreSQL's dialect and drivers for SQLite too."""

    impl = sa.JSON
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(none_as_null=True)

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        if dialect.name != "postgresql":
            return dialect.type_descriptor(sa.JSON(none_as_null=True))
        from sqlalchemy.dialects import postgresql

        return dialect.type_descriptor(postgresql.JSONB(none_as_null=True))


Doc = _Doc()


@compiles(sa.JSON, "sqlite")
def _text_affinity(_type: sa.JSON, _compiler: object, **_options: object) -> str:
    """As TEXT: SQLite would take a column of type JSON for a numeric one, and turn the document ``1.0`` into 1."""
    return "TEXT"


_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def dump(value: Any) -> str:
    """JSON text of a `Doc`, keys sorted.

    NUL becomes U+FFFD: PostgreSQL can store none, and both databases shall hold the same.

    Raises:
        TypeError: the value is not JSON (bytes, a non-string key, a lone surrogate).
    """
    out = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return _NUL.sub(r"\1\\ufffd", out) if "\\u0000" in out else out


load = orjson.loads


def choice(
    name: str, *values: str, nullable: bool = False, default: str | None = None
) -> tuple[sa.Column[str], sa.CheckConstraint]:
    """A column that holds one of `values`, by a CHECK: database enums are hard to change."""
    listed = ", ".join(f"'{value}'" for value in values)
    column = sa.Column(name, Enum, nullable=nullable, default=default)
    return column, sa.CheckConstraint(f"{name} IN ({listed})", name=name)


def required(name: str, type_: TypeEngine[Any], default: Any = None) -> sa.Column[Any]:
    """A column that always has a value; `default` is filled in by us, not by the database."""
    return sa.Column(name, type_, nullable=False, default=default)


def optional(name: str, type_: TypeEngine[Any]) -> sa.Column[Any]:
    """A column that may be NULL."""
    return sa.Column(name, type_, nullable=True)


def key(name: str, type_: TypeEngine[Any]) -> sa.Column[Any]:
    """A column of the primary key, in the order in which the columns stand."""
    return sa.Column(name, type_, primary_key=True, nullable=False, autoincrement=False)


NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = sa.MetaData(naming_convention=NAMING)


def partial(name: str, *columns: str, where: str, unique: bool = False) -> sa.Index:
    """An index over the rows for which `where` holds."""
    index = sa.Index(name, *columns, unique=unique, sqlite_where=sa.text(where))

    @sa.event.listens_for(index, "after_parent_attach")
    def attached(_index: sa.Index, table: sa.Table) -> None:
        _only_postgresql(table, index, "where", sa.text(where))

    return index


def partition_by(table: sa.Table, column: str) -> None:
    """Partition `table` by ranges of UUIDv7 on PostgreSQL, for now with one partition that takes everything.

    A read by id then touches one partition and expiry is a DROP, once partitions by week are attached.
    """
    _only_postgresql(table, table, "partition_by", f"RANGE ({column})")
    statement = f"CREATE TABLE {table.name}_default PARTITION OF {table.name} DEFAULT"
    catch_all = sa.DDL(statement)  # type: ignore[no-untyped-call]
    sa.event.listen(table, "after_create", catch_all.execute_if(dialect="postgresql"))


def _only_postgresql(table: sa.Table, item: sa.Table | sa.Index, option: str, value: Any) -> None:
    """Set the option when `table` is created there: naming it before would import that dialect for SQLite too."""

    @sa.event.listens_for(table, "before_create")
    def create(_table: sa.Table, connection: sa.Connection, **_options: Any) -> None:
        if connection.dialect.name == "postgresql":
            item.dialect_options["postgresql"][option] = value
