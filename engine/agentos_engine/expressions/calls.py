"""The typing of calls: functions and methods by the registry, macros by their own rules."""

from __future__ import annotations

from collections.abc import Sequence

from agentos_engine.expressions import functions, grammar, infer, narrow, operators, types

MAX_LOOPS = 2
MAX_BINDS = 4
_LOOPS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_OPTIONAL = frozenset({"orValue", "or", "value", "hasValue", "optMap", "optFlatMap"})


def _call(check: infer.Inference, node: grammar.Call) -> types.Type:
    if node.of is None:
        if node.name == "has":
            return _has(check, node)
        return _resolve(check, node, node.name, functions.FUNCTIONS, node.args)
    if isinstance(node.of, grammar.Name) and node.of.name in functions.NAMESPACES and node.of.name not in check.locals:
        if node.of.name == "cel" and node.name == "bind":
            return _bind(check, node)
        return _resolve(check, node, f"{node.of.name}.{node.name}", functions.FUNCTIONS, node.args)
    if node.name in _LOOPS:
        return _loop(check, node)
    if node.name in ("optMap", "optFlatMap"):
        return _opt_map(check, node)
    return _resolve(check, node, node.name, functions.METHODS, [node.of, *node.args])


def _resolve(
    check: infer.Inference,
    node: grammar.Call,
    name: str,
    table: dict[str, tuple[functions.Function, ...]],
    args: Sequence[grammar.Node],
) -> types.Type:
    known = table.get(name)
    opens = known is not None and name in _OPTIONAL
    kinds = [
        check.visit(arg) if opens and (at == 0 or name == "or") else check.value(arg) for at, arg in enumerate(args)
    ]
    if known is None:
        end = node.name_at + len(node.name)
        hint = functions.suggestions(name, table is functions.METHODS)
        what = "method" if table is functions.METHODS else "function"
        start = node.of.start if "." in name and node.of is not None else node.name_at
        return check.report_at("UnknownFunction", start, end, f"there is no {what} {name!r}", hint)
    fitting = [one for one in known if len(one.params) == len(args) or (one.variadic and args)]
    if not fitting:
        signatures = " or ".join(one.signature for one in known)
        return check.report("TypeMismatch", node, f"{name!r} takes other arguments", f"it is {signatures}")
    for one in fitting:
        if all(_fits(word, kind) for word, kind in zip(_words(one, args, kinds), kinds, strict=True)):
            return _applied(check, one, args, kinds)
    return _misfit(check, fitting[0], args, kinds)


def _words(function: functions.Function, args: Sequence[grammar.Node], kinds: Sequence[types.Type]) -> list[str]:
    if not function.variadic:
        return list(function.params)
    if len(args) == 1 and kinds[0].kind in ("list", "any") and isinstance(args[0], grammar.Sequence):
        return ["list<number>"]
    return [function.params[0]] * len(args)


def _fits(word: str, kind: types.Type) -> bool:
    return (kind.kind == "null" and word != "optional") or functions.accepts(word, kind)


def _applied(
    check: infer.Inference, function: functions.Function, args: Sequence[grammar.Node], kinds: list[types.Type]
) -> types.Type:
    for at, (word, arg) in enumerate(zip(_words(function, args, kinds), args, strict=True)):
        kind = kinds[at]
        if word != "any" and kind.nullable:
            kind = kinds[at] = check.present(arg, kind, f"{function.name}()")
        if kind.item is not None and kind.item.nullable and word in ("list<string>", "list<number>"):
            check.report("MayBeNull", arg, f"elements of {check.text(arg)[:60]} may be null, and "
                         f"{function.name}() needs values", "filter them: list.filter(x, x != null)")  # fmt: skip
        _convert(check, word, arg, kind)
    if any(kind.kind == "error" for kind in kinds):
        return types.ERROR
    result = functions.result_of(function, kinds)
    return types.non_null(result) if function.result == "coalesce" and args[0] in check.certain else result


def _convert(check: infer.Inference, word: str, arg: grammar.Node, kind: types.Type) -> None:
    if word == "double":
        if kind.kind in ("int", "double", "any") and not (kind.kind == "any" and check.scope is None):
            operators.as_double(check, arg, kind)
    elif kind.loose and (
        word in ("timestamp", "duration")
        or (word == "convertible" and kind.kind == "timestamp")
        or (word == "span" and kind.kind == "duration")
    ):
        operators.as_exact(check, arg, kind)


