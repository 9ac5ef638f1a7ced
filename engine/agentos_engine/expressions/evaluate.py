"""Runs checked expressions and templates on plain JSON data.

Values in are JSON (maps, lists, text, numbers, booleans, null) and datetimes, which count as RFC 3339 text. Values out
are JSON: a time is RFC 3339 text in UTC, a duration text in seconds (``90s``), bytes base64 text, an unsigned integer
an integer. What an expression reaches is cut out of the data before the evaluator sees it, so the cost follows the
expression and not the state of the run; a plain path never enters the evaluator at all.

Whatever goes wrong is an `ExpressionError`: a missing key of undeclared data, an index out of range, a division by
zero, a value too large. Text with a NUL or a lone surrogate, and integers beyond 64 bits, are errors too: the evaluator
cannot carry them. Maps come out in the order of their keys.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from cel_expr_python import cel

from agentos_engine.expressions import (
    binding,
    check,
    convert,
    cost,
    environment,
    grammar,
    infer,
    narrow,
    ordering,
    template,
)

ExpressionError = convert.ExpressionError
Data = Mapping[str, Any]
Render = Callable[[Data], Any]

_BAD = (cel.Type.ERROR, cel.Type.UNKNOWN)


class Program:
    """An expression ready to run; make it with `compile`."""

    __slots__ = ("_cost", "_expressions", "_path", "_prepared", "_reach", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            tree = grammar.parse(source)
            walk = check.guard(source, tree)
            self._cost = cost.Cost(tree)
        except grammar.Refused as error:
            raise ExpressionError(error.message, source) from None
        except RecursionError:
            raise ExpressionError("nested too deeply", source) from None
        self._path = narrow.path_of(tree)
        if self._path is not None and self._path[0] in infer.TYPE_NAMES:
            self._path = None
        self._reach = convert.reach(walk.paths)
        self._prepared = ordering.Prepared(source, tree)
        try:
            self._expressions = {self._prepared.text: environment.parse(self._prepared.text)}
        except RuntimeError:
            refused = environment.refusal(source)
            raise ExpressionError(refused[0] if refused else "is no expression", source) from None

    def evaluate(self, data: Data) -> Any:
        """The value for `data`, a map from root names to JSON; raises `ExpressionError`."""
        try:
            if self._path is not None:
                return convert.follow(self._path, data)
            reached = convert.cut(self._reach, data)
            width = self._cost.admit(reached)
            return self._value(reached, width)
        except ExpressionError as error:
            raise ExpressionError(error.message, self.source) from None
        except (RuntimeError, TypeError, ValueError, RecursionError, MemoryError) as error:
            raise ExpressionError(convert.reason(str(error)), self.source) from None

    def _value(self, reached: dict[str, Any], width: int) -> Any:
        calls = binding.Calls()
        try:
            value = self._run(reached, width)
            if value.type() in _BAD:
                raise ExpressionError(convert.reason(str(value.plain_value())), self.source)
            return convert.result(value, self._cost.sharing)
        finally:
            binding.settle(calls)

    def _run(self, reached: dict[str, Any], width: int) -> cel.Value:
        chosen, other = self._prepared.choose(reached, width)
        expression = self._expressions.get(chosen)
        if expression is None:
            expression = self._expressions[chosen] = _parsed(chosen, other)
        try:
            return expression.eval(data=reached)
        except RuntimeError as error:
            # A list of computed times cannot pass through the function that takes it apart.
            if chosen == other or "Non-CEL value" not in str(error):
                raise
            return environment.parse(other).eval(data=reached)


def _parsed(source: str, other: str) -> cel.Expression:
    try:
        return environment.parse(source)
    except RuntimeError:
        return environment.parse(other)


@functools.lru_cache(maxsize=8192)
def compile(source: str) -> Program:  # noqa: A001 - the word for it
    """The program of `source`, cached by its text; raises `ExpressionError` for a text that is no expression."""
    return Program(source)


def truth(source: str, data: Data) -> bool:
    """The decision `source` makes on `data`; a value that is no boolean is an `ExpressionError`."""
    value = compile(source).evaluate(data)
    if not isinstance(value, bool):
        what = "null" if value is None else type(value).__name__
        raise ExpressionError(f"a decision needs a boolean, this gave {what}", source)
    return value


def text(value: Any) -> str:
    """How a value stands within a longer text: text as it is, null as nothing, numbers short, the rest compact JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def prepare_text(source: str) -> Render:
    """A function from data to the rendered template `source`; everything is compiled here, once."""
    parsed = template.parse(source)
    if parsed.error is not None:
        raise ExpressionError(parsed.error.message, source)
    if parsed.is_static:
        constant = parsed.literal
        return lambda data: constant
    if parsed.is_single is not None:
        return compile(parsed.is_single.source).evaluate
    parts = [segment if isinstance(segment, str) else compile(segment.source).evaluate for segment in parsed.segments]

    def join(data: Data) -> str:
        joined = "".join(part if isinstance(part, str) else text(part(data)) for part in parts)
        if len(joined) > convert.MAX_RENDERED:
            raise ExpressionError(f"the text has {len(joined)} characters, too many", source)
        return joined

    return join


def prepare_value(value: Any) -> Render:
    """A function from data to `value` with every text in it rendered; parts without ``${`` are shared."""
    if isinstance(value, str):
        return prepare_text(value)
    if isinstance(value, dict):
        fields = {key: prepare_value(item) for key, item in value.items() if not _static(item)}
        if not fields:
            fixed = _unescaped(value)
            return lambda data: fixed
        rest = {key: None if key in fields else _unescaped(item) for key, item in value.items()}
        return lambda data: rest | {key: render(data) for key, render in fields.items()}
    if isinstance(value, list):
        items = [prepare_value(item) for item in value]
        return lambda data: [render(data) for render in items]
    return lambda data: value


def _static(value: Any) -> bool:
    if isinstance(value, str):
        return "${" not in value or (template.parse(value).is_static and template.parse(value).error is None)
    if isinstance(value, dict):
        return all(_static(item) for item in value.values())
    return all(_static(item) for item in value) if isinstance(value, list) else True


def _unescaped(value: Any) -> Any:
    if isinstance(value, str):
        return template.parse(value).literal if "${" in value else value
    if isinstance(value, dict):
        return {key: _unescaped(item) for key, item in value.items()}
    return [_unescaped(item) for item in value] if isinstance(value, list) else value


def render(template_text: str, data: Data) -> Any:
    """The value of a template: the expression's own if it is exactly one ``${…}``, else text."""
    return _prepared(template_text)(data)


@functools.lru_cache(maxsize=4096)
def _prepared(source: str) -> Render:
    return prepare_text(source)


def render_value(value: Any, data: Data) -> Any:
    """`value` with every text in it rendered; `prepare_value` is the same for more than one use."""
    return prepare_value(value)(data)
