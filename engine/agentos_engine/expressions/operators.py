"""The typing of signs: arithmetic, comparison, `in`, minus and not, with the conversions they need.

CEL does not mix integers and numbers in arithmetic, and JSON writes a number as ``2`` where it pleases: so every
operand of arithmetic on numbers that is not exact is converted. Comparisons across both are exact in the evaluator;
there only literals are written as numbers, for the reader and for stricter evaluators.
"""

from __future__ import annotations

from agentos_engine.expressions import grammar, infer, issues, types

_MAX_EXACT = 2**53


def literal_number(node: grammar.Node) -> int | None:
    """The integer a plain decimal literal stands for, also with a minus; None for anything else."""
    if isinstance(node, grammar.Unary) and node.sign == "-":
        inner = literal_number(node.of)
        return None if inner is None else -inner
    return node.value if isinstance(node, grammar.Constant) and node.kind == "int" else None


def as_double(check: infer.Inference, node: grammar.Node, kind: types.Type) -> None:
    """Insert what makes `node` a double, if it is not surely one."""
    if kind.kind == "double" and not kind.loose:
        return
    value = literal_number(node)
    if value is not None and abs(value) <= _MAX_EXACT and check.source[node.end - 1 : node.end].isdigit():
        text = check.text(node)
        if "x" not in text and "X" not in text:
            check.insert(node, "", ".0")
            return
    check.insert(node, "double(", ")")


def as_exact(check: infer.Inference, node: grammar.Node, kind: types.Type) -> None:
    """Insert what makes a time or a duration of JSON text one of CEL."""
    if not kind.loose:
        return
    function = {"timestamp": "timestamp", "duration": "parseDuration"}[kind.kind]
    if kind.nullable:
        text = check.text(node)
        check.insert(node, f"({text} == null ? null : {function}(", "))")
    else:
        check.insert(node, f"{function}(", ")")


_TIMES = {
    ("timestamp", "+", "duration"): types.EXACT_TIMESTAMP, ("duration", "+", "timestamp"): types.EXACT_TIMESTAMP,
    ("duration", "+", "duration"): types.EXACT_DURATION, ("timestamp", "-", "timestamp"): types.EXACT_DURATION,
    ("timestamp", "-", "duration"): types.EXACT_TIMESTAMP, ("duration", "-", "duration"): types.EXACT_DURATION,
}  # fmt: skip
_NUMBERS = ("int", "double")


def _binary(check: infer.Inference, node: grammar.Binary) -> types.Type:
    left, right = check.value(node.left), check.value(node.right)
    if node.sign in ("==", "!="):
        _equality(check, node, left, right)
        return types.BOOL
    if node.sign == "in":
        _membership(check, node, left, right)
        return types.BOOL
    use = f"'{node.sign}'"
    left, right = check.present(node.left, left, use), check.present(node.right, right, use)
    if node.sign in "<=>=":
        _comparison(check, node, left, right)
        return types.BOOL
    return _arithmetic(check, node, left, right)


def _arithmetic(check: infer.Inference, node: grammar.Binary, left: types.Type, right: types.Type) -> types.Type:
    if left.kind == "error" or right.kind == "error":
        return types.ERROR
    if left.kind == "any" or right.kind == "any":
        return _undeclared(check, node, left, right)
    sign = node.sign
    if left.kind in _NUMBERS and right.kind in _NUMBERS:
        if left.kind == right.kind == "int":
            return types.INT
        if sign == "%":
            return check.report("TypeMismatch", node, "% is for integers", "write int(x) % n")
        as_double(check, node.left, left)
        as_double(check, node.right, right)
        return types.EXACT_DOUBLE
    if left.kind == right.kind:
        if left.kind == "uint" or (sign == "+" and left.kind in ("string", "bytes")):
            return types.Type(left.kind)
        if sign == "+" and left.kind == "list":
            return types.list_of(types.join(left.item or types.DYN, right.item or types.DYN))
    timed = _TIMES.get((left.kind, sign, right.kind))
    if timed is not None:
        as_exact(check, node.left, left)
        as_exact(check, node.right, right)
        return timed
    hint = None
    if sign == "+" and "string" in (left.kind, right.kind):
        other, kind = (node.right, right) if left.kind == "string" else (node.left, left)
        text = check.text(other)[:60]
        hint = f"write json({text})" if kind.kind in ("list", "map", "object") else f"write string({text})"
    elif sign == "+" and left.kind in ("map", "object") and right.kind in ("map", "object"):
        hint = "write merge(a, b)"
    message = f"'{sign}' does not take {types.describe(left)} and {types.describe(right)}"
    return check.report("TypeMismatch", node, message, hint)


def _undeclared(check: infer.Inference, node: grammar.Binary, left: types.Type, right: types.Type) -> types.Type:
    if check.scope is None:
        return types.DYN
    unknown, other = (node.left, right) if left.kind == "any" else (node.right, left)
    function = {"string": "string", "int": "int"}.get(other.kind, "double")
    hint = f"declare its type, or write {function}({check.text(unknown)[:60]})"
    check.report("TypeMismatch", unknown, f"'{node.sign}' on an undeclared value: its type is not known", hint)
    return types.ERROR


