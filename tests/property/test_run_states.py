"""Laws of a run's life."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentos_controller import tables
from agentos_controller.runs import states

STATES = sorted(states.TRANSITIONS)


def test_the_states_are_those_of_the_table() -> None:
    assert set(tables.FINAL) == states.FINAL
    assert set(tables.LIVE) == states.LIVE


@given(st.lists(st.sampled_from(STATES), max_size=12), st.sampled_from(STATES))
def test_no_path_leaves_a_final_state(attempts: list[states.State], start: states.State) -> None:
    current: states.State = start
    for target in attempts:
        if states.may(current, target):
            assert current not in states.FINAL
            current = target


def test_every_state_but_a_final_one_has_a_way_out_and_every_one_a_way_in() -> None:
    reached: set[states.State] = {"pending"}
    frontier = ["pending"]
    while frontier:
        new = states.TRANSITIONS[frontier.pop()] - reached  # type: ignore[index]
        reached |= new
        frontier.extend(new)
    assert reached == set(STATES)
    assert {state for state in STATES if not states.TRANSITIONS[state]} == states.FINAL


@given(st.sampled_from(STATES))
def test_a_guard_names_exactly_the_states_a_transition_may_begin_in(target: states.State) -> None:
    assert set(states.before(target)) == {state for state in STATES if states.may(state, target)}
    assert states.FINAL.isdisjoint(states.before(target))
