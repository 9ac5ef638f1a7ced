"""Packed JSON in `Blob` columns: zstd over canonical JSON, for what is large and only ever read whole."""

from __future__ import annotations

from typing import Any

import orjson
import zstandard

from agentos_engine import artifacts


def pack(value: Any) -> bytes:
    """The stored form of a JSON value."""
    return zstandard.ZstdCompressor(level=3).compress(artifacts.canonical(value))


def unpack(packed: bytes) -> Any:
    """The JSON value of a stored form.

    Raises:
        zstandard.ZstdError: it is damaged.
    """
    return orjson.loads(zstandard.ZstdDecompressor().decompress(packed))


def genuine(row: Any) -> bytes | None:
    """Canonical JSON of a row of `artifact`, None where it is not what its digest says."""
    try:
        data = zstandard.decompress(row.body, max_output_size=row.size)
    except zstandard.ZstdError:
        return None
    return data if artifacts.digest_of_stored(row.compiler, row.type, row.name, data) == row.digest else None