def _kindred(left: types.Type, right: types.Type) -> bool:
    if left.kind == right.kind or {left.kind, right.kind} & {"any", "error", "null"}:
        return True
    pair = {left.kind, right.kind}
    return pair <= {"int", "uint", "double"} or pair <= {"map", "object"}


def _comparison(check: infer.Inference, node: grammar.Binary, left: types.Type, right: types.Type) -> None:
    if not _kindred(left, right) or left.kind in ("list", "map", "object") or right.kind in ("list", "map", "object"):
        hint = None
        if {left.kind, right.kind} == {"timestamp", "string"}:
            hint = 'write timestamp("…")'
        elif {left.kind, right.kind} == {"duration", "string"}:
            hint = 'write duration("…")'
        elif {left.kind, right.kind} & {"list", "map"} and {left.kind, right.kind} & {"int", "double"}:
            hint = "compare .size()"
        message = f"'{node.sign}' does not compare {types.describe(left)} with {types.describe(right)}"
        check.report("TypeMismatch", node, message, hint)
        return
    _align(check, node, left, right)


def _align(check: infer.Inference, node: grammar.Binary, left: types.Type, right: types.Type) -> None:
    """The conversions a comparison needs."""
    if left.kind == right.kind and left.kind in ("timestamp", "duration"):
        as_exact(check, node.left, left)
        as_exact(check, node.right, right)
    elif left.kind == "double" and right.kind == "int" and literal_number(node.right) is not None:
        as_double(check, node.right, right)
    elif left.kind == "int" and right.kind == "double" and literal_number(node.left) is not None:
        as_double(check, node.left, left)


def _equality(check: infer.Inference, node: grammar.Binary, left: types.Type, right: types.Type) -> None:
    if not _kindred(left, right):
        hint = None
        if {left.kind, right.kind} in ({"timestamp", "string"}, {"duration", "string"}):
            hint = 'write timestamp("…") or duration("…") around the text'
        elif "string" in (left.kind, right.kind) and {left.kind, right.kind} & {"int", "double", "bool"}:
            hint = "remove the quotes, or write string(…)"
        message = f"{types.describe(left)} is never equal to {types.describe(right)}"
        check.report("TypeMismatch", node, message, hint)
        return
    for one, kind, other, known in ((node.left, left, node.right, right), (node.right, right, node.left, left)):
        if kind.kind == "string" and isinstance(one, grammar.Constant) and not _constant(other):
            _among(check, one, known, one.value)
    _align(check, node, left, right)


def _constant(node: grammar.Node) -> bool:
    return isinstance(node, grammar.Constant)


def _among(check: infer.Inference, node: grammar.Node, known: types.Type, value: object) -> None:
    if check.scope is not None and known.kind == "string" and known.enum is not None and value not in known.enum:
        hint = issues.nearest(str(value), map(str, known.enum), "", 0, 0)
        check.report("TypeMismatch", node, f"{value!r} is none of the possible values", hint)


def _membership(check: infer.Inference, node: grammar.Binary, left: types.Type, right: types.Type) -> None:
    right = check.present(node.right, right, "'in'")
    if right.kind in ("map", "object"):
        if left.kind not in ("string", "any", "error"):
            check.report("TypeMismatch", node.left, f"the keys of a map are strings, not {types.describe(left)}")
    elif right.kind == "list":
        item = right.item or types.DYN
        if not _kindred(left, item):
            message = f"{types.describe(left)} is never in a list of {types.describe(item)}"
            check.report("TypeMismatch", node, message)
        elif left.enum is not None and isinstance(node.right, grammar.Sequence) and not _constant(node.left):
            for entry, _ in node.right.items:
                if isinstance(entry, grammar.Constant) and entry.kind == "string":
                    _among(check, entry, left, entry.value)
    elif right.kind not in ("any", "error"):
        hint = "write text.contains(part)" if right.kind == "string" else None
        check.report("TypeMismatch", node.right, f"'in' looks into a list or a map, not {types.describe(right)}", hint)


def _unary(check: infer.Inference, node: grammar.Unary) -> types.Type:
    if node.sign == "!":
        check.condition(node.of, "'!'")
        return types.BOOL
    kind = check.present(node.of, check.value(node.of), "'-'")
    if kind.kind in ("int", "double"):
        return types.Type(kind.kind, loose=kind.loose)
    if kind.kind == "error" or (kind.kind == "any" and check.scope is None):
        return kind
    hint = f"declare its type, or write -double({check.text(node.of)[:60]})" if kind.kind == "any" else None
    return check.report("TypeMismatch", node, f"'-' does not take {types.describe(kind)}", hint)


infer.rule(grammar.Binary, _binary)
infer.rule(grammar.Unary, _unary)
