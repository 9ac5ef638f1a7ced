"""Differences of artifact bodies as a reviewer reads them."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from agentos_engine import artifacts, diff


def step(id_: str, **fields: object) -> dict[str, object]:
    return {"id": id_, "type": "connector", **fields}


def test_equal_bodies_have_no_differences() -> None:
    assert diff.diff({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}) == []


def test_steps_are_matched_by_id() -> None:
    before = {"steps": [step("pull", retry={"attempts": 3}), step("push")]}
    after = {"steps": [step("check"), step("pull", retry={"attempts": 4})]}
    assert [(change.kind, change.path, change.before, change.after) for change in diff.diff(before, after)] == [
        ("changed", "steps.pull.retry.attempts", 3, 4),
        ("removed", "steps.push", step("push"), None),
        ("added", "steps.check", None, step("check")),
    ]


def test_a_new_order_of_steps_shows() -> None:
    (change,) = diff.diff({"steps": [step("a"), step("b")]}, {"steps": [step("b"), step("a")]})
    assert (change.kind, change.before, change.after) == ("moved", ["a", "b"], ["b", "a"])
    assert str(change) == "~ steps: order a, b → b, a"


def test_tools_are_matched_by_name() -> None:
    before = {"tools": [{"name": "crm", "effect": "read"}]}
    after = {"tools": [{"name": "crm", "effect": "write"}]}
    assert str(diff.diff(before, after)[0]) == "~ tools.crm.effect: read → write"


def test_a_prompt_shows_the_words_that_changed() -> None:
    before = {"prompt": "You are kind.\nAnswer in one line.\nBe brief.\n"}
    after = {"prompt": "You are kind.\nAnswer in two lines.\nBe brief.\n"}
    (change,) = diff.diff(before, after)
    assert change.kind == "text"
    assert [segment for segment in change.segments if segment[0] != "="] == [
        ("-", "one"),
        ("+", "two"),
        ("-", "line"),
        ("+", "lines"),
    ]
    assert "[-one-]{+two+}" in str(change)


def test_long_equal_stretches_are_left_out() -> None:
    lines = [f"line {n}\n" for n in range(100)]
    changed = [*lines[:50], "another\n", *lines[51:]]
    (change,) = diff.diff({"prompt": "".join(lines)}, {"prompt": "".join(changed)})
    assert "line 48" in str(change)
    assert "line 10" not in str(change)
    assert "…" in str(change)


def test_true_is_not_one() -> None:
    assert [change.path for change in diff.diff({"a": [{"b": True}]}, {"a": [{"b": 1}]})] == ["a.0.b"]


def test_a_body_that_appears_is_added() -> None:
    assert [(change.kind, change.path) for change in diff.diff(None, {"name": "x"})] == [("added", "name")]
    assert [(change.kind, change.path) for change in diff.diff({"name": "x"}, None)] == [("removed", "name")]


def test_a_hundred_thousand_lines_are_one_block() -> None:
    before, after = ("".join(f"{n * k}\n" for n in range(100_000)) for k in (3, 7))
    (change,) = diff.diff({"prompt": before}, {"prompt": after})
    assert change.kind == "text"


TEXT = st.text(st.sampled_from(string.ascii_letters[:4] + " .\n"), max_size=80)


@given(TEXT, TEXT)
def test_word_segments_rebuild_both_sides(before: str, after: str) -> None:
    segments = list(diff.text_segments(before, after))
    if not any(text.startswith("…\n") or "\n…\n" in text for _, text in segments):
        assert "".join(text for op, text in segments if op != "+") == before
        assert "".join(text for op, text in segments if op != "-") == after


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab ", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


BODY = st.dictionaries(st.sampled_from("xyz"), JSON, max_size=3)


@given(BODY, BODY)
def test_no_difference_exactly_when_equal(before: dict[str, object], after: dict[str, object]) -> None:
    assert (diff.diff(before, after) == []) == (artifacts.canonical(before) == artifacts.canonical(after))
