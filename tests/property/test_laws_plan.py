"""Laws of reconciling, over random histories of real manifests."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from agentos_engine import plan
from tests.support import histories

HISTORIES = histories.histories()
BOUNDED = settings(max_examples=40, deadline=None)


@BOUNDED
@given(HISTORIES)
def test_incremental_equals_full(commits: list[histories.Files]) -> None:
    full = incremental = histories.Head()
    for files in commits:
        full, _ = histories.reconcile(full, files, whole=True)
        incremental, _ = histories.reconcile(incremental, files, whole=False)
        assert incremental.live.entries == full.live.entries
        assert incremental.stops == full.stops


@BOUNDED
@given(HISTORIES)
def test_applying_a_plan_leaves_an_empty_plan(commits: list[histories.Files]) -> None:
    head = histories.Head()
    for files in commits:
        head, _ = histories.reconcile(head, files, whole=True)
        again, settled = histories.reconcile(head, files, whole=True)
        assert settled.effective == ()
        assert again.stops == head.stops


@BOUNDED
@given(HISTORIES, st.randoms(use_true_random=False))
def test_a_plan_does_not_depend_on_the_order_of_files(commits: list[histories.Files], chance: random.Random) -> None:
    head = histories.Head()
    for files in commits:
        paths = list(files)
        chance.shuffle(paths)
        shuffled, other = histories.reconcile(head, {path: files[path] for path in paths}, whole=True)
        head, settled = histories.reconcile(head, files, whole=True)
        assert other.stops == settled.stops
        assert other == settled
        assert shuffled.live.entries == head.live.entries


@BOUNDED
@given(HISTORIES)
def test_every_generation_is_closed(commits: list[histories.Files]) -> None:
    head = histories.Head()
    for files in commits:
        head, _ = histories.reconcile(head, files, whole=False)
        for ref, entry in head.live.entries.items():
            for dep, digest in entry.deps.items():
                assert dep in head.live.entries
                if ref not in head.stops:
                    assert head.live.entries[dep].artifact_digest == digest


@BOUNDED
@given(HISTORIES)
def test_what_is_not_stopped_serves_what_the_head_asks_for(commits: list[histories.Files]) -> None:
    head = histories.Head()
    for files in commits:
        head, _ = histories.reconcile(head, files, whole=False)
        for ref in head.refs - head.stops.keys():
            assert head.live.entries[ref].digest == head.manifests[ref][0].digest
            assert head.live.entries[ref].artifact_digest == head.compiled[ref].digest
        assert head.live.entries.keys() - head.refs <= head.stops.keys()


@BOUNDED
@given(HISTORIES)
def test_a_good_head_serves_the_same_whatever_came_before(commits: list[histories.Files]) -> None:
    head = histories.Head()
    for files in commits:
        head, _ = histories.reconcile(head, files, whole=False)
        if not head.stops:
            fresh, _ = histories.reconcile(histories.Head(), files, whole=True)
            assert fresh.live.entries == head.live.entries


@BOUNDED
@given(HISTORIES)
def test_a_generation_never_changes_once_made(commits: list[histories.Files]) -> None:
    head = histories.Head()
    made: list[tuple[plan.Inventory, str]] = []
    for files in commits:
        head, _ = histories.reconcile(head, files, whole=False)
        made.append((head.live, repr(sorted(head.live.entries.items()))))
    for generation, before in made:
        assert repr(sorted(generation.entries.items())) == before
