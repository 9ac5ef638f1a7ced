"""The checker: conversions it inserts, mistakes it finds, hints it gives."""

from __future__ import annotations

import pytest

from agentos_engine.expressions import check, functions, library, types

SCOPE = {
    "input": types.from_schema({
        "type": "object",
        "required": ["n", "price", "when", "status", "items", "any"],
        "properties": {
            "n": {"type": "integer"}, "price": {"type": "number"}, "rate": {"type": "number"},
            "note": {"type": "string"}, "flag": {"type": "boolean"},
            "when": {"type": "string", "format": "date-time"}, "until": {"type": "string", "format": "date-time"},
            "wait": {"type": "string", "format": "duration", "default": "PT1H"}, "status": {"enum": ["open", "shut"]},
            "items": {"type": "array", "items": {
                "type": "object", "required": ["price"],
                "properties": {"price": {"type": "number"}, "name": {"type": "string"}}}},
            "any": {}, "inner": {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}},
        },
    }),
    "steps": types.object_type({"pull": types.object_type({
        "output": types.nullable(types.object_type({"data": types.LIST})), "status": types.STRING})}),
    "now": types.TIMESTAMP,
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "stored"),
    [
        ("input.price * 2", "double(input.price) * 2.0"),
        ("input.n * input.price", "double(input.n) * double(input.price)"),
        ("input.n / 2", "input.n / 2"),
        ("input.price > 0", "input.price > 0.0"),
        ("0 < input.price", "0.0 < input.price"),
        ("input.price > -1", "input.price > -1.0"),
        ("input.price > input.n", "input.price > input.n"),
        ("(input.n + 1) * 1.5", "double((input.n + 1)) * 1.5"),
        ("input.price + (2)", "double(input.price) + double((2))"),
        ("input.price + 0x10", "double(input.price) + double(0x10)"),
        ("sum(input.items.map(i, i.price)) / 2", "double(sum(input.items.map(i, i.price))) / 2.0"),
        ("input.when < now", "timestamp(input.when) < timestamp(now)"),
        ("now - duration('1h')", "timestamp(now) - duration('1h')"),
        ("now + input.wait", "timestamp(now) + parseDuration(input.wait)"),
        ("input.when.getFullYear()", "timestamp(input.when).getFullYear()"),
        ("input.until == null", "input.until == null"),
        ("input.until == now", "(input.until == null ? null : timestamp(input.until)) == timestamp(now)"),
        ("math.round(input.n)", "math.round(double(input.n))"),
        ("has(input.rate) && input.rate > 1", "(has(input.rate) && input.rate != null) && input.rate > 1.0"),
        ("input.inner.?x.orValue(1)", "optional.ofNonZeroValue(input.inner).?x.orValue(1)"),
        ("input.n + 1", "input.n + 1"),
        ("'a' + \"b\"", "'a' + \"b\""),
        ("1 + // why\n 2.5", "1.0 + // why\n 2.5"),
    ],
)
def test_conversions_are_text(source: str, stored: str) -> None:
    checked = check.check(source, SCOPE)
    assert checked.issues == ()
    assert checked.text == stored


@pytest.mark.parametrize(
    ("source", "code", "at", "hint"),
    [
        ("inptu.n", "UnknownName", "inptu", "did you mean 'input'?"),
        ("input.prise", "UnknownField", "prise", "did you mean 'price'?"),
        ("steps.my-step.output", "UnknownField", "my", "a hyphen is a minus"),
        ("lowr('A')", "UnknownFunction", "lowr", "did you mean 'lower'?"),
        ("'A'.lower()", "UnknownFunction", "lower", "it is written lower(string)"),
        ("math.rond(1.5)", "UnknownFunction", "math.rond", "did you mean 'math.round'?"),
        ("input.status == 'opn'", "TypeMismatch", "'opn'", "did you mean 'open'?"),
        ("input.status in ['open', 'shur']", "TypeMismatch", "'shur'", "did you mean 'shut'?"),
        ("input.n == '3'", "TypeMismatch", "input.n == '3'", "remove the quotes"),
        ("'a' + input.n", "TypeMismatch", "'a' + input.n", "write string(input.n)"),
        ("input.any + 1", "TypeMismatch", "input.any", "declare its type, or write int(input.any)"),
        ("input.n ? 1 : 2", "TypeMismatch", "input.n", "write input.n != 0"),
        ("input.items.length", "UnknownField", "length", "write .size()"),
        ("'a' in 'abc'", "TypeMismatch", "'abc'", "write text.contains(part)"),
        ("input.note.size()", "MayBeNull", "input.note", "test input.note != null first"),
        ("input.rate + 1", "MayBeNull", "input.rate", "coalesce([input.rate, …])"),
        ("input.rate > 1", "MayBeNull", "input.rate", "test"),
        ("!input.flag", "MayBeNull", "input.flag", "test"),
        ("steps.pull.output.data", "MayBeNull", "steps.pull.output", "test"),
        ("first(input.items).price", "MayBeNull", "first(input.items)", "test"),
        ("input.items.map(i, i.name.size())", "MayBeNull", "i.name", "test"),
        ("optional.of(1)", "TypeMismatch", "optional.of(1)", "orValue"),
        ("[input.?note]", "TypeMismatch", "input.?note", "orValue"),
        ("json(input.?note)", "TypeMismatch", "input.?note", "orValue"),
        ("input === 1", "ExpressionSyntax", "=", "CEL compares with == and !="),
        ("input.n and true", "ExpressionSyntax", "and", "write && for and"),
        ("input.n = 3", "ExpressionSyntax", "=", "compare with =="),
        ("{{ input.n }}", "ExpressionSyntax", "}", "not a Jinja template"),
        ("${input.n}", "ExpressionSyntax", "$", "without ${ and }"),
        ("input.items.map(x => x)", "ExpressionSyntax", "=", "arrow"),
        ("None", "UnknownName", "None", "write null"),
        ("input.n +", "ExpressionSyntax", "", None),
        ("message{a: 1}", "ExpressionSyntax", "message", None),
        ("input.items.map(a, input.items.map(b, input.items.map(c, 1)))", "ExpressionTooComplex", None, "a step"),
    ],
)
def test_a_mistake_has_a_code_a_place_and_a_hint(source: str, code: str, at: str | None, hint: str | None) -> None:
    issue = check.check(source, SCOPE).issues[0]
    assert issue.code == code
    if at is not None:
        assert source[issue.offset : issue.offset + issue.length] == at
    assert hint is None or hint in (issue.hint or "")


