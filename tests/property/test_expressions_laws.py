"""Laws of expressions: what was checked runs, conversions keep values, and nothing depends on chance."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from agentos_engine.expressions import check, environment, evaluate, grammar, infer, template, types

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["n", "m", "price", "name", "flag", "when", "status", "items", "names", "labels", "wait"],
    "properties": {
        "n": {"type": "integer"},
        "m": {"type": "integer"},
        "price": {"type": "number"},
        "rate": {"type": "number"},
        "name": {"type": "string"},
        "note": {"type": "string"},
        "flag": {"type": "boolean"},
        "sure": {"type": "boolean"},
        "when": {"type": "string", "format": "date-time"},
        "until": {"type": "string", "format": "date-time"},
        "wait": {"type": "string", "format": "duration"},
        "status": {"enum": ["open", "shut"]},
        "names": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["price"],
                "properties": {"price": {"type": "number"}, "count": {"type": "integer"}, "tag": {"type": "string"}},
            },
        },
        "inner": {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}},
    },
}
SCOPE = {"input": types.from_schema(SCHEMA), "now": types.TIMESTAMP}

_small = st.integers(-5, 5)
_number = st.one_of(_small, st.floats(-100, 100).map(lambda value: round(value, 3)))
_word = st.text("abcé ", max_size=4)
_moment = st.sampled_from(["2026-01-01T00:00:00Z", "2026-03-29T02:30:00+02:00", "2025-12-31T23:59:59.5Z"])


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


DATA = st.fixed_dictionaries({
    "input": st.fixed_dictionaries({
        "n": _small, "m": _small, "price": _number, "rate": _maybe(_number), "name": _word, "note": _maybe(_word),
        "flag": st.booleans(), "sure": _maybe(st.booleans()), "when": _moment, "until": _maybe(_moment),
        "wait": st.sampled_from(["PT1H", "P1D", "PT90M"]), "status": st.sampled_from(["open", "shut"]),
        "names": st.lists(_word, max_size=3), "labels": st.dictionaries(st.sampled_from("ab"), _word),
        "items": st.lists(st.fixed_dictionaries(
            {"price": _number, "count": _maybe(_small), "tag": _maybe(_word)}), max_size=3),
        "inner": _maybe(st.fixed_dictionaries({"x": _small})),
    }),
    "now": _moment,
})  # fmt: skip

_LEAVES = [
    "input.n", "input.m", "input.price", "input.rate", "input.name", "input.note", "input.flag", "input.sure",
    "input.when", "input.until", "input.wait", "input.status", "input.names", "input.items", "input.inner",
    "input.inner.x", "input.labels", "now", "1", "2", "-3", "0.5", "2.0", "'a'", "'open'", "true", "null", "[]",
    "[1, 2.5]", "['a', null]", "{'k': 1}", "duration('1h')", "x", "x.price", "x.count", "x.tag",
]  # fmt: skip
_FORMS = [
    "{0} + {1}", "{0} - {1}", "{0} * {1}", "{0} < {1}", "{0} >= {1}", "{0} == {1}", "{0} != {1}", "{0} && {1}",
    "{0} || {1}", "{0} in {1}", "!{0}", "-{0}", "({0})", "{0} ? {1} : {2}", "{0} != null && {1}", "{0} == null || {1}",
    "{0} == null ? {1} : {2}", "has(input.rate) && {0}", "has(input.inner) ? {0} : {1}", "[{0}, {1}]", "{{'a': {0}}}",
    "{{'a': {0}, 'b': {1}}}.a", "size({0})", "{0}.size()", "coalesce([{0}, {1}])", "sum({0})", "avg({0})", "min({0})",
    "sort({0})", "distinct({0})", "first({0})", "reverse({0})", "flatten([{0}, {1}])", "keys({0})", "values({0})",
    "entries({0})", "merge({0}, {1})", "json({0})", "string({0})", "double({0})", "math.round({0})", "math.abs({0})",
    "math.greatest({0}, {1})", "lower({0})", "{0}.contains({1})", "{0}.startsWith({1})", "hash({0})", "lines({0})",
    "truncate({0}, 3)", "slice({0}, 0, 2)", "sortBy({0}, 'price')", "formatTime({0}, 'yyyy-MM-dd')",
    "startOf({0}, 'week', 'Europe/Berlin')", "{0}.getFullYear()", "input.items.map(x, {0})", "{0}.map(x, {1})",
    "input.items.filter(x, {0})", "input.items.all(x, {0})", "{0}.exists(x, {1})", "cel.bind(x, {0}, {1})",
    "input.items.filter(x, x.count != null).map(x, {0})", "input.?inner.?x.orValue({0})", "input.inner.?x.orValue({0})",
    "input.?labels.?a.orValue({0})", "input.labels.?a.optMap(x, {0}).orValue({1})", "zip({0}, {1})",
    "pick({0}, ['a'])", "type({0}) == int", "chunk({0}, 2)", "last({0})", "max({0})", "title({0})", "{0}.split(' ')",
    "regexFind({0}, 'a+')", "regexReplace({0}, 'a', 'b')", "{0}.join(',')", "{0} % {1}",
]  # fmt: skip


def _combine(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda form, a, b, c: form.format(a, b, c), st.sampled_from(_FORMS), children, children, children)


EXPRESSIONS = st.recursive(st.sampled_from(_LEAVES), _combine, max_leaves=5)


class _Watcher(infer.Inference):
    """Notes whether anything in an expression is of no known type: then the run decides, as documented."""

    __slots__ = ("undeclared",)

    def __init__(self, source: str) -> None:
        super().__init__(source, SCOPE)
        self.undeclared = False

    def visit(self, node: grammar.Node) -> types.Type:
        return self._seen(super().visit(node))

    def value(self, node: grammar.Node) -> types.Type:
        return self._seen(super().value(node))

    def _seen(self, kind: types.Type) -> types.Type:
        at: types.Type | None = kind
        while at is not None:
            self.undeclared |= at.kind == "any"
            at = at.item
        return kind


def _undeclared(source: str) -> bool:
    watcher = _Watcher(source)
    watcher.value(grammar.parse(source))
    return watcher.undeclared


# What a run may still answer, as documented: arithmetic at its limits, and what cannot be ordered.
_DOCUMENTED = re.compile(r"overflow|cannot convert|divi|modulus|out of range|range|too large|have no order|Index error")


_CHAINS = st.lists(
    st.sampled_from(
        ["input", "now", "inner", "x", "rate", "labels", "items", "flag", "sure", "status", "in", "int", "no"]
    ),
    min_size=1,
    max_size=5,
).map(".".join)
_EXPECTED = st.sampled_from(
    [None, types.BOOL, types.STRING, types.INT, types.DYN, types.DOUBLE, types.nullable(types.BOOL), SCOPE["input"]]
)


@given(_CHAINS | st.sampled_from(_LEAVES), _EXPECTED)
def test_the_short_cut_for_declared_fields_says_what_the_walk_says(source: str, expect: types.Type | None) -> None:
    quick = check._declared(source, SCOPE, expect)
    assert quick is None or quick == check._walked(source, SCOPE, expect)


@pytest.mark.parametrize("source", ["input.n", "input.name", "now", "input.inner"])
def test_declared_fields_take_the_short_cut(source: str) -> None:
    assert check._declared(source, SCOPE, None) is not None


@settings(max_examples=500, suppress_health_check=list(HealthCheck), deadline=None)
@given(EXPRESSIONS, DATA)
def test_a_checked_expression_without_issues_does_not_fail_on_conforming_data(
    source: str, data: dict[str, Any]
) -> None:
    checked = check.check(source, SCOPE)
    assume(not checked.issues)
    try:
        value = evaluate.compile(checked.text).evaluate(data)
    except evaluate.ExpressionError as error:
        documented = _DOCUMENTED.search(error.message) or _undeclared(source)
        assert documented, (source, checked.text, error.message)  # noqa: PT017
        return
    assert _is(value, checked.type), (source, checked.text, value, str(checked.type))


def _is(value: Any, kind: types.Type) -> bool:
    """Whether a JSON value is of the type the checker promised."""
    if kind.kind in ("any", "type"):
        return True
    if value is None:
        return kind.nullable
    match kind.kind:
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "double":
            return isinstance(value, (int, float)) if kind.loose else isinstance(value, float)
        case "string" | "timestamp" | "duration":
            return isinstance(value, str) and (kind.enum is None or value in kind.enum)
        case "list":
            return isinstance(value, list) and all(_is(item, kind.item or types.DYN) for item in value)
        case "map":
            return isinstance(value, dict) and all(_is(item, kind.item or types.DYN) for item in value.values())
        case "object":
            fields = kind.fields or {}
            return isinstance(value, dict) and all(_is(value[name], one) for name, one in fields.items())
    return False


_NUMBERS = ["input.n", "input.m", "input.price", "input.items.size()", "1", "2", "-3", "0.5", "2.0", "0x1F"]
_SUMS = [
    "{0} + {1}", "{0} - {1}", "({0}) * ({1})", "-({0})", "(({0}) > ({1}) ? {0} : {1})", "math.abs({0})",
    "[{0}, {1}][0]", "sum([{0}, {1}])", "math.round({0})", "coalesce([null, {0}])", "cel.bind(x, {0}, x + {1})",
    "sum(input.items.map(x, x.price + {0}))", "(({0}) == ({1}) ? 1 : 0)", "((({0}) <= ({1})) == true ? {0} : 2)",
]  # fmt: skip
NUMBERS = st.recursive(
    st.sampled_from(_NUMBERS),
    lambda inner: st.builds(lambda form, a, b: form.format(a, b), st.sampled_from(_SUMS), inner, inner),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(NUMBERS, DATA)
def test_an_inserted_conversion_keeps_the_value(source: str, data: dict[str, Any]) -> None:
    checked = check.check(source, SCOPE)
    assert all(issue.code == "ExpressionTooComplex" for issue in checked.issues)
    try:
        plain = evaluate.compile(source).evaluate(data)
    except evaluate.ExpressionError:
        return  # without the conversion it does not run at all: that is what it is for
    assert evaluate.compile(checked.text).evaluate(data) == plain


@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS)
def test_what_is_stored_checks_again_to_itself(source: str) -> None:
    checked = check.check(source, SCOPE)
    assume(not checked.issues and "?" not in source and "has(" not in source)
    again = check.check(checked.text, SCOPE)
    assert not again.issues
    assert again.text == checked.text


_PIECES = st.sampled_from(
    ["a", "b.c", "1", "2.5", "0x1F", "1u", "'x'", '"y\\n"', "r'\\d'", "b'z'", "(", ")", "[", "]", "{", "}", ".", ",",
     ":", "?", "+", "-", "*", "/", "%", "<", "<=", "==", "!=", "!", "&&", "||", " in ", " ", "has(a.b)", ".map(x, x)",
     "true", "null", ".?", "[?", "// c\n", "\\", "=", "&", "`a-b`", "1e5", ".5", "'''t'''", "f(", ".all(", "if"]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(_PIECES, max_size=9).map("".join))
def test_whatever_our_parser_takes_the_evaluator_takes(source: str) -> None:
    try:
        grammar.parse(source)
    except grammar.Refused as error:
        assert 0 <= error.offset <= len(source)  # noqa: PT017
        return
    refused = environment.refusal(source)
    # Macros called with the wrong shape are the checker's to report; the grammar has no opinion on them.
    if refused is not None and not refused[2]:
        assert check.syntax(source), (source, refused)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.lists(_PIECES, max_size=12).map("".join))
def test_no_text_breaks_the_checker(source: str) -> None:
    for issue in check.check(source, SCOPE).issues:
        assert issue.message
        assert 0 <= issue.offset <= len(source)
        assert issue.length >= 1


@settings(max_examples=300, deadline=None)
@given(st.text("${}'\"a \\", max_size=30))
def test_a_template_never_loses_text(text: str) -> None:
    parsed = template.parse(text)
    if parsed.error is not None:
        assert parsed.segments == (text,)
        return
    again = "".join(
        part.replace("${", "$${") if isinstance(part, str) else f"${{{part.source}}}" for part in parsed.segments
    )
    assert template.parse(again).segments == parsed.segments
    for part in parsed.segments:
        if isinstance(part, template.Expr):
            assert text[part.offset : part.offset + len(part.source)] == part.source


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20), DATA)
def test_data_is_never_evaluated(text: str, data: dict[str, Any]) -> None:
    assume("\0" not in text and text.isprintable())
    data["input"]["name"] = "${now}" + text
    assert evaluate.render("<${input.name}>", data) == f"<${{now}}{text}>"


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, DATA)
def test_evaluation_leaves_its_data_alone_and_repeats(source: str, data: dict[str, Any]) -> None:
    before = repr(data)
    try:
        program = evaluate.compile(source)
        first = program.evaluate(data)
    except evaluate.ExpressionError:
        return
    assert repr(program.evaluate(data)) == repr(first)
    assert repr(data) == before


_OPTIONAL_LEAVES = ["x", "x.?a", "optional.of(1)", "optional.none()", "null", "[1]", "{'a': 1}", "y", "type(1)"]
_OPTIONAL_FORMS = [
    "json({0})", "coalesce([{0}, {1}])", "[{0}].map(y, {1})", "{0}.orValue({1})", "{0}.or({1})", "{0}.optMap(y, {1})",
    "{0}.optFlatMap(y, {1})", "{0} == {1}", "true ? {0} : {1}", "[?{0}]", "{{?'a': {0}}}", "cel.bind(y, {0}, {1})",
    "dyn({0})", "{0}.?b", "{0}[?0]", "{0}.value()", "merge({0}, {1})", "sort([{0}, {1}])", "{0}.a", "optional.of({0})",
    "optional.ofNonZeroValue({0})", "entries({0})", "first([{0}])", "'%s'.format([{0}])",
]  # fmt: skip
OPTIONALS = st.recursive(
    st.sampled_from(_OPTIONAL_LEAVES),
    lambda inner: st.builds(lambda form, a, b: form.format(a, b), st.sampled_from(_OPTIONAL_FORMS), inner, inner),
    max_leaves=6,
)


@settings(max_examples=500, deadline=None)
@given(OPTIONALS)
def test_no_optional_leaves_the_evaluator(source: str) -> None:
    # A function or a result that is handed an optional ends the process: the guard has to refuse every way there.
    try:
        value = evaluate.compile(source).evaluate({"x": {"a": {"b": [1, None]}}})
    except evaluate.ExpressionError as error:
        assert "Unable to convert" not in error.message  # noqa: PT017
        return
    assert value is None or isinstance(value, (bool, int, float, str, list, dict))
