"""Whatever stands in a manifest, compiling answers with diagnostics at real places, and with the same each time."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agentos_engine import errors, kinds
from tests.support import tree

TEXTS = [path.read_text() for path in sorted(Path(kinds.__path__[0]).glob("*/testdata/golden-*.yaml"))]
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*|\$\{|[0-9.]+")
JUNK = st.sampled_from(
    ["", "x", "input", "state", "steps", "output", "null", "1", "0.5", "true", "[]", "${", "${}", "${1 +}", "$${",
     "end", "'", "size(input)", "role/x", "json", "ad", "fast", "ads", "🙂", "integer", "string", "object", "array"]
)  # fmt: skip


@st.composite
def mutants(draw: st.DrawFn) -> str:
    """The text of a good manifest with up to three words replaced by others."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 3))):
        words = list(WORD.finditer(text))
        word = words[draw(st.integers(0, len(words) - 1))]
        other = draw(st.one_of(JUNK, st.sampled_from(words).map(lambda match: match[0])))
        text = text[: word.start()] + other + text[word.end() :]
    return text


@settings(max_examples=150, deadline=None)
@given(mutants())
def test_a_mistake_is_a_diagnostic_and_never_an_exception(text: str) -> None:
    done = tree.compile_text(text)
    lines = text.split("\n")
    for found in done.diagnostics:
        assert "diagnostic" in errors.REGISTRY[found.code].uses
        assert 1 <= found.line <= len(lines)
        assert found.column >= 1
    for compiled in done.compiled.values():
        assert compiled.ok == (compiled.stop is None)
        assert not (compiled.artifact is not None and not compiled.ok)


@settings(max_examples=40, deadline=None)
@given(mutants())
def test_compiling_again_gives_the_same(text: str) -> None:
    first, second = tree.compile_text(text), tree.compile_text(text)
    assert first.diagnostics == second.diagnostics
    assert {name: one.digest for name, one in first.compiled.items()} == {
        name: one.digest for name, one in second.compiled.items()
    }
