"""The queue of keys."""

from __future__ import annotations

from agentos_controller import clock as clocks
from agentos_controller.reconcile import queue


def test_a_key_is_in_it_once_and_keeps_its_force(clock: clocks.ManualClock) -> None:
    keys = queue.Queue(clock)
    keys.add("a")
    keys.add("b")
    keys.add("a", force=True)
    assert (keys.due(), len(keys)) == (["a", "b"], 2)
    keys.take(["a"])
    assert keys.forced("a")
    assert not keys.forced("a")
    keys.done("a")
    assert keys.due() == ["b"]


def test_a_key_that_fails_comes_back_later_and_later(clock: clocks.ManualClock) -> None:
    keys = queue.Queue(clock)
    keys.add("a")
    pauses = []
    for _ in range(14):
        keys.take(["a"])
        keys.again("a")
        assert keys.due() == []
        pauses.append(keys.next_due())
        clock.advance(pauses[-1])
        assert keys.due() == ["a"]
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert pauses[-1] == queue.MAX_PAUSE


def test_a_new_reason_ends_the_pause_and_one_that_came_meanwhile_is_kept(clock: clocks.ManualClock) -> None:
    keys = queue.Queue(clock)
    keys.add("a")
    keys.take(["a"])
    keys.add("a", force=True)
    keys.done("a")
    assert keys.due() == ["a"]
    keys.take(["a"])
    keys.again("a")
    assert keys.due() == []
    keys.add("a")
    assert keys.due() == ["a"]
    assert keys.forced("a")
