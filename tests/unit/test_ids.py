"""Ids grow, and carry their moment."""

from __future__ import annotations

import threading
import uuid

from hypothesis import given
from hypothesis import strategies as st

from agentos_controller import clock, ids


@given(st.lists(st.integers(-5_000, 5_000), max_size=50))
def test_ids_grow_whatever_the_clock_does(steps: list[int]) -> None:
    now = clock.ManualClock()
    source = ids.Ids(now)
    made = [source.new()]
    for step in steps:
        now.advance(step / 1_000)
        made.append(source.new())
    assert made == sorted(set(made))


def test_an_id_is_a_uuid_of_version_7() -> None:
    now = clock.ManualClock()
    made = ids.Ids(now).new()
    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, made)
    assert ids.time_us(made) == now.now_us()
    assert ids.floor(now.now_us()) <= made < ids.floor(now.now_us() + 1_000)


def test_threads_never_share_an_id() -> None:
    source = ids.Ids(clock.ManualClock())
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(source.new() for _ in range(500))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 2_000


@given(st.integers(0, 4_102_444_800_000_000))
def test_moments_survive_the_way_through_datetime(at: int) -> None:
    assert clock.from_datetime(clock.to_datetime(at)) == at


def test_moments_read_as_rfc3339() -> None:
    assert clock.rfc3339(1_767_225_600_000_001) == "2026-01-01T00:00:00.000001Z"
