"""Keyset cursors: where a list goes on, stable while rows are inserted and deleted around it.

A cursor is the key of the last row shown, with the name of the list it belongs to, as unpadded base64url JSON. It is
opaque to clients and holds nothing they did not see; it is checked on the way in, not signed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import orjson

from agentos_engine.errors import Problem

DEFAULT_LIMIT = 100
MAX_LIMIT = 500

Key = tuple[str | int, ...]
Row = TypeVar("Row")


class Id(str):
    """In the form of a key: the part is a row id, canonical UUID text."""

    __slots__ = ()


_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAX_INTEGER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Page:
    """What is asked for: at most `limit` items after the key `after` (None: from the start)."""

    limit: int = DEFAULT_LIMIT
    after: Key | None = None

    @property
    def fetch(self) -> int:
        """Rows to select: one more than shown tells whether there is a next page."""
        return self.limit + 1


def encode(listing: str, key: Key) -> str:
    """The cursor that goes on after `key` in `listing`."""
    return base64.urlsafe_b64encode(orjson.dumps([listing, *key])).rstrip(b"=").decode("ascii")


def decode(listing: str, cursor: str, form: Sequence[type]) -> Key:
    """The key inside `cursor`.

    `form` is the type of each part of the key: `str`, `int` or `Id`.

    Raises:
        Problem: InvalidRequest, if it is no cursor of this list.
    """
    try:
        value = orjson.loads(base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError):
        value = None
    if (
        not isinstance(value, list)
        or len(value) != len(form) + 1
        or value[0] != listing
        or not all(_fits(part, kind) for part, kind in zip(value[1:], form, strict=True))
    ):
        raise Problem(
            "InvalidRequest",
            "cursor is not one this list has given",
            errors=[{"in": "query", "path": "cursor", "message": "use `nextCursor` of the page before, unchanged"}],
        )
    return tuple(value[1:])


def _fits(part: object, kind: type) -> bool:
    if kind is int:
        return type(part) is int and 0 <= part <= _MAX_INTEGER
    return isinstance(part, str) and "\0" not in part and (kind is not Id or _ID.fullmatch(part) is not None)


def page(listing: str, limit: int, cursor: str | None, form: Sequence[type]) -> Page:
    """The page of `listing` asked for by `limit` and `cursor`."""
    return Page(limit, decode(listing, cursor, form) if cursor else None)


def cut(listing: str, rows: Sequence[Row], wanted: Page, key: Callable[[Row], Key]) -> tuple[Sequence[Row], str | None]:
    """The rows to show and the cursor of the next page.

    `rows` are up to ``wanted.fetch`` rows in order; `key` is called with a row for its `Key`.
    """
    if len(rows) <= wanted.limit:
        return rows, None
    shown = rows[: wanted.limit]
    return shown, encode(listing, key(shown[-1]))
