"""Reading YAML: values of the core schema, exact positions, everything refused with its place."""

from __future__ import annotations

import pytest

from agentos_engine import positions, yamltext
from agentos_engine.model import Position


def one(text: str) -> yamltext.Document:
    parsed = yamltext.parse(text.encode())
    assert not parsed.problems
    (document,) = parsed.documents
    return document


def problems(text: str | bytes) -> list[tuple[str, int, int]]:
    parsed = yamltext.parse(text if isinstance(text, bytes) else text.encode())
    found = [*parsed.problems, *(problem for document in parsed.documents for problem in document.problems)]
    return [(problem.code, problem.position.line, problem.position.column) for problem in found]


def test_scalars_of_the_core_schema() -> None:
    text = """
a: [true, False, yes, on, n, null, ~, "", '1', 1, -1, +1, 0o17, 0x1F, 1.5, .5, 1e3, 017, 1_000, 12:30, 2026-01-01]
"""
    assert one(text).data == {
        "a": [
            True, False, "yes", "on", "n", None, None, "", "1", 1, -1, 1, 15, 31, 1.5, 0.5, 1000.0, 17, "1_000",
            "12:30", "2026-01-01",
        ]
    }  # fmt: skip


def test_keys_are_text() -> None:
    assert one("on: 1\n1: 2\ntrue: 3\n").data == {"on": 1, "1": 2, "true": 3}


def test_positions_of_keys_and_values() -> None:
    found = one("a: 1\nb:\n  - x\n  - {c: [ü, é]}\n").positions
    assert found.keys["a",] == Position(1, 1)
    assert found.values["b", 0] == Position(3, 5)
    assert found.keys["b", 1, "c"] == Position(4, 6)
    assert found.values["b", 1, "c", 1] == Position(4, 13)
    assert found.of(("b", 1, "c", 7)) == Position(4, 9)
    assert found.of_key(("b", 9)) == Position(2, 1)


def test_positions_inside_texts() -> None:
    text = """\
plain: one two
quoted: "one two"
escaped: "one\\ttwo"
folded: >
  one
  two
block: |
    one
     two
wrapped: one
  two
"""
    found = one(text).positions
    assert found.within(("plain",), "one two", 4) == Position(1, 12)
    assert found.within(("quoted",), "one two", 4) == Position(2, 14)
    assert found.within(("escaped",), "one\ttwo", 4) == Position(3, 10)
    assert found.within(("folded",), "one two\n", 4) == Position(4, 9)
    assert found.within(("block",), "one\n two\n", 5) == Position(9, 6)
    assert found.within(("wrapped",), "one two", 4) == Position(10, 10)


def test_marks_are_kept_where_keys_are_thrown_away() -> None:
    document = yamltext.parse(b"a: {b: 1, b: {c: [2]}, d: 3}\na: {e: 4}\nf: 5\n").documents[0]
    assert document.data == {"a": {"b": 1, "d": 3}, "f": 5}
    keys, values = positions.spread(document.data, document.marks)
    assert set(keys) == {("a",), ("a", "b"), ("a", "d"), ("f",)}
    assert document.positions.values["a", "d"] == Position(1, 27)
    assert document.positions.values["f",] == Position(3, 4)
    assert len(values) == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x 1\nb: *x\n", [("YamlForbidden", 1, 4), ("YamlForbidden", 2, 4)]),
        ("a: !!str 1\n", [("YamlForbidden", 1, 4)]),
        ("a: !local {b: 1}\n", [("YamlForbidden", 1, 4)]),
        ("<<: {a: 1}\n", [("YamlForbidden", 1, 1)]),
        ("a: 1\na: 2\n", [("DuplicateKey", 2, 1)]),
        ("1: 1\n'1': 2\n", [("DuplicateKey", 2, 1)]),
        ("? [a]\n: 1\n", [("YamlForbidden", 1, 3)]),
        ("~: 1\n", [("YamlForbidden", 1, 1)]),
        ("%TAG ! tag:x:\n---\na: 1\n", [("YamlForbidden", 1, 1)]),
        ("a: 18446744073709551616\n", [("InvalidValue", 1, 4)]),
        ("a: [.nan, -.inf, 1e999]\n", [("InvalidValue", 1, 5), ("InvalidValue", 1, 11), ("InvalidValue", 1, 18)]),
        ("a: [1\n", [("YamlSyntax", 2, 1)]),
        ("a: b: c\n", [("YamlSyntax", 1, 5)]),
        ("a:\n\tb: 1\n", [("YamlSyntax", 2, 1)]),
        ("ü: \x01\n", [("YamlSyntax", 1, 4)]),
        (b"a: 1\nb: \xff\n", [("InvalidUtf8", 2, 4)]),
        ("*x\n", [("YamlForbidden", 1, 1)]),
        ("{*x : 1}\n", [("YamlForbidden", 1, 2)]),
    ],
)
def test_refused(text: str | bytes, expected: list[tuple[str, int, int]]) -> None:
    assert problems(text) == expected


def test_documents_before_a_syntax_error_count() -> None:
    parsed = yamltext.parse(b"a: 1\n---\nb: 2\n---\nc: [\n")
    assert [document.data for document in parsed.documents] == [{"a": 1}, {"b": 2}, {"c": []}]
    assert [document.complete for document in parsed.documents] == [True, True, False]


def test_no_more_than_fifty_problems() -> None:
    assert len(problems("a: 1\n" * 1_000)) == yamltext.MAX_PROBLEMS


def test_nothing_and_comments_hold_no_document() -> None:
    assert yamltext.parse(b"").documents == []
    assert yamltext.parse(b"# nothing\n").documents == []
    assert yamltext.parse(b"\xef\xbb\xbfa: 1\n").documents[0].data == {"a": 1}
