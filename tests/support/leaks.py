"""Where a secret may have gone: the forms it takes, and every row of every table to look for them in."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import psycopg
import zstandard

_ZSTD = b"\x28\xb5\x2f\xfd"


def forms(secret: str) -> dict[str, bytes]:
    """A secret as it may come back, by the name of the form."""
    raw = secret.encode()
    found = {
        "raw": raw,
        "URL-encoded": quote(secret, safe="").encode(),
        "URL-encoded path": quote(secret).encode(),
        "form-encoded": quote_plus(secret).encode(),
        "JSON": json.dumps(secret)[1:-1].encode(),
        "hexadecimal": raw.hex().encode(),
    }
    for offset in range(3):
        # Only what depends on the secret alone, wherever in a longer text it begins.
        whole = base64.b64encode(b"\0" * offset + raw).decode()
        inner = whole[-(-8 * offset // 6) : 8 * (offset + len(raw)) // 6]
        found[f"base64, {offset}"] = inner.encode()
        found[f"base64 for URLs, {offset}"] = inner.replace("+", "-").replace("/", "_").encode()
    return found


def found(secret: str, content: str | bytes) -> list[str]:
    """Names of the forms in which `secret` stands in `content`."""
    data = content if isinstance(content, bytes) else content.encode()
    return [name for name, form in forms(secret).items() if form in data]


def rows(database_url: str) -> Iterator[tuple[str, bytes]]:
    """Every value of every table, with the table's name; packed ones unpacked."""
    values = _sqlite(database_url) if database_url.startswith("sqlite") else _postgresql(database_url)
    for table, value in values:
        data = bytes(value) if isinstance(value, bytes | memoryview | bytearray) else str(value).encode()
        yield table, data
        if data.startswith(_ZSTD):
            yield table, zstandard.ZstdDecompressor().decompress(data, max_output_size=64 * 2**20)
        with_padding = data + b"=" * (-len(data) % 4)
        with contextlib.suppress(ValueError):
            # DBOS keeps some values as base64.
            yield table, base64.b64decode(with_padding, validate=True)


def _sqlite(url: str) -> Iterator[tuple[str, object]]:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.text_factory = bytes
        tables = [name.decode() for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                yield from ((table, value) for value in row if value is not None)
    connection.close()


def _postgresql(url: str) -> Iterator[tuple[str, object]]:
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
            " AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in tables:
            columns = connection.execute(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = %s AND table_name = %s",
                (schema, table),
            ).fetchall()
            chosen = ", ".join(f'"{name}"' if kind == "bytea" else f'"{name}"::text' for name, kind in columns)
            for row in connection.execute(f'SELECT {chosen} FROM "{schema}"."{table}"'.encode()):
                yield from ((f"{schema}.{table}", value) for value in row if value is not None)
