"""What `ways` says has run before a step is what walking every way says."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentos_engine.kinds.workflow import ways

IDS = ("a", "b", "c", "d")


@st.composite
def workflows(draw: st.DrawFn) -> list[dict[str, Any]]:
    targets = st.sampled_from((*IDS, "end"))
    steps = []
    for id_ in IDS:
        body: dict[str, Any] = {"id": id_, "next": {"done": draw(targets)}}
        if draw(st.booleans()):
            body["when"] = "x"
        if draw(st.booleans()):
            body["cases"] = [{"when": "y", "next": draw(targets)}]
        if draw(st.booleans()):
            body["onError"] = {"Error": draw(st.one_of(targets, st.sampled_from(("continue", "fail"))))}
        steps.append(body)
    return steps


def walked(steps: list[dict[str, Any]]) -> dict[str, set[tuple[frozenset[str], frozenset[str]]]]:
    """Every (ran at all, has an output) with which a token can arrive at each place, by exhaustive search."""
    by_id = {step["id"]: step for step in steps}
    arrivals: dict[str, set[tuple[frozenset[str], frozenset[str]]]] = {id_: set() for id_ in (*IDS, "end")}
    pending = [(IDS[0], frozenset[str](), frozenset[str]())]
    while pending:
        id_, ran, has = pending.pop()
        if (ran, has) in arrivals[id_]:
            continue
        arrivals[id_].add((ran, has))
        if id_ == "end":
            continue
        for way in ways.of_step(by_id[id_]):
            pending.append((way.target, ran | {id_}, has | {id_} if way.ran else has - {id_}))
            if not way.ran and "when" in by_id[id_]:
                pending.append((way.target, ran | {id_}, has | {id_}))
    return arrivals


@given(workflows())
def test_what_has_run_before_a_step_is_what_walking_every_way_says(steps: list[dict[str, Any]]) -> None:
    before, at_end = ways.before(IDS[0], steps)
    for id_, arrivals in walked(steps).items():
        said = at_end if id_ == "end" else before[id_]
        if not arrivals:
            continue
        assert said.maybe == frozenset[str]().union(*(ran for ran, _ in arrivals))
        assert said.surely == said.maybe.intersection(*(has for _, has in arrivals))
