"""Text with ${…}: parsing, checking, rendering; and whole values."""

from __future__ import annotations

from typing import Any

import pytest

from agentos_engine.expressions import evaluate, template, types

SCOPE = {"input": types.object_type({"n": types.INT, "price": types.DOUBLE, "name": types.nullable(types.STRING)})}
DATA: dict[str, Any] = {"input": {"n": 3, "price": 2.0, "name": None, "l": [1, {"b": 1, "a": "ü"}], "yes": True}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"), ("", ""), ("${input.n}", 3), ("${input.name}", None),
        ("${input.l}", [1, {"b": 1, "a": "ü"}]),
        (" ${input.n}", " 3"), ("<${input.price}>", "<2>"), ("<${1.25}>", "<1.25>"), ("<${input.name}>", "<>"),
        ("<${input.yes}>", "<true>"), ("<${input.l}>", '<[1,{"b":1,"a":"ü"}]>'), ("<${'a}b'}>", "<a}b>"),
        ("${{'a': {'b': 1}}.a.b}", 1), ("${'}' + \"{\"}", "}{"), ("$${input.n}", "${input.n}"),
        ("$$${input.n}", "$${input.n}"),
        ("$$ $ {}", "$$ $ {}"), ("a $${x} ${input.n}", "a ${x} 3"), ("${r'\\d}'}${input.n}", "\\d}3"),
        ("${timestamp('2026-01-01T00:00:00Z')} on", "2026-01-01T00:00:00Z on"), ("${1}${2}", "12"),
        ("<${1e21}>", "<1e+21>"),
        ("${'${input.n}'}", "${input.n}"), ("${'''}'''}", "}"),
    ],
)  # fmt: skip
def test_render(text: str, value: Any) -> None:
    found = evaluate.render(text, DATA)
    assert found == value
    assert type(found) is type(value)


def test_segments_and_offsets() -> None:
    parsed = template.parse("a ${ input.n } b")
    assert parsed.segments == ("a ", template.Expr(" input.n ", 4), " b")
    assert not parsed.is_static
    assert parsed.is_single is None
    assert template.parse("${x}").is_single == template.Expr("x", 2)


def test_issues_stand_where_they_are_in_the_text() -> None:
    text = "Hello ${input.name}, you owe ${input.prise} and ${input.n + }"
    checked = template.check_template(text, SCOPE)
    assert [(issue.code, text[issue.offset :][:5]) for issue in checked.issues] == [
        ("UnknownField", "prise"),
        ("ExpressionSyntax", "}"),
    ]


def test_a_checked_template_is_stored_with_conversions_and_escapes() -> None:
    checked = template.check_template("$${n} costs ${input.price * 2} or ${input.n}", SCOPE)
    assert checked.issues == ()
    assert checked.text == "$${n} costs ${double(input.price) * 2.0} or ${input.n}"
    assert checked.type.kind == "string"
    assert checked.paths == {("input", "price"), ("input", "n")}
    assert evaluate.render(checked.text, DATA) == "${n} costs 4 or 3"


def test_a_single_expression_keeps_its_type() -> None:
    assert template.check_template("${input.n}", SCOPE).type.kind == "int"
    assert template.check_template("${input.n}", SCOPE, types.STRING).issues[0].code == "TypeMismatch"
    assert (
        template.check_template("text", SCOPE, types.INT).issues[0].message
        == "the text is string, but integer is wanted"
    )


def test_an_unclosed_expression_is_told() -> None:
    checked = template.check_template("price ${input.n", SCOPE)
    assert (checked.issues[0].code, checked.issues[0].offset) == ("TemplateSyntax", 6)
    assert "$${" in (checked.issues[0].hint or "")


@pytest.mark.parametrize("text", ["${" * 4000, '${"' * 100_000, "${{" * 100_000 + "}", "${input.n}" * 2000, "${}" * 3])
def test_a_hostile_text_is_an_issue(text: str) -> None:
    assert template.check_template(text, SCOPE).issues


def test_values_are_walked() -> None:
    value = {
        "a": "${input.price * 2}",
        "b": ["x ${input.n}", 1, None, True],
        "c": {"${input.n}": "$${y}"},
        "d": "${oops}",
    }
    rewritten, kind, found, names, paths = template.check_value(value, SCOPE, ("with",))
    assert rewritten == {
        "a": "${double(input.price) * 2.0}", "b": ["x ${input.n}", 1, None, True], "c": {"${input.n}": "$${y}"},
        "d": "${oops}",
    }  # fmt: skip
    assert [(path, issue.code) for path, issue in found] == [(("with", "d"), "UnknownName")]
    assert kind.fields is not None
    assert (kind.fields["a"].kind, kind.fields["c"].kind, names) == ("double", "object", {"input"})
    assert paths == {("input", "price"), ("input", "n")}


def test_prepared_values_render_again_and_again() -> None:
    value = {"a": "${input.n}", "b": {"c": ["${input.l}", "n=${input.n}"], "d": 1}, "e": "$${x}", "f": {"g": ["$${z}"]}}
    prepared = evaluate.prepare_value(value)
    expected = {"a": 3, "b": {"c": [[1, {"b": 1, "a": "ü"}], "n=3"], "d": 1}, "e": "${x}", "f": {"g": ["${z}"]}}
    assert prepared(DATA) == expected
    assert prepared({"input": {**DATA["input"], "n": 4}})["a"] == 4
    assert evaluate.render_value(value, DATA) == expected
    assert list(prepared(DATA)) == list(value)


def test_a_broken_template_fails_when_rendered() -> None:
    with pytest.raises(evaluate.ExpressionError):
        evaluate.render("${input.n +} x", DATA)
    with pytest.raises(evaluate.ExpressionError, match="never closed"):
        evaluate.render("${input.n", DATA)
