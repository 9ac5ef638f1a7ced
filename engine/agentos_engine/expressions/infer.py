"""The walk over one expression: types, names, mistakes, and the conversions to insert.

`Inference` types every node; `operators` and `calls` hold the rules for signs and for functions. Conversions are
insertions into the source (``double(…)``, ``.0``, ``timestamp(…)``), so what is stored stays plain CEL.

An optional may only be made, chained and opened: nothing else can take one (the evaluator cannot hand one out), so any
other use is refused here, also in the lenient mode that only guards what is about to be run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agentos_engine.expressions import edits, functions, grammar, issues, narrow, types

TYPE_NAMES = frozenset({"bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"})
Path = tuple[str, ...]


class Inference:
    """One check of `source` in `scope`; without a scope every name is allowed and nothing is known of it (lenient)."""

    __slots__ = (
        "binds",
        "certain",
        "edits",
        "facts",
        "issues",
        "locals",
        "loops",
        "names",
        "paths",
        "scope",
        "source",
    )

    def __init__(self, source: str, scope: Mapping[str, types.Type] | None) -> None:
        self.source, self.scope = source, scope
        self.locals: dict[str, types.Type] = {}
        self.facts: frozenset[Path] = narrow.NOTHING
        self.issues: list[issues.Issue] = []
        self.names: set[str] = set()
        self.paths: set[Path] = set()
        self.edits = edits.Edits()
        self.loops = self.binds = 0
        self.certain: set[grammar.Node] = set()
        """The list literals with an element that is surely not null."""

    # -- reporting and rewriting -------------------------------------------------------------------------------

    def report(self, code: str, node: grammar.Node, message: str, hint: str | None = None) -> types.Type:
        """Note an issue about `node`; the type ERROR, so that nothing is reported on top of it."""
        return self.report_at(code, node.start, node.end, message, hint)

    def report_at(self, code: str, start: int, end: int, message: str, hint: str | None = None) -> types.Type:
        """Note an issue about a span of the source; see `report`."""
        if len(self.issues) < issues.MAX_ISSUES:
            self.issues.append(issues.Issue(code, message, hint, start, max(1, end - start)))
        return types.ERROR

    def insert(self, node: grammar.Node, before: str, after: str) -> None:
        """Put text around `node`, outside of what is around the nodes in it."""
        self.edits.around(node.start, node.end, before, after)

    def rewritten(self) -> str:
        """The source with everything inserted."""
        return self.edits.apply(self.source)

    def text(self, node: grammar.Node) -> str:
        """The source of `node`."""
        return self.source[node.start : node.end]

    # -- values ------------------------------------------------------------------------------------------------

    def value(self, node: grammar.Node) -> types.Type:
        """The type of `node`, which must be a value and not an optional."""
        kind = _VISIT[type(node)](self, node)
        if kind.kind == "optional":
            hint = f"write {self.text(node)[:60]}.orValue(…)"
            return self.report("TypeMismatch", node, "an optional value must be opened before it is used", hint)
        return kind

    def visit(self, node: grammar.Node) -> types.Type:
        """The type of `node`, which may be an optional."""
        return _VISIT[type(node)](self, node)

    def present(self, node: grammar.Node, kind: types.Type, use: str) -> types.Type:
        """`kind` without null; reports if `node` may be null where `use` cannot bear it."""
        if not kind.nullable:
            return kind
        text = self.text(node)[:60]
        if kind.kind == "null":
            return self.report("TypeMismatch", node, f"{text} is null, and {use} needs a value")
        hint = f"test {text} != null first, or write coalesce([{text}, …])"
        self.report("MayBeNull", node, f"{text} may be null, and {use} needs a value", hint)
        return types.non_null(kind)

    def condition(self, node: grammar.Node, use: str) -> None:
        """Check that `node` is a boolean, for `use`."""
        kind = self.value(node)
        if kind.kind not in ("bool", "any", "error") and not (kind.kind == "null" and kind.nullable):
            self.report("TypeMismatch", node, f"{use} wants a boolean, this is {types.describe(kind)}",
                        _truth_hint(kind, self.text(node)))  # fmt: skip
        else:
            self.present(node, kind, use)

    # -- names and fields --------------------------------------------------------------------------------------

    def root(self, node: grammar.Name) -> types.Type:
        """The type of a local variable or a root; notes a root as used."""
        local = self.locals.get(node.name)
        if local is not None:
            return local
        if self.scope is None or node.name in self.scope:
            self.names.add(node.name)
            return types.DYN if self.scope is None else self.scope[node.name]
        if node.name in TYPE_NAMES:
            return types.TYPE
        hint = issues.nearest(node.name, [*self.scope, *self.locals], self.source, node.start, node.end)
        return self.report("UnknownName", node, f"nothing is called {node.name!r} here", hint)

    def chain(self, node: grammar.Node) -> tuple[types.Type, Path | None]:
        """The type of a chain of fields, and its static path from a root or a local variable."""
        if isinstance(node, grammar.Name):
            kind = self.root(node)
            path: Path = (node.name,)
        elif isinstance(node, grammar.Select):
            of, base = self.chain(node.of)
            kind = self.field(node, of, node.field, node.optional, node.field_at, node.field_at + len(node.field))
            path = (*base, node.field) if base is not None else ()
        elif isinstance(node, grammar.Index):
            of, base = self.chain(node.of)
            key = node.key
            if isinstance(key, grammar.Constant) and key.kind == "string" and of.kind != "list":
                kind = self.field(node, of, key.value, node.optional, key.start, key.end)
                path = (*base, key.value) if base is not None else ()
            else:
                self.note(base)
                return self._element(node, of), None
        else:
            return self.visit(node), None
        if not path:
            return kind, None
        return (types.non_null(kind) if kind.nullable and path in self.facts else kind), path

    def note(self, path: Path | None) -> None:
        """Count the static `path` as used, if it begins at a root."""
        if path is not None and path[0] in self.names and path[0] not in self.locals:
            self.paths.add(path)

    def _chain(self, node: grammar.Node) -> types.Type:
        kind, path = self.chain(node)
        self.note(path)
        return kind

    def field(
        self, node: grammar.Select | grammar.Index, of: types.Type, name: str, optional: bool, start: int, end: int
    ) -> types.Type:
        """The type of the field `name` of `node.of`, which is `of`; the name stands at `start`…`end`."""
        if of.kind == "optional" or optional:
            inner = self.opened(node.of, of)
            found = self.declared(inner, name, start, end)
            return found if found.kind == "error" else types.Type("optional", item=found)
        of = self.present(node.of, of, f"the field {name!r}")
        return self.declared(of, name, start, end)

    def opened(self, node: grammar.Node, of: types.Type) -> types.Type:
        """What an optional step looks into; null there counts as missing, which takes an insertion."""
        inner = of.item or types.DYN if of.kind == "optional" else of
        if inner.nullable or inner.kind == "any":
            after = ".orValue(null))" if of.kind == "optional" else ")"
            self.insert(node, "optional.ofNonZeroValue(", after)
        return types.non_null(inner)

    def declared(self, of: types.Type, name: str, start: int, end: int) -> types.Type:
        """The type of the field `name` of an `of` that is there."""
        if of.kind == "object":
            found = (of.fields or {}).get(name)
            if found is not None:
                return found
            if of.open:
                return types.DYN
            hint = issues.nearest(name, of.fields or (), self.source, start, end)
            return self.report_at("UnknownField", start, end, f"{of.name or 'the object'} has no field {name!r}", hint)
        if of.kind == "map":
            return of.item or types.DYN
        if of.kind in ("any", "error"):
            return of
        hint = "reach an element by [0], or use map, filter, exists" if of.kind == "list" else None
        if (of.kind == "list" and name == "length") or (of.kind == "string" and name == "length"):
            hint = "write .size()"
        return self.report_at("UnknownField", start, end, f"{types.describe(of)} has no field {name!r}", hint)

    def _element(self, node: grammar.Index, of: types.Type) -> types.Type:
        optional = node.optional or of.kind == "optional"
        of = self.opened(node.of, of) if optional else self.present(node.of, of, "an element")
        key = self.present(node.key, self.value(node.key), "an index")
        found = of.item or types.DYN
        if of.kind == "list":
            if key.kind not in ("int", "any", "error"):
                return self.report("TypeMismatch", node.key, f"a list is indexed by integers, not {key.kind}")
        elif of.kind in ("map", "object"):
            if key.kind not in ("string", "any", "error"):
                return self.report("TypeMismatch", node.key, f"a map is indexed by strings, not {key.kind}")
            found = functions.result_of(_VALUES, [of]).item or types.DYN
        elif of.kind not in ("any", "error"):
            return self.report("TypeMismatch", node.of, f"{types.describe(of)} has no elements")
        else:
            found = of
        return types.Type("optional", item=found) if optional else found

    # -- literals ----------------------------------------------------------------------------------------------

    def _constant(self, node: grammar.Constant) -> types.Type:
        if node.kind == "string":
            return types.literal(node.value)
        return _CONSTANTS[node.kind]

    def _sequence(self, node: grammar.Sequence) -> types.Type:
        joined: types.Type | None = None
        for item, optional in node.items:
            kind = self._entry(item, optional)
            if not (kind.nullable or optional or kind.kind == "any"):
                self.certain.add(node)
            joined = kind if joined is None else types.join(joined, kind)
        return types.list_of(joined or types.DYN)

    def _entry(self, node: grammar.Node, optional: bool) -> types.Type:
        if not optional:
            return self.value(node)
        kind = self.visit(node)
        if kind.kind not in ("optional", "error"):
            return self.report("TypeMismatch", node, "after '?' stands an optional, such as a.?b")
        return kind.item or types.DYN

    def _mapping(self, node: grammar.Mapping) -> types.Type:
        fields: dict[str, types.Type] | None = {}
        joined: types.Type | None = None
        for key, item, optional in node.entries:
            name = self.value(key)
            if name.kind not in ("string", "any", "error"):
                self.report("TypeMismatch", key, "the keys of a map are text", f"write '{self.text(key)[:20]}'")
            kind = self._entry(item, optional)
            joined = kind if joined is None else types.join(joined, kind)
            if fields is not None and isinstance(key, grammar.Constant) and not optional:
                fields[str(key.value)] = kind
            else:
                fields = None
        if fields:
            return types.Type("object", fields=fields, required=frozenset(fields))
        return types.map_of(joined or types.DYN)

    # -- flow --------------------------------------------------------------------------------------------------

    def _logic(self, node: grammar.Logic) -> types.Type:
        before = self.facts
        holds = node.sign == "&&"
        for part in node.parts:
            self.condition(part, node.sign)
            self.facts |= narrow.facts(part, holds)
        self.facts = before
        return types.BOOL

    def _choice(self, node: grammar.Choice) -> types.Type:
        self.condition(node.test, "the test of ? :")
        before = self.facts
        self.facts = before | narrow.facts(node.test, True)
        yes = self.visit(node.yes)
        self.facts = before | narrow.facts(node.test, False)
        no = self.visit(node.no)
        self.facts = before
        if (yes.kind == "optional") != (no.kind == "optional") and "error" not in (yes.kind, no.kind):
            return self.report("TypeMismatch", node, "one of both is an optional: open it with .orValue(…)")
        return types.join(yes, no)

    def within(self, variable: str, kind: types.Type, body: Callable[[], types.Type]) -> types.Type:
        """What `body` gives while `variable` is bound to a value of `kind`."""
        outer, before = self.locals.get(variable), self.facts
        self.locals[variable] = kind
        self.facts = frozenset(path for path in before if path[0] != variable)
        try:
            return body()
        finally:
            self.facts = before
            if outer is None:
                del self.locals[variable]
            else:
                self.locals[variable] = outer


def _truth_hint(kind: types.Type, text: str) -> str | None:
    if kind.kind in ("string", "list", "map", "object"):
        return f"write {text[:60]}.size() > 0"
    return f"write {text[:60]} != 0" if kind.kind in ("int", "double") else None


_VALUES = functions.FUNCTIONS["values"][0]
_CONSTANTS: Mapping[str, types.Type] = {
    "null": types.NULL, "bool": types.BOOL, "int": types.INT, "uint": types.UINT, "double": types.EXACT_DOUBLE,
    "bytes": types.BYTES,
}  # fmt: skip
_VISIT: dict[type[grammar.Node], Callable[[Inference, grammar.Node], types.Type]] = {}


def rule(kind: type[grammar.Node], function: Callable[..., types.Type]) -> None:
    """Let `function(inference, node)` type the nodes of `kind`."""
    _VISIT[kind] = function


for _kind in (grammar.Name, grammar.Select, grammar.Index):
    rule(_kind, Inference._chain)
rule(grammar.Constant, Inference._constant)
rule(grammar.Sequence, Inference._sequence)
rule(grammar.Mapping, Inference._mapping)
rule(grammar.Logic, Inference._logic)
rule(grammar.Choice, Inference._choice)
