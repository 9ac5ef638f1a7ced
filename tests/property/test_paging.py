"""Laws of cursors."""

from __future__ import annotations

import base64
import contextlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentos_controller.views import paging
from agentos_engine.errors import Problem

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
numbers = st.integers(0, 2**63 - 1)


@given(texts, st.lists(texts | numbers, min_size=1, max_size=4))
def test_decode_of_encode_is_the_key(listing: str, key: list[str | int]) -> None:
    cursor = paging.encode(listing, tuple(key))
    assert paging.decode(listing, cursor, [type(part) for part in key]) == tuple(key)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_whatever_is_sent_as_a_cursor_is_a_key_or_a_problem(cursor: str) -> None:
    with contextlib.suppress(Problem):
        (key,) = paging.decode("runs", cursor, (paging.Id,))
        assert uuid.UUID(str(key))


@given(st.lists(st.integers(0, 1000), unique=True), st.integers(1, 7))
def test_pages_put_together_are_the_list(rows: list[int], limit: int) -> None:
    rows.sort()
    seen: list[int] = []
    after: paging.Key | None = None
    while True:
        wanted = paging.Page(limit, after)
        found = [row for row in rows if after is None or row > int(after[0])][: wanted.fetch]
        shown, cursor = paging.cut("numbers", found, wanted, lambda row: (row,))
        assert len(shown) <= limit
        seen += shown
        if cursor is None:
            break
        after = paging.decode("numbers", cursor, (int,))
    assert seen == rows


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(Problem):
        paging.decode("runs", paging.encode("approvals", ("x",)), (str,))
