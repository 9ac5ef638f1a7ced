"""Keeps the reference counts right that cel-expr-python 0.1.3 gets wrong.

Two defects of the binding, both measured. It loses the tuple of arguments and the result of every function written in
Python: so functions get one list of arguments, which is emptied afterwards, and results are released (what remains lost
is that empty list and its tuple, some 130 bytes a call). And every null it turns into a Python value takes a reference
to None that was never there: where None is counted (before Python 3.12) a long-lived process would end in "deallocating
None". What an evaluation did is noted and put right after it. The defects are probed once: a release of the binding
without them turns the correction off by itself.
"""

from __future__ import annotations

import contextvars
import ctypes
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cel_expr_python import cel

_ROUNDS = 64


def _counter(name: str) -> Callable[[Any], None]:
    function: Any = getattr(ctypes.pythonapi, name)
    function.argtypes = [ctypes.py_object]
    function.restype = None
    counted: Callable[[Any], None] = function
    return counted


_take = _counter("Py_IncRef")
_release = _counter("Py_DecRef")


class Calls:
    """The lists of arguments and the results of the calls of one evaluation."""

    __slots__ = ("args", "results", "token")

    def __init__(self) -> None:
        self.args: list[list[Any]] = []
        self.results: list[Any] = []
        self.token = _calls.set(self)


_calls: contextvars.ContextVar[Calls | None] = contextvars.ContextVar("calls", default=None)


@dataclass(frozen=True, slots=True)
class _Defects:
    leaks: bool
    steals: bool


def noted(function: Callable[..., Any]) -> Callable[[list[Any]], Any]:
    """`function`, called with a list of its arguments; what it was given and what it gave is noted for `settle`."""

    def call(args: list[Any]) -> Any:
        calls = _calls.get()
        if calls is None:
            return function(*args)
        calls.args.append(args)
        result = function(*args)
        calls.results.append(result)
        return result

    return call


def settle(calls: Calls) -> None:
    """End an evaluation, begun with `Calls()` in the same context, and put right what it has left."""
    _calls.reset(calls.token)
    args, results = calls.args, calls.results
    if not args:
        return
    defects = _defects()
    if defects.steals:
        give(nulls(args))
    if defects.leaks:
        for given in args:
            given.clear()
        for result in results:
            _release(result)


def taken(value: Any) -> Any:
    """`value`, just taken out of the evaluator as a Python value, with the references to its nulls put right."""
    if value is None:
        if _defects().steals:
            _take(None)
    elif type(value) in (list, dict) and _defects().steals:
        give(nulls(value))
    return value


def give(count: int) -> None:
    """Give None `count` references."""
    for _ in range(count):
        _take(None)


def nulls(value: Any) -> int:
    """How many nulls stand in a plain value."""
    if value is None:
        return 1
    kind = type(value)
    if kind is list:
        return sum(1 if item is None else nulls(item) for item in value if type(item) not in _FLAT)
    if kind is dict:
        return sum(1 if item is None else nulls(item) for item in value.values() if type(item) not in _FLAT)
    return 0


_FLAT = frozenset({str, int, float, bool})


@functools.cache
def _defects() -> _Defects:
    seen: list[Any] = []

    def probe(value: Any) -> Any:
        seen.append(value)
        return ["result"]

    overload = cel.Overload(id="probe", return_type=cel.Type.DYN, parameters=[cel.Type.List(cel.Type.DYN)], impl=probe)
    environment = cel.NewEnv(functions=[cel.FunctionDecl("probe", [overload])])
    environment.compile("probe(['argument'])", disable_check=True).eval(data={})
    # One reference is the list's, one the argument of getrefcount: any other is lost.
    leaks = sys.getrefcount(seen[0]) > 2
    null = environment.compile("[null, null, null, null, null, null, null, null]", disable_check=True)
    null.eval(data={}).plain_value()
    before = sys.getrefcount(None)
    for _ in range(_ROUNDS):
        null.eval(data={}).plain_value()
    # Other references to None come and go meanwhile, but by far not that many.
    steals = before - sys.getrefcount(None) > 4 * _ROUNDS
    if steals:
        give(8 * _ROUNDS + 8)
    return _Defects(leaks, steals)
