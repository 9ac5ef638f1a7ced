"""The rules of `plan.settle`, one by one. The laws over random histories stand in `tests/property`."""

from __future__ import annotations

import pytest

from agentos_engine import conditions, plan
from agentos_engine.model import ResourceRef

BROKEN = plan.Broken(conditions.Stop("Valid", "UnknownKey", "no key `x`"))


def ref(name: str) -> ResourceRef:
    return ResourceRef("Agent", name)


def entry(version: str, **deps: str) -> plan.Entry:
    return plan.Entry(f"m-{version}", f"a-{version}", {ref(name): f"a-{digest}" for name, digest in deps.items()})


def built(version: str, **deps: str) -> plan.Built:
    return plan.Built(entry(version, **deps))


def live(**entries: plan.Entry) -> plan.Inventory:
    return plan.Inventory({ref(name): value for name, value in entries.items()})


def test_what_is_new_is_created() -> None:
    settled = plan.settle(live(), {ref("a"): built("1")}, set())
    assert [(change.action, change.ref.name) for change in settled.effective] == [("created", "a")]
    assert settled.stops == {}


def test_broken_keeps_its_previous_entry_and_so_do_its_users() -> None:
    before = live(a=entry("1"), b=entry("2", a="1"), c=entry("3", b="2"), d=entry("4"))
    settled = plan.settle(
        before,
        {ref("a"): BROKEN, ref("b"): built("5", a="1"), ref("c"): built("6", b="5"), ref("d"): built("7")},
        set(),
    )
    assert [(change.action, change.ref.name) for change in settled.effective] == [("changed", "d")]
    assert settled.next[ref("c")] == entry("3", b="2")
    assert settled.stops[ref("a")].reason == "UnknownKey"
    assert settled.stops[ref("c")].reason == "DependencyStalled"
    assert "Agent/b" in settled.stops[ref("c")].message


def test_new_things_that_need_something_broken_are_not_served() -> None:
    settled = plan.settle(live(), {ref("a"): BROKEN, ref("b"): built("1", a="1")}, set())
    assert settled.next == {}
    assert set(settled.stops) == {ref("a"), ref("b")}


def test_what_is_kept_on_purpose_stays_and_others_build_on_it() -> None:
    before = live(a=entry("1"), b=entry("2", a="1"), c=entry("3"))
    settled = plan.settle(before, {ref("a"): plan.Kept(), ref("b"): built("4", a="1")}, set())
    assert settled.next == {ref("a"): entry("1"), ref("b"): entry("4", a="1")}
    assert settled.stops == {}
    # Who was compiled against something else does not go with it; what a kept one needs is not removed.
    settled = plan.settle(before, {ref("a"): plan.Kept(), ref("b"): built("4", a="9")}, set())
    assert settled.stops[ref("b")].reason == "DependencyStalled"
    settled = plan.settle(before, {ref("b"): plan.Kept()}, {ref("a"), ref("c")})
    assert [(change.action, change.ref.name) for change in settled.effective] == [("deleted", "c")]
    assert settled.stops[ref("a")].reason == "DeletionBlocked"


def test_a_broken_user_does_not_hold_back_what_it_uses() -> None:
    before = live(a=entry("1"), b=entry("2", a="1"))
    settled = plan.settle(before, {ref("a"): built("9"), ref("b"): BROKEN}, set())
    assert settled.next[ref("a")] == entry("9")
    assert settled.next[ref("b")] == entry("2", a="1")


def test_a_deletion_waits_for_kept_users_and_for_what_they_need() -> None:
    before = live(a=entry("1"), b=entry("2", a="1"), c=entry("3", b="2"), d=entry("4"))
    settled = plan.settle(before, {ref("c"): BROKEN}, {ref("a"), ref("b"), ref("d")})
    assert [(change.action, change.ref.name) for change in settled.effective] == [("deleted", "d")]
    assert settled.stops[ref("b")].reason == "DeletionBlocked"
    assert settled.stops[ref("b")].message == "removed, but still needed by Agent/c"
    assert settled.stops[ref("a")].message == "removed, but still needed by Agent/b"


def test_a_waiting_deletion_goes_once_nobody_needs_it() -> None:
    before = live(a=entry("1"), b=entry("2", a="1"))
    waiting = before.apply(plan.settle(before, {ref("b"): BROKEN}, {ref("a")}))
    settled = plan.settle(waiting, {ref("b"): built("5")}, {ref("a")})
    assert [(change.action, change.ref.name) for change in settled.effective] == [("deleted", "a"), ("changed", "b")]


def test_a_deletion_waits_for_users_nobody_asked_about() -> None:
    settled = plan.settle(live(a=entry("1"), b=entry("2", a="1")), {}, {ref("a")})
    assert settled.stops[ref("a")].message == "removed, but still needed by Agent/b"


def test_a_ring_of_removed_resources_goes_as_a_whole() -> None:
    settled = plan.settle(live(a=entry("1", b="2"), b=entry("2", a="1")), {}, {ref("a"), ref("b")})
    assert settled.next == {}


def test_a_dependency_that_stalled_in_an_earlier_round_still_stalls() -> None:
    before = live(a=entry("1"), b=entry("2", a="1"))
    stalled = before.apply(plan.settle(before, {ref("a"): BROKEN, ref("b"): built("2", a="1")}, set()))
    settled = plan.settle(stalled, {ref("b"): built("7", a="1")}, set())
    assert settled.next[ref("b")] == entry("2", a="1")
    assert settled.stops[ref("b")].reason == "DependencyStalled"


def test_an_entry_compiled_against_something_else_is_not_served() -> None:
    settled = plan.settle(live(a=entry("1")), {ref("b"): built("2", a="0")}, set())
    assert ref("b") not in settled.next


def test_unchanged_is_no_new_generation() -> None:
    before = live(a=entry("1"))
    assert plan.settle(before, {ref("a"): built("1")}, set()).effective == ()


def test_desired_and_removed_at_once_is_a_bug() -> None:
    with pytest.raises(ValueError, match="Agent/a"):
        plan.settle(live(), {ref("a"): built("1")}, {ref("a")})
