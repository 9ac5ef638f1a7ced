"""What the check lets pass without asking CEL's own parser, CEL takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentos_engine.expressions import check, environment, grammar

PIECES = [
    "a", "input", "steps", "in", "true", "null", "if", "x1", "_y", "1", "10", "2.5", "007", "1.", ".5", "0x1f", "1u",
    "'t'", '"t"', "''", "r'a'", "'a\\n'", "+", "-", "*", "/", "%", "<", "<=", "==", "!=", "&&", "||", "!", "?", ":",
    "(", ")", "[", "]", ",", ".", ".b", ".c", ".size()", ".?d", "[0]", "[?0]", "f(", "has(", "has(a.b)",
    ".all(x, x > 1)", ".exists(", "{", "}", "{'a': 1}", " ", "as", "while", "package", "`q`", "--", "!!", "1e3",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=24).map("".join))
def test_plain_texts_are_taken_by_cel(text: str) -> None:
    _holds(text)


FORMS = [
    *(f"{{}} {sign} {{}}" for sign in ("+", "-", "==", "&&", "||", "<", "in", "*")),
    "({})", "!{}", "-{}", "f({})", "a.f({})", "[{}]", "{}[{}]", "{} ? {} : {}", "f({}, {})",
]  # fmt: skip
LEAVES = ["a", "input.n", "1", "2.5", "'t'"]


@st.composite
def _nested(draw: st.DrawFn) -> str:
    """A form with holes, filled over and over, then with leaves."""
    text = "{}"
    for _ in range(draw(st.integers(0, 14))):
        text = text.replace("{}", draw(st.sampled_from(FORMS)), 1)
    while "{}" in text:
        text = text.replace("{}", draw(st.sampled_from(LEAVES)), 1)
    return text


@given(_nested())
def test_plain_nested_texts_are_taken_by_cel(text: str) -> None:
    _holds(text)


@pytest.mark.parametrize("text", ["input.a", "a + 1", "double(input.n) * 2.0", "x == 'y' && z < 3", "coalesce([a, b])"])
def test_the_usual_ones_are_plain(text: str) -> None:
    assert check._plain(text)


def test_a_long_refused_text_is_refused_quickly() -> None:
    assert not check._plain("a" * 390 + "\\")


def _holds(text: str) -> None:
    if not check._plain(text):
        return
    try:
        grammar.parse(text)
    except grammar.Refused:
        return
    assert environment.refusal(text) is None, text
