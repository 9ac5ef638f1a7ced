"""Data at the boundary of the evaluator: what goes in is cut to what is reached, what comes out is JSON."""

from __future__ import annotations

import base64
import datetime
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from cel_expr_python import cel

from agentos_engine.expressions import binding, library

MAX_VALUES = 100_000
MAX_RENDERED = 8 * library.MAX_TEXT
_BIGGEST, _SMALLEST = 2**63 - 1, -(2**63)
_STATUS = re.compile(r"^(?:[A-Z_]+: )+| \[[A-Z_]+\]$")
_OVERLOAD = re.compile(r"No matching overloads found : (.*)")
_ROOT = re.compile(r"No value with name \"(.*)\" found in Activation")
_KEY = re.compile(r"Key not found in map : (.*)")

Reach = dict[str, Any]


class ExpressionError(Exception):
    """An expression that could not be evaluated: `message` says why, `expression` is its text."""

    def __init__(self, message: str, expression: str = "") -> None:
        super().__init__(f"{message}: {expression}" if expression else message)
        self.message, self.expression = message, expression


def reach(paths: Iterable[tuple[str, ...]]) -> Reach:
    """The tree of what is reached; an empty branch means everything below."""
    tree: Reach = {}
    for path in sorted(paths, key=len):
        at = tree
        for depth, name in enumerate(path):
            if name in at and not at[name]:
                break
            at = at.setdefault(name, {})
            if depth == len(path) - 1:
                at.clear()
    return tree


def cut(tree: Reach, data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` with only what `tree` reaches, as plain JSON values the evaluator takes."""
    return {name: _cut(below, data[name]) for name, below in tree.items() if name in data}


def _cut(tree: Reach, value: Any) -> Any:
    if not tree or not isinstance(value, Mapping):
        return plain(value)
    return {name: _cut(below, value[name]) for name, below in tree.items() if name in value}


def plain(value: Any) -> Any:
    """`value` as the evaluator takes it: itself wherever possible; raises `ExpressionError`."""
    kind = type(value)
    if kind is str:
        if "\0" in value:
            raise ExpressionError("a text holds a NUL character, which expressions cannot carry")
        if not value.isascii():
            _encodable(value)
        return value
    if kind is int:
        if not _SMALLEST <= value <= _BIGGEST:
            raise ExpressionError("an integer does not fit into 64 bits")
        return value
    if kind is dict:
        changed = None
        for key, item in value.items():
            if type(key) is not str:
                raise ExpressionError("the keys of a map must be text")
            plain(key)
            new = plain(item)
            if new is not item:
                changed = dict(value) if changed is None else changed
                changed[key] = new
        return value if changed is None else changed
    if kind is list:
        items = [plain(item) for item in value]
        return value if all(map(_same, items, value)) else items
    if value is None or kind is bool or kind is float:
        return value
    return _other(value)


def _same(one: Any, other: Any) -> bool:
    return one is other


def _encodable(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ExpressionError("a text holds half a character (a lone surrogate)") from None


def _other(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return library.time_text(value)
    if isinstance(value, datetime.timedelta):
        return library.duration_text(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return plain(str.__str__(value))
    if isinstance(value, int):
        return plain(int(value))
    if isinstance(value, float):
        return float(value)
    raise ExpressionError(f"a value of type {type(value).__name__} is not JSON")


def follow(path: tuple[str, ...], data: Mapping[str, Any]) -> Any:
    """The value at a plain path, without the evaluator; raises `ExpressionError`."""
    value: Any = data
    for depth, name in enumerate(path):
        if isinstance(value, Mapping):
            if name not in value:
                where = f"{'.'.join(path[:depth])} has no field" if depth else "nothing is called"
                raise ExpressionError(f"{where} {name!r}")
            value = value[name]
        else:
            what = "null" if value is None else f"a {type(value).__name__}"
            raise ExpressionError(f"{'.'.join(path[:depth])} is {what} and has no field {name!r}")
    return _out(value) if isinstance(value, (dict, list, datetime.datetime, datetime.timedelta)) else value


def result(value: cel.Value, shared: bool) -> Any:
    """A result of the evaluator as JSON; `shared` says that a list or map may stand in it many times over."""
    if shared:
        budget = [MAX_VALUES]
        return _counted(value, budget)
    found = binding.taken(value.plain_value())
    kind = type(found)
    if kind is dict or kind is list:
        return _out(_sorted(found))
    return found if kind is bool or kind is int or found is None else _out(found)


def _sorted(value: Any) -> Any:
    """`value` with its maps in the order of their keys: the evaluator has none that lasts."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(_capped(value), key=str)}
    return [_sorted(item) for item in _capped(value)] if isinstance(value, list) else value


def _capped(value: Any) -> Any:
    if len(value) > library.MAX_ITEMS:
        raise ExpressionError(f"the result has {len(value)} elements, at most {library.MAX_ITEMS} are allowed")
    return value


def _counted(value: cel.Value, budget: list[int]) -> Any:
    budget[0] -= 1
    if budget[0] < 0:
        raise ExpressionError(f"the result has more than {MAX_VALUES} values")
    found = value.value()
    if found is None:
        return binding.taken(None)
    if isinstance(found, list):
        return [_counted(item, budget) for item in found]
    if isinstance(found, dict):
        return {_text_key(key): _counted(found[key], budget) for key in sorted(found, key=str)}
    return _out(found)


def _out(value: Any) -> Any:
    """JSON of a plain value; the value itself wherever nothing in it changes."""
    kind = type(value)
    if kind is str:
        if len(value) > library.MAX_TEXT:
            raise ExpressionError(f"the text has {len(value)} characters, at most {library.MAX_TEXT} are allowed")
        return value
    if kind is bool or kind is int or value is None:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise ExpressionError("the result is no number that JSON can hold (infinite, or not a number)")
    if kind is list:
        items = [_out(item) for item in value]
        return value if all(map(_same, items, value)) else items
    if kind is dict:
        fields = {_text_key(key): _out(item) for key, item in value.items()}
        return value if all(key in fields and fields[key] is item for key, item in value.items()) else fields
    if isinstance(value, datetime.datetime):
        return library.time_text(value)
    if isinstance(value, datetime.timedelta):
        return library.duration_text(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, cel.Type):
        raise ExpressionError("a type is not a value; compare it, as in type(x) == string")
    return _other(value)


def _text_key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def reason(message: str) -> str:
    """The evaluator's message in plain words."""
    bare = _STATUS.sub("", message)
    hit = _ROOT.search(bare)
    if hit:
        return f"nothing is called {hit[1]!r}"
    hit = _KEY.search(bare)
    if hit:
        return f"there is no key {hit[1]}; reach it by .? or test it with has()"
    hit = _OVERLOAD.search(bare)
    if hit:
        what = hit[1].replace("null_type", "null").replace("int64", "integer")
        return f"these values do not go together: {what}"
    if "non-message type" in bare:
        return "a field was asked of a value that has none (null, text, a number or a list)"
    if "Iteration budget" in bare:
        return f"more than {library.MAX_ITEMS} elements would be gone over"
    return bare or "the evaluation failed"
