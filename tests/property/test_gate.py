"""The gate against a second, plain statement of its rules, and laws over pushes, force-pushes and merges."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agentos_controller.source import gate, git, history, signatures
from agentos_engine import errors
from tests.support import graphs, oracles, repos

HISTORIES = ("any", "forward", "mainline")


@st.composite
def policies(draw: st.DrawFn, graph: graphs.Graph) -> gate.Policy:
    revisions = st.sampled_from([str(index) for index in range(len(graph.commits))])
    return gate.Policy(
        draw(st.booleans()),
        draw(st.sampled_from([(), graphs.GUARDED])),
        draw(st.sampled_from(HISTORIES)),
        draw(st.none() | revisions),
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[graphs.Graph, gate.Policy, list[str]]:
    """A graph, a policy, and the revisions that a ref names one after the other."""
    graph = draw(graphs.graphs())
    revisions = st.sampled_from([str(index) for index in range(len(graph.commits))])
    return graph, draw(policies(graph)), draw(st.lists(revisions, min_size=1, max_size=5))


@given(worlds(), st.data())
def test_the_gate_decides_as_the_rules_say(world: tuple[graphs.Graph, gate.Policy, list[str]], data: Any) -> None:
    graph, policy, (observed, *_) = world
    every = st.sampled_from([str(index) for index in range(len(graph.commits))])
    serving = data.draw(st.none() | every)
    accepted = data.draw(st.none() | every)
    if serving is not None and data.draw(st.booleans()):
        reachable = graph.ancestors(observed) | (graph.ancestors(policy.merged_into) if policy.merged_into else set())
        assume(serving not in reachable)
        graph = dataclasses.replace(graph, gone=frozenset({int(serving)}))
    found = gate.decide(graph, policy, observed, serving, accepted)
    assert found.revision == oracles.oracle(graph, policy, observed, serving, accepted)
    if found.stop is None:
        assert found.revision == observed
    else:
        assert found.revision != observed or serving == observed
    moved = found.revision is not None and found.revision != serving
    lost = serving is not None and (not graph.exists(serving) or serving not in graph.ancestors(found.revision or ""))
    assert found.rewritten == (moved and lost)


@given(worlds())
def test_what_is_not_acceptable_or_not_merged_never_serves(
    world: tuple[graphs.Graph, gate.Policy, list[str]],
) -> None:
    graph, policy, pushes = world
    serving: str | None = None
    for observed in pushes:
        serving = gate.decide(graph, policy, observed, serving, accepted=observed).revision
        if serving is not None:
            assert oracles.acceptable(graph, policy, serving)
            assert policy.merged_into is None or serving in oracles.line(graph, policy.merged_into)


@given(worlds())
def test_deciding_twice_is_deciding_once(world: tuple[graphs.Graph, gate.Policy, list[str]]) -> None:
    graph, policy, pushes = world
    serving: str | None = None
    for observed in pushes:
        once = gate.decide(graph, policy, observed, serving)
        again = gate.decide(graph, policy, observed, once.revision)
        assert again.revision == once.revision
        assert again.stop == once.stop
        assert not again.rewritten
        serving = once.revision


@given(worlds())
def test_a_revision_never_goes_back_under_forward(world: tuple[graphs.Graph, gate.Policy, list[str]]) -> None:
    graph, policy, pushes = world
    for how in ("forward", "mainline"):
        strict = dataclasses.replace(policy, history=how)
        serving: str | None = None
        for observed in pushes:
            found = gate.decide(graph, strict, observed, serving)
            assert not found.rewritten
            if serving is not None:
                assert found.revision is not None
                reach = oracles.line(graph, found.revision) if how == "mainline" else graph.ancestors(found.revision)
                assert serving in reach
            serving = found.revision


@given(worlds())
def test_what_serves_is_never_taken_down(world: tuple[graphs.Graph, gate.Policy, list[str]]) -> None:
    graph, policy, pushes = world
    serving: str | None = None
    for observed in pushes:
        found = gate.decide(graph, policy, observed, serving)
        assert serving is None or found.revision is not None
        assert found.stop is not None or found.revision == observed
        serving = found.revision


@given(worlds())
def test_a_line_that_only_grew_serves_what_it_would_from_nothing(
    world: tuple[graphs.Graph, gate.Policy, list[str]],
) -> None:
    graph, policy, (last, *_) = world
    steady = dataclasses.replace(policy, merged_into=None)
    serving: str | None = None
    for observed in reversed(oracles.line(graph, last)):
        serving = gate.decide(graph, steady, observed, serving).revision
        assert serving == gate.decide(graph, steady, observed).revision


def test_a_person_lets_rewritten_history_in_but_nothing_unsigned() -> None:
    commit = graphs.Commit
    graph = graphs.Graph((commit((), signer="a"), commit((), signer="b"), commit(())))
    strict = gate.Policy(verify=True, history="forward")
    held = gate.decide(graph, strict, "1", "0")
    assert held.revision == "0"
    assert held.stop is not None
    assert held.stop.code == "HistoryRewritten"
    assert "`agentos accept`" in held.stop.message
    assert gate.decide(graph, strict, "1", "0", accepted="1") == gate.Decision("1", rewritten=True)
    unsigned = gate.decide(graph, strict, "2", "0", accepted="2")
    assert unsigned.revision == "0"
    assert unsigned.stop is not None
    assert unsigned.stop.code == "CommitUnsigned"


@pytest.mark.parametrize(("how", "revision"), [("any", "1"), ("forward", "0"), ("mainline", "0")])
def test_what_served_may_be_gone_from_the_repository(how: Any, revision: str) -> None:
    graph = graphs.Graph((graphs.Commit(()), graphs.Commit(())), frozenset({0}))
    found = gate.decide(graph, gate.Policy(history=how), "1", "0")
    assert found.revision == revision
    assert found.rewritten == (how == "any")
    assert (found.stop is not None) == (how != "any")
    if found.stop is not None:
        assert found.stop.code == "HistoryRewritten"
        assert "not in the repository any more" in found.stop.message


def test_what_nobody_merged_is_held() -> None:
    commit = graphs.Commit
    merged = graphs.Graph((commit(()), commit((0,), 1), commit((0, 1), 1), commit((1,), 0)))
    policy = gate.Policy(merged_into="2")
    assert gate.decide(merged, policy, "2").stop is None
    assert gate.decide(merged, policy, "0").stop is None
    found = gate.decide(merged, policy, "1", "0")  # an ancestor of the tip, but never the state of the branch
    assert found.revision == "0"
    assert found.stop is not None
    assert found.stop.code == "NotMerged"


def test_how_far_is_looked_is_bounded_and_said() -> None:
    commit = graphs.Commit
    signed = commit((), signer="a")
    below = graphs.Graph((signed, *(commit((index,), (index + 1) % 2) for index in range(gate.MAX_HELD + 2))))
    verify = gate.Policy(verify=True)
    near = gate.decide(below, verify, str(gate.MAX_HELD))
    assert near.revision == "0"
    far = gate.decide(below, verify, str(gate.MAX_HELD + 2))
    assert far.revision is None
    assert far.stop is not None
    assert "nothing verified was found in the 1,001 commits below it" in far.stop.message
    still = graphs.Graph((signed, *(commit((index,), 0) for index in range(gate.MAX_LINE + 1))))
    assert gate.decide(still, verify, "9000").stop is None
    lost = gate.decide(still, verify, str(gate.MAX_LINE + 1))
    assert lost.revision is None
    assert lost.stop is not None
    assert "none of the 10,000 commits" in lost.stop.message
    assert gate.decide(still, gate.Policy(merged_into=str(gate.MAX_LINE + 1)), "0").stop is not None


def test_a_policy_is_what_the_spec_says() -> None:
    assert gate.policy({}) == gate.Policy()
    spec = {"verify": {"signers": {}, "paths": ["a/*"]}, "history": "mainline"}
    assert gate.policy(spec, "tip") == gate.Policy(True, ("a/*",), "mainline", "tip")
    for patterns in (["!a"], ["# a", " "]):
        with pytest.raises(errors.Stall, match="guards nothing"):
            gate.policy({"verify": {"signers": {}, "paths": patterns}})


@settings(max_examples=25)
@given(graphs.graphs(8), st.sampled_from(["", "tenants/acme/"]), st.data())
def test_real_git_answers_as_the_graph_does(graph: graphs.Graph, folder: str, data: Any) -> None:
    scratch = Path(tempfile.mkdtemp())
    try:
        written = graphs.write(graph, repos.Repo(scratch / "repo", bare=True), folder)
        repository = git.Repository(scratch / "repo", scratch / "home")
        real = history.RepositoryHistory(repository, folder or ".", signatures.trust(graphs.SIGNERS))
        names = {oid: str(index) for index, oid in enumerate(written.ids)}
        for index, oid in enumerate(written.ids):
            assert real.exists(oid)
            assert [names[parent] for parent in real.parents(oid)] == graph.parents(str(index))
            for patterns in ((), graphs.GUARDED):
                assert real.touches(oid, patterns) == graph.touches(str(index), patterns)
            assert [real.descends(oid, other) for other in written.ids] == [
                graph.descends(str(index), str(other)) for other in range(len(written.ids))
            ]
            expected = graph.verdict(str(index))
            found = real.verdict(oid)
            assert (found == expected) if isinstance(expected, signatures.Verified) else found.code == expected.code  # type: ignore[union-attr]
        policy = data.draw(policies(graph))
        tip = None if policy.merged_into is None else written.ids[int(policy.merged_into)]
        observed, serving = (data.draw(st.sampled_from(written.ids)) for _ in range(2))
        decided = gate.decide(real, dataclasses.replace(policy, merged_into=tip), observed, serving)
        assert names.get(str(decided.revision)) == oracles.oracle(graph, policy, names[observed], names[serving], None)
    finally:
        shutil.rmtree(scratch)
