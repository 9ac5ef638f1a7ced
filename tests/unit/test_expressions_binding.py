"""The evaluator's binding loses references; after an evaluation every count is what it was."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import tracemalloc
from typing import Any

import pytest

from agentos_engine.expressions import environment, evaluate

DATA: dict[str, Any] = {"x": {"a": None, "l": [None, 1, {"b": None}], "s": "text" * 9}, "l": [3, None, 1]}
ROUNDS = 3000


@pytest.mark.parametrize(
    "source",
    [
        "x.a == null", "[x.a][0]", "x.l.map(v, v)", "[x, x.a, null]", "{'k': null, 'l': [null]}",
        "coalesce([null, x.a, 1])",
        "coalesce([null])",
        "first(l.filter(v, v == null))", "sort(l)", "values(x)", "merge(x, {'z': null})", "json(null)",
        "json(x.a)", "distinct([null, null])", "regexFind(x.s, 'zz')", "parseJson('[null, {\"a\": null}]')",
        "x.l[9]",
        "sum(['a', x.a])", "x.l.map(v, coalesce([v, null]))", "cel.bind(n, null, [n, n])", "lower(x.s)", "reverse(l)",
        "range(-1)", "first([])", "avg([])", "x.?zz.orValue(null)", "slice(l, 0, 2)", "upper(1)", "chunk(l, 0)",
        "startOf(timestamp('2026-01-01T00:00:00Z'), 'day')", "formatTime(timestamp('2026-01-01T00:00:00Z'), 'bad')",
    ],
)  # fmt: skip
def test_none_keeps_its_references(source: str) -> None:
    def run() -> None:
        with contextlib.suppress(evaluate.ExpressionError):
            evaluate.compile(source).evaluate(DATA)

    for _ in range(50):
        run()
    gc.collect()
    gc.disable()
    try:
        before = sys.getrefcount(None)
        for _ in range(ROUNDS):
            run()
        change = sys.getrefcount(None) - before
    finally:
        gc.enable()
    assert abs(change) < ROUNDS // 10


def test_arguments_and_results_of_functions_are_freed() -> None:
    big = "a" * 100_000
    program = evaluate.compile("lower(upper(s)) + truncate(s, 50000) + json([s])")
    for _ in range(20):
        program.evaluate({"s": big})
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(200):
        program.evaluate({"s": big})
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # 200 rounds used 160 MB of text; what the binding loses is some hundred bytes a call.
    assert kept < 1_000_000


def test_every_thread_settles_its_own() -> None:
    wrong: list[Any] = []

    def run(number: int) -> None:
        program = evaluate.compile(f"sum(l.filter(v, v != null).map(v, v + {number}))")
        wrong.extend(value for _ in range(500) if (value := program.evaluate(DATA)) != 4 + 2 * number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_environment_is_made_once() -> None:
    assert environment.environment() is environment.environment()