def _misfit(
    check: infer.Inference, function: functions.Function, args: Sequence[grammar.Node], kinds: Sequence[types.Type]
) -> types.Type:
    for word, arg, kind in zip(_words(function, args, kinds), args, kinds, strict=True):
        if _fits(word, kind):
            continue
        hint = f"it is {function.signature}"
        text = check.text(arg)[:60]
        if word == "string" and kind.kind in ("int", "double", "bool", "timestamp", "duration"):
            hint = f"write string({text})"
        elif word == "timestamp" and kind.kind == "string":
            hint = f"write timestamp({text})"
        elif word == "int" and kind.kind == "double":
            hint = f"write int({text})"
        message = f"{function.name}() takes {functions.describe(word)}, this is {types.describe(kind)}"
        return check.report("TypeMismatch", arg, message, hint)
    return types.ERROR


def _has(check: infer.Inference, node: grammar.Call) -> types.Type:
    target = node.args[0] if len(node.args) == 1 else None
    if not isinstance(target, grammar.Select) or target.optional:
        return check.report(
            "TypeMismatch", node, "has() takes one field, as in has(a.b)", "write 'key' in map for keys"
        )
    of, base = check.chain(target.of)
    if of.kind == "optional":
        return check.report("TypeMismatch", node, "has() takes no optional", "write a.?b.hasValue()")
    of = check.present(target.of, of, "has()")
    start = target.field_at
    kind = check.declared(of, target.field, start, start + len(target.field))
    if base is not None:
        check.note((*base, target.field))
        if kind.nullable and narrow.path_of(target) is not None:
            check.insert(node, "(", f" && {check.text(target)} != null)")
    return types.BOOL


def _variable(check: infer.Inference, node: grammar.Call, count: tuple[int, ...]) -> str | None:
    variable = node.args[0] if node.args else None
    if len(node.args) not in count or not isinstance(variable, grammar.Name):
        known = [one for one in functions.REGISTRY if one.signature.rpartition(".")[2].startswith(f"{node.name}(")]
        check.report("TypeMismatch", node, f"{node.name}() is called with a variable first",
                     f"it is {known[0].signature}" if known else None)  # fmt: skip
        return None
    return variable.name


def _loop(check: infer.Inference, node: grammar.Call) -> types.Type:
    assert node.of is not None
    kind = check.present(node.of, check.value(node.of), f"{node.name}()")
    variable = _variable(check, node, (2, 3) if node.name == "map" else (2,))
    if variable is None:
        return types.ERROR
    if kind.kind == "list":
        item = kind.item or types.DYN
    elif kind.kind in ("map", "object"):
        item = types.STRING
    elif kind.kind in ("any", "error"):
        item = kind
    else:
        return check.report("TypeMismatch", node.of, f"{node.name}() goes over a list, not {types.describe(kind)}")
    if check.loops >= MAX_LOOPS:
        return check.report("ExpressionTooComplex", node, f"lists are gone over more than {MAX_LOOPS} levels deep",
                            "move the inner part to a step of its own")  # fmt: skip
    check.loops += 1
    try:
        return check.within(variable, item, lambda: _body(check, node, variable, item))
    finally:
        check.loops -= 1


def _body(check: infer.Inference, node: grammar.Call, variable: str, item: types.Type) -> types.Type:
    last = node.args[-1]
    if node.name == "map":
        if len(node.args) == 3:
            check.condition(node.args[1], "map()")
            check.facts |= narrow.facts(node.args[1], True)
        return types.list_of(check.value(last))
    check.condition(last, f"{node.name}()")
    if node.name == "filter":
        return types.list_of(narrow.refine(item, variable, narrow.facts(last, True)))
    return types.BOOL


def _bind(check: infer.Inference, node: grammar.Call) -> types.Type:
    variable = _variable(check, node, (3,))
    if variable is None:
        return types.ERROR
    if check.binds >= MAX_BINDS:
        return check.report("ExpressionTooComplex", node, f"cel.bind stands more than {MAX_BINDS} levels deep")
    check.binds += 1
    try:
        kind = check.value(node.args[1])
        return check.within(variable, kind, lambda: check.visit(node.args[2]))
    finally:
        check.binds -= 1


def _opt_map(check: infer.Inference, node: grammar.Call) -> types.Type:
    assert node.of is not None
    kind = check.visit(node.of)
    variable = _variable(check, node, (2,))
    if variable is None or kind.kind == "error":
        return types.ERROR
    if kind.kind != "optional":
        return check.report("TypeMismatch", node.of, f"{node.name}() takes an optional, such as a.?b")
    item = kind.item or types.DYN
    if node.name == "optMap":
        body = check.within(variable, item, lambda: check.value(node.args[1]))
        return types.Type("optional", item=body)
    body = check.within(variable, item, lambda: check.visit(node.args[1]))
    if body.kind not in ("optional", "error"):
        return check.report("TypeMismatch", node.args[1], "optFlatMap() wants an optional; use optMap() for a value")
    return body


infer.rule(grammar.Call, _call)
__all__ = ("MAX_BINDS", "MAX_LOOPS")
