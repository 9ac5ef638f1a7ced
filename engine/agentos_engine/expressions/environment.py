"""The one CEL environment of a process: every extension, every function of ours, no declared variables.

Expressions are parsed unchecked (`check` has typed them); a name is looked up in the data given to the evaluation.
Functions of ours take one list of arguments (`ordering` writes the calls so): the binding matches no undeclared
parameter, and loses what it passes (see `binding`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_optional, ext_strings

from agentos_engine.expressions import binding, functions, library, ordering

_T = cel.Type
_ARGUMENTS = [_T.List(_T.DYN)]
_RESULTS = {"timestamp": _T.TIMESTAMP, "duration": _T.DURATION}
_PLACE = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")


def _declaration(name: str, function: Callable[..., Any], result: str = "any") -> cel.FunctionDecl:
    overload = cel.Overload(
        id=f"{name}_list",
        return_type=_RESULTS.get(result, _T.DYN),
        parameters=_ARGUMENTS,
        impl=binding.noted(function),
    )
    return cel.FunctionDecl(name, [overload])


def _ours(name: str) -> cel.FunctionDecl:
    known = functions.FUNCTIONS[name]
    function = library.bounded(name, [one.params for one in known])
    return _declaration(ordering.TAKEN.get(name, name), function, known[0].result)


@functools.cache
def environment() -> cel.Env:
    """The environment; made on first use (1 ms)."""
    extensions = [
        ext_strings.ExtStrings(), ext_math.ExtMath(), ext_optional.ExtOptional(), ext_bindings.ExtBindings(),
        ext_encoders.ExtEncoders(),
    ]  # fmt: skip
    inner = {ordering.ORDERED: library.ordered, ordering.PARTS: library.in_parts, ordering.JOINED: library.joined}
    declared = [_ours(name) for name in library.IMPLEMENTATIONS]
    declared += [_declaration(name, function) for name, function in inner.items()]
    return cel.NewEnv(extensions=extensions, functions=declared)


def parse(source: str) -> cel.Expression:
    """The expression, ready to run; raises RuntimeError with CEL's own message."""
    return environment().compile(source, disable_check=True)


def refusal(source: str) -> tuple[str, int, bool] | None:
    """Why CEL does not take `source`: (message, offset, whether it is merely too deep); None if it does."""
    try:
        parse(source)
    except RuntimeError as error:
        text = str(error)
        if "recursion" in text:
            return "nested too deeply", 0, True
        hit = _PLACE.search(text)
        if hit is None:
            return (
                text.removeprefix("INVALID_ARGUMENT: ").partition("\n")[0].removesuffix(" [INVALID_ARGUMENT]"),
                0,
                False,
            )
        line, column, message = int(hit[1]), int(hit[2]), hit[3].removeprefix("Syntax error: ")
        before = source.split("\n")[: max(0, line - 1)]
        return message, min(len(source), sum(len(one) + 1 for one in before) + max(0, column - 1)), False
    return None