@pytest.mark.parametrize(
    "source",
    [
        "input.note != null && input.note.size() > 3",
        "input.note == null || input.note.size() > 3",
        "input.note == null ? 0 : input.note.size()",
        "!(input.note == null) && input.note.size() > 3",
        "input.inner != null && input.n > 1 && input.inner.x > input.n",
        "has(input.note) ? input.note.size() : 0",
        "coalesce([input.note, 'none']).size()",
        "input.items.filter(i, i.name != null).map(i, i.name.size())",
        "input.items.map(i, i.name != null, i.name.size())",
        "steps.pull.output != null ? steps.pull.output.data : []",
        "steps.pull.output.?data.orValue([])",
        "input.note == 'x' && input.note.size() > 0",
        "cel.bind(x, input.n, x + x)",
        "type(input.n) == int",
        "input['n'] + 1",
        "input.any > 3",
        "json(input.note)",
    ],
)
def test_null_is_followed_through_tests(source: str) -> None:
    assert check.check(source, SCOPE).issues == ()


def test_names_and_paths() -> None:
    checked = check.check(
        "steps.pull.output.?data.orValue([]).filter(x, x != input.n).size() + input.items[0].price", SCOPE
    )
    assert checked.names == {"steps", "input"}
    assert checked.paths == {("steps", "pull", "output", "data"), ("input", "n"), ("input", "items")}


def test_a_local_variable_hides_a_root_and_what_was_known_of_it() -> None:
    checked = check.check("input.note != null && [{'note': null}].all(input, input.note.size() > 0)", SCOPE)
    assert [issue.code for issue in checked.issues] == ["TypeMismatch"]
    assert check.check("[1].all(now, now > 0)", SCOPE).names == set()


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ("input.n > 1", []),
        ("input.any", []),
        ("input.n", ["NotBoolean"]),
        ("input.note", ["NotBoolean"]),
        ("input.flag", ["MayBeNull"]),
        ("input.flag == true", []),
    ],
)
def test_a_decision_is_boolean(source: str, codes: list[str]) -> None:
    assert [issue.code for issue in check.check(source, SCOPE, types.BOOL).issues] == codes


def test_what_is_wanted_is_checked() -> None:
    assert check.check("input.n", SCOPE, types.DOUBLE).issues == ()
    assert [issue.code for issue in check.check("input.note", SCOPE, types.STRING).issues] == ["MayBeNull"]
    assert [issue.code for issue in check.check("input.n", SCOPE, types.STRING).issues] == ["TypeMismatch"]


def test_what_may_be_null_still_gives_a_text_to_run() -> None:
    checked = check.check("input.rate * 2", SCOPE)
    assert [issue.code for issue in checked.issues] == ["MayBeNull"]
    assert checked.text == "double(input.rate) * 2.0"


def test_all_mistakes_at_once() -> None:
    codes = [issue.code for issue in check.check("inptu.x > 1 && input.prise > 2 && lowr('a') == 'a'", SCOPE).issues]
    assert codes == ["UnknownName", "UnknownField", "UnknownFunction"]


@pytest.mark.parametrize(
    "source",
    [
        "1+" * 10_000 + "1", "+".join(["1"] * 2000), "(" * 50_000 + "1" + ")" * 50_000, "(" * 4000 + "1" + ")" * 4000,
        "!" * 8000 + "true", "[" * 4000, "true?1:" * 1000 + "1", "input" + ".any" * 1000,
        "[1].map(a," * 20 + "1" + ")" * 20, "[" + "1," * 3000 + "1]", "cel.bind(a, 1," * 9 + "a" + ")" * 9,
    ],
)  # fmt: skip
def test_a_hostile_source_is_too_complex(source: str) -> None:
    assert [issue.code for issue in check.check(source, SCOPE).issues] == ["ExpressionTooComplex"]
    assert [issue.code for issue in check.syntax(source)] == ["ExpressionTooComplex"]


@pytest.mark.parametrize(
    "source", ["", " ", "'", '"' * 8001, "'" + "\\\\" * 4000, "9" * 7000, "a..b", "1 2", "\\", "\0", "é"]
)
def test_a_broken_source_is_a_syntax_error(source: str) -> None:
    assert check.check(source, SCOPE).issues[0].code == "ExpressionSyntax"


def test_syntax_knows_no_scope() -> None:
    assert check.syntax("whatever.field + 1 > other") == ()
    assert check.syntax("nothing(1)")[0].code == "UnknownFunction"


def test_every_function_of_ours_is_registered_and_implemented() -> None:
    registered = {one.name for one in functions.REGISTRY if one.ours}
    assert registered == set(library.IMPLEMENTATIONS)
    assert all(one.doc.endswith(".") for one in functions.REGISTRY)
