"""Running expressions: values in and out, every function, and what is refused."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from agentos_engine.expressions import evaluate, library, ordering

DATA: dict[str, Any] = {
    "n": 3, "price": 2, "text": "Grüße  an alle", "none": None, "l": [3, 1, 2, 1], "m": {"b": 1, "a": None},
    "rows": [{"k": "b", "v": 2}, {"k": "a", "v": None}, {"k": "c", "v": 1.5}], "when": "2026-03-29T01:30:00Z",
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("n", 3), ("m", {"b": 1, "a": None}), ("rows[0].k", "b"), ("n + 1", 4), ("double(n) / 2.0", 1.5), ("1u", 1),
        ("b'hi'", "aGk="), ("duration('90m')", "5400s"), ("duration('250ms')", "0.25s"),
        ("timestamp(when)", "2026-03-29T01:30:00Z"),
        ("timestamp('2026-01-01T01:00:00.5+01:00')",
         "2026-01-01T00:00:00.500000Z"),
        ("{'b': 1, 'a': {'2': true}}", {"a": {"2": True}, "b": 1}),
        ("coalesce([none, m.a, 'x'])", "x"), ("sum(l)", 7), ("sum([])", 0), ("avg([1, 2])", 1.5), ("avg([])", None),
        ("min(l)", 1), ("max(['a', 'c', 'b'])", "c"), ("min([])", None), ("sort(l)", [1, 1, 2, 3]),
        ("sort(['b', null, 'a'])", ["a", "b", None]), ("sortBy(rows, 'v').map(r, r.k)", ["c", "b", "a"]),
        ("distinct([1, 1.0, true, 'a', [1], [1.0], {'x': 1}, {'x': 1}])", [1, True, "a", [1], {"x": 1}]),
        ("flatten([[1], [2, [3]], 4])", [1, 2, [3], 4]), ("reverse(l)", [1, 2, 1, 3]), ("slice(l, 1, 3)", [1, 2]),
        ("slice(l, -2, 99)", [2, 1]), ("chunk(l, 3)", [[3, 1, 2], [1]]), ("range(3)", [0, 1, 2]), ("range(-1)", []),
        ("zip(['a', 'b'], [1])", [["a", 1]]), ("first(l)", 3), ("last(l)", 1), ("first([])", None),
        ("entries(m)", [{"key": "a", "value": None}, {"key": "b", "value": 1}]), ("keys(m)", ["a", "b"]),
        ("values(m)", [None, 1]), ("merge(m, {'c': 2, 'b': 0})", {"a": None, "b": 0, "c": 2}),
        ("pick(m, ['b', 'z'])", {"b": 1}), ("omit(m, ['b'])", {"a": None}),
        ("json(rows[0])", '{"k":"b","v":2}'), ("json(null)", "null"), ("json('é')", '"é"'),
        ("parseJson('{\"a\": [1, 2.5]}')", {"a": [1, 2.5]}), ("lower('ÄB')", "äb"), ("upper('äb')", "ÄB"),
        ("title('ab cd')", "Ab Cd"), ("truncate('abcdef', 4)", "abc…"), ("truncate('ab', 4)", "ab"),
        ("lines('a\\nb')", ["a", "b"]), ("regexFind('order 42!', '[0-9]+')", "42"),
        ("regexFind('order 42!', 'order ([0-9])')", "4"), ("regexFind('x', 'y')", None),
        ("regexReplace('a1b22', '([0-9]+)', '<\\\\1>')", "a<1>b<22>"),
        ("formatTime(timestamp(when), \"EEE d MMM yyyy, HH:mm 'h' XXX\", 'Europe/Berlin')",
         "Sun 29 Mar 2026, 03:30 h +02:00"),
        ("formatTime(timestamp(when), 'yyyy-MM-dd')", "2026-03-29"),
        ("startOf(timestamp(when), 'day', 'Europe/Berlin')", "2026-03-28T23:00:00Z"),
        ("startOf(timestamp(when), 'week')", "2026-03-23T00:00:00Z"),
        ("startOf(timestamp(when), 'quarter')", "2026-01-01T00:00:00Z"), ("parseDuration('7d')", "604800s"),
        ("parseDuration('1h30m')", "5400s"), ("parseDuration('PT90M')", "5400s"),
        ("parseDuration('-P1DT1S')", "-86401s"),
        ("hash('a')", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
        ("uuid('a') == uuid('a') && uuid('a') != uuid('b')", True), ("uuid('a').size()", 36),
        ("url('https://u@h.example:8443/p/q?a=1&b=#f')", {
            "fragment": "f", "host": "h.example", "path": "/p/q", "port": 8443, "query": {"a": "1", "b": ""},
            "scheme": "https"}),
        ("encodeUrl('a b/é')", "a%20b%2F%C3%A9"),
        ("text.split(' ').join('-')", "Grüße--an-alle"), ("'%s %d'.format(['a', 1])", "a 1"),
        ("math.greatest(1, 2.5)", 2.5), ("math.abs(-3)", 3), ("m.?zz.orValue(9)", 9), ("has(m.zz)", False),
        ("l.exists_one(x, x == 3)", True), ("rows.filter(r, r.v != null).map(r, r.k)", ["b", "c"]),
        ("m.map(k, k)", ["a", "b"]), ("m.filter(k, k > 'a')", ["b"]), ("[m][0].map(k, k + '!')", ["a!", "b!"]),
        ("(l.map(x, x * 2)).filter(x, x > 2)", [6, 4]), ("cel.bind(x, n, x * x)", 9),
    ],
)  # fmt: skip
def test_value(source: str, value: Any) -> None:
    found = evaluate.compile(source).evaluate(DATA)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nothing + 1", "nothing is called 'nothing'"), ("nothing.x", "nothing is called 'nothing'"),
        ("m.zz", "m has no field 'zz'"), ("none.x", "none is null"), ("m.zz + 1", 'no key "zz"'),
        ("none + 1", "do not go together"), ("n / 0", "divide by zero"), ("l[9]", "index=9"),
        ("1.0 / 0.0", "JSON can hold"),
        ("9223372036854775807 + n", "overflow"), ("type(n)", "a type is not a value"), ("int(text)", "cannot convert"),
        ("text.matches('(')", "missing )"), ("regexFind(text, '(?=a)')", "is not RE2"),
        ("parseJson(text)", "is not JSON"),
        ("range(10001)", "n ≤ 10000"), ("chunk(l, 0)", "n ≥ 1"), ("sort([rows, 1])", "have no order"),
        ("sum([1, rows])", "only numbers"),
        ("formatTime(timestamp(when), 'bbb')", "no part of a time pattern"),
        ("parseDuration('7 parsecs')", "no duration"),
        ("startOf(timestamp(when), 'day', '../etc')", "no time zone"),
        ("startOf(timestamp(when), 'eon')", "none of hour"),
        ("url('http://[')", "no URL"), ("optional.of(1)", "must be opened"), ("json(optional.of(1))", "must be opened"),
        ("unknown(1)", "no function"), ("1 +", "the end"), ("inParts(l)", "no function"),
    ],
)  # fmt: skip
def test_what_fails_says_why(source: str, said: str) -> None:
    with pytest.raises(evaluate.ExpressionError) as caught:
        evaluate.compile(source).evaluate(DATA)
    assert said in caught.value.message
    assert caught.value.expression == source


@pytest.mark.parametrize(
    ("source", "data"),
    [
        ("x == 'a'", {"x": "a\0b"}), ("x == 'a'", {"x": "\ud800"}), ("x == 1", {"x": 2**70}), ("x == 1", {"x": {1: 2}}),
        ("x == 1", {"x": object()}), ("size(x)", {"x": "a" * (library.MAX_TEXT + 1)}),
        ("x.exists(y, y == -1)", {"x": list(range(20_000))}), ("x.map(y, x)", {"x": list(range(9_000))}),
        ("x.map(y, s).join('')", {"x": list(range(9_000)), "s": "a" * 100_000}),
        ("s.replace('', s)", {"s": "a" * 100_000}), ("s" + ".replace('a', 'bbbbbbbbbb')" * 9, {"s": "a" * 1000}),
        ("cel.bind(a, s + s + s + s, cel.bind(b, a + a + a + a, cel.bind(c, b + b + b + b, c + c + c + c)))",
         {"s": "a" * 10**6}),
        (
            "cel.bind(a, [1,1,1,1,1,1,1,1,1,1], cel.bind(b, [a,a,a,a,a,a,a,a,a,a], cel.bind(c, [b,b,b,b,b,b,b,b,b,b],"  # noqa: ISC004
            " cel.bind(d, [c,c,c,c,c,c,c,c,c,c], [d,d,d,d,d,d,d,d,d,d]))))",
            {},
        ),
        ("range(9000).map(x, range(9000))", {}), ("s.split('')", {"s": "a" * 100_000}),
        ("x + x", {"x": list(range(9000))}),
        ("x.all(a, x.all(b, a == a))", {"x": list(range(1000))}), ("parseJson(s)", {"s": "[" * 100_000}),
    ],
)  # fmt: skip
def test_hostile_data_and_sizes_are_refused(source: str, data: dict[str, Any]) -> None:
    with pytest.raises(evaluate.ExpressionError):
        evaluate.compile(source).evaluate(data)


def test_deep_data_is_refused_or_handed_through() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(evaluate.ExpressionError):
        evaluate.compile("json(x)").evaluate({"x": deep})


def test_only_what_is_reached_is_looked_at() -> None:
    data = {"x": {"a": 1, "b": object(), "c": "\0"}, "y": object()}
    assert evaluate.compile("x.a + 1").evaluate(data) == 2
    assert evaluate.compile("x['a'] == 1 && !has(x.zz)").evaluate(data) is True


@pytest.mark.parametrize(
    "source",
    [
        "x.map(y, y + 1)",
        "x.filter(y, y % 2 == 0)",
        "(x.map(y, y).filter(y, y > 5)).map(y, -y)",
        "x.map(y, y > 3, [y])",
        "reverse(x.map(y, y))",
    ],
)
def test_long_lists_in_parts_give_the_same(source: str) -> None:
    long = list(range(ordering.LONG * 2 + 7))
    program = evaluate.compile(source)
    expression = source.removeprefix("reverse(").removesuffix(")") if source.startswith("reverse") else source
    expected = evaluate.environment.parse(expression).eval(data={"x": long}).plain_value()
    if source.startswith("reverse"):
        expected.reverse()
    assert program.evaluate({"x": long}) == expected


def test_long_lists_of_computed_times_still_work() -> None:
    moments = evaluate.compile("x.map(y, timestamp(y)).filter(t, t.getFullYear() == 2026)")
    assert len(moments.evaluate({"x": ["2026-01-01T00:00:00Z"] * 500})) == 500


def test_datetimes_are_times() -> None:
    moment = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
    naive = moment.replace(tzinfo=None)
    assert evaluate.compile("now").evaluate({"now": moment}) == "2026-01-01T12:00:00Z"
    assert evaluate.compile("timestamp(run.at).getHours()").evaluate({"run": {"at": naive, "x": (1,)}}) == 12
    assert evaluate.render("at ${now}", {"now": moment}) == "at 2026-01-01T12:00:00Z"


def test_the_order_of_maps_does_not_depend_on_the_process() -> None:
    script = (
        "import json; from agentos_engine.expressions import evaluate as e\n"
        "d = {'x': {c: c for c in 'hgfedcba'}}\n"
        "print(json.dumps([e.compile(s).evaluate(d) for s in"
        " ('x.map(k, k)', 'merge(x, {\"i\": 1})', '[x][0].filter(k, true)', 'values(x)', 'json(x)')]))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script]
    runs = {subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout for _ in range(3)}
    assert len(runs) == 1
    assert json.loads(runs.pop())[0] == list("abcdefgh")


def test_truth() -> None:
    assert evaluate.truth("n > 2", DATA) is True
    with pytest.raises(evaluate.ExpressionError, match="needs a boolean"):
        evaluate.truth("n", DATA)
    with pytest.raises(evaluate.ExpressionError, match="gave null"):
        evaluate.truth("none", DATA)
