"""The one CEL environment of a process: every extension, every function of ours, no declared variables.

Expressions are parsed unchecked (`check` has typed them); a name is looked up in the data given to the evaluation.
Functions are bound once per type of argument, because the binding matches no undeclared parameter.
"""

from __future__ import annotations

import functools
import itertools
import re

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_optional, ext_strings

from agentos_engine.expressions import functions, library, ordering

_T = cel.Type
_LIST, _MAP = _T.List(_T.DYN), _T.Map(_T.DYN, _T.DYN)
_ANY = (_T.NULL, _T.BOOL, _T.INT, _T.UINT, _T.DOUBLE, _T.STRING, _T.TIMESTAMP, _T.DURATION, _LIST, _MAP)
_WORDS = {
    "any": _ANY, "list": (_LIST,), "list<string>": (_LIST,), "list<number>": (_LIST,), "list<comparable>": (_LIST,),
    "map": (_MAP,), "string": (_T.STRING,), "int": (_T.INT,), "timestamp": (_T.TIMESTAMP,),
}  # fmt: skip
_RESULTS = {"timestamp": _T.TIMESTAMP, "duration": _T.DURATION}
_PLACE = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")


def _declaration(name: str) -> cel.FunctionDecl:
    implementation = library.bounded(library.IMPLEMENTATIONS[name])
    overloads = [
        cel.Overload(
            id=f"{name}_{len(one.params)}_{at}",
            return_type=_RESULTS.get(one.result, _T.DYN),
            parameters=list(params),
            impl=implementation,
        )
        for one in functions.FUNCTIONS[name]
        for at, params in enumerate(itertools.product(*(_WORDS[word] for word in one.params)))
    ]
    return cel.FunctionDecl(ordering.TAKEN.get(name, name), overloads)


@functools.cache
def environment() -> cel.Env:
    """The environment; made on first use (1 ms)."""
    extensions = [
        ext_strings.ExtStrings(), ext_math.ExtMath(), ext_optional.ExtOptional(), ext_bindings.ExtBindings(),
        ext_encoders.ExtEncoders(),
    ]  # fmt: skip
    ours = [_declaration(name) for name in library.IMPLEMENTATIONS]
    inner = {ordering.ORDERED: library.ordered, ordering.PARTS: library.in_parts, ordering.JOINED: library.joined}
    mended = [
        cel.FunctionDecl(name, [
            cel.Overload(id=f"{name}_{at}", return_type=_T.DYN, parameters=[kind], impl=function)
            for at, kind in enumerate((_LIST, _MAP))
        ])
        for name, function in inner.items()
    ]  # fmt: skip
    return cel.NewEnv(extensions=extensions, functions=[*ours, *mended])


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
