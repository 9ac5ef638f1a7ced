"""The kind Connector: checks paths, schemas and authorisation of its operations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from agentos_engine import blockrules, fields, kind, model, suggest, userschema
from agentos_engine.kinds.connector import compile as compiler
from agentos_engine.kinds.connector.spec import ConnectorSpec, Operation

_AT: model.Location = ("spec",)
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_FORMS = {"bearer": "bearer", "basic": "basic", "apiKey": "api_key"}


def _files(spec: ConnectorSpec) -> Iterator[tuple[str, model.Location]]:
    yield from blockrules.text_files(spec.description, (*_AT, "description"))
    for id_, operation in spec.operations.items():
        yield from blockrules.text_files(operation.description, (*_AT, "operations", id_, "description"))


def _rules(spec: ConnectorSpec) -> Iterator[userschema.Found]:
    yield from userschema.check_defs(spec.defs, (*_AT, "$defs"))
    if spec.auth is not None:
        yield from blockrules.exactly_one(spec.auth, _FORMS, (*_AT, "auth"), "`auth`")
        if spec.auth.api_key is not None:
            at = (*_AT, "auth", "apiKey")
            yield from blockrules.exactly_one(spec.auth.api_key, {"header": "header", "query": "query"}, at, "`apiKey`")
    for id_, operation in spec.operations.items():
        yield from _operation(operation, (*_AT, "operations", id_), spec.defs)


def _operation(
    operation: Operation, at: model.Location, defs: Mapping[str, fields.JsonSchema]
) -> Iterator[userschema.Found]:
    yield from blockrules.schemas(operation.input, (*at, "input"), defs, root=True)
    yield from blockrules.schemas(operation.output, (*at, "output"), defs)
    yield from _path(operation, at)
    if operation.body is not None and operation.method in ("GET", "HEAD"):
        yield "InvalidValue", (*at, "body"), f"a {operation.method} request has no body", "Use `query`."
    for class_, error in operation.errors.items():
        if isinstance(error, int) and not 400 <= error <= 599:
            yield "InvalidValue", (*at, "errors", class_), f"{error} is no status of an error", "From 400 to 599."


def _path(operation: Operation, at: model.Location) -> Iterator[userschema.Found]:
    """The placeholders of a path are arguments that are always there."""
    path, here = operation.path, (*at, "request")
    if "?" in path or "#" in path:
        yield "InvalidValue", here, "the path holds a query or fragment", "Write the query under `query`."
    if ".." in path.split("/"):
        yield "InvalidValue", here, "the path holds `..`", "Write the path out."
    if "${" in path:
        yield "InvalidValue", here, "`${…}` is not evaluated in a path", "Write `{argument}`."
        return
    if _PLACEHOLDER.sub("", path).strip("{}") != _PLACEHOLDER.sub("", path):
        yield "InvalidValue", here, "a brace in the path is not closed", "Write `{argument}`."
    schema = operation.input or {}
    declared = schema.get("properties") if "$ref" not in schema else None
    for name in _PLACEHOLDER.findall(path):
        if declared is None and "$ref" in schema:
            continue
        if not isinstance(declared, dict) or name not in declared:
            known = declared if isinstance(declared, dict) else ()
            hint = suggest.did_you_mean(name, known, "Declare it under `input.properties`.")
            yield "InvalidValue", here, f"the path takes `{name}`, which is no argument", hint
        elif name not in (schema.get("required") or ()) and not (
            isinstance(declared[name], dict) and "default" in declared[name]
        ):
            yield (
                "InvalidValue",
                here,
                f"the path takes `{name}`, which may be absent",
                "List it under `input.required`.",
            )


class ConnectorKind:
    """See `agentos_engine.kind.Kind`."""

    name = "Connector"
    scope: kind.Scope = "tenant"
    spec = ConnectorSpec

    def references(self, spec: ConnectorSpec) -> Iterable[model.Reference]:
        return ()

    def files(self, spec: ConnectorSpec) -> Iterable[tuple[str, model.Location]]:
        return _files(spec)

    def validate(self, manifest: model.Manifest, spec: ConnectorSpec) -> Iterable[model.Diagnostic]:
        return blockrules.diagnostics(manifest, _rules(spec))

    def compile(self, manifest: model.Manifest, spec: ConnectorSpec, context: kind.Context) -> kind.Compiled:
        return compiler.compile(manifest, spec, context)


KIND: kind.Kind[ConnectorSpec] = ConnectorKind()
