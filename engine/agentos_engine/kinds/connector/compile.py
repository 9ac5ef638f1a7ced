"""A Connector to its artifact: where requests go, how they are authorised, and one template per operation."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from agentos_engine import artifacts, kind, literals, model
from agentos_engine.expressions import types
from agentos_engine.kinds.connector.spec import Auth, ConnectorSpec, Operation
from agentos_engine.lowering import calls, extras, scopes, shapes
from agentos_engine.lowering.report import Report

_ARGUMENT = re.compile(r"\{([^{}]*)\}")
_NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}


def compile(manifest: model.Manifest, spec: ConnectorSpec, context: kind.Context) -> kind.Compiled:  # noqa: A001
    """The connector's artifact, and its interface ``{operations, effect, description}``.

    An operation's interface is ``{input, output, effect, description, retry, idempotent}``.
    """
    report = Report(manifest, context.texts)
    operations: dict[str, dict[str, Any]] = {}
    seen: dict[str, dict[str, Any]] = {}
    for id_, operation in spec.operations.items():
        body = operations[id_] = _operation(report, spec, id_, operation)
        seen[id_] = {name: body[name] for name in ("input", "output", "effect", "description", "retry")}
        seen[id_]["idempotent"] = operation.idempotency is not None
    description = report.plain(spec.description, ("spec", "description"))
    effect = calls.highest(operation["effect"] for operation in operations.values())
    body = {
        "name": manifest.ref.name,
        "description": description,
        "baseUrl": spec.http.base_url.rstrip("/"),
        "hosts": sorted({urlsplit(spec.http.base_url).netloc.lower(), *(host.lower() for host in spec.egress)}),
        "headers": report.value(spec.http.headers, {}, ("spec", "http", "headers"))[0],
        "timeoutMs": literals.duration_ms(spec.http.timeout),
        "operations": operations,
        "effect": effect,
    }
    if spec.auth is not None:
        body["auth"] = _auth(spec.auth)
    body.update(extras.of(manifest.spec))
    interface = {"operations": seen, "effect": effect, "description": description}
    artifact = artifacts.Artifact("connector", str(manifest.ref), body)
    return kind.Compiled(None if report.failed else artifact, interface, report.finish())


def _auth(spec: Auth) -> dict[str, Any]:
    if spec.bearer is not None:
        return {"type": "bearer", "secret": spec.bearer.secret}
    if spec.basic is not None:
        return {"type": "basic", "secret": spec.basic.secret, "username": spec.basic.username}
    assert spec.api_key is not None
    body: dict[str, Any] = {"type": "apiKey", "secret": spec.api_key.secret}
    if spec.api_key.header is not None:
        body["header"] = spec.api_key.header
    if spec.api_key.query is not None:
        body["query"] = spec.api_key.query
    return body


def _operation(report: Report, connector: ConnectorSpec, id_: str, spec: Operation) -> dict[str, Any]:
    at: model.Location = ("spec", "operations", id_)
    input_schema = shapes.standalone(spec.input, connector.defs) or dict(_NO_ARGUMENTS)
    output_schema = shapes.standalone(spec.output, connector.defs)
    input_type = types.from_schema(input_schema)
    scope: scopes.Scope = {"input": input_type}
    _check_path(report, spec, input_type, (*at, "request"))
    retry = calls.retry(spec.retry)
    if retry is None and spec.effect == "read":
        retry = dict(calls.DEFAULT_RETRY)
    body: dict[str, Any] = {
        "description": report.plain(spec.description, (*at, "description")),
        "effect": spec.effect,
        "method": spec.method,
        "path": spec.path,
        "input": input_schema,
        "output": output_schema,
        "retry": retry,
        "errors": _errors(report, spec, at),
    }
    if spec.query:
        body["query"], _ = report.value(spec.query, scope, (*at, "query"))
    if spec.headers:
        body["headers"], _ = report.value(spec.headers, scope, (*at, "headers"))
    if "body" in spec.model_fields_set:
        body["body"], _ = report.value(spec.body, scope, (*at, "body"))
    if "result" in spec.model_fields_set:
        body["result"], kind_ = report.value(spec.result, {**scopes.RESPONSE, **scope}, (*at, "result"))
        if output_schema is not None:
            _check_result(report, kind_, types.from_schema(output_schema), (*at, "result"))
    if spec.idempotency is not None:
        body["idempotency"] = spec.idempotency
    return body


def _check_path(report: Report, spec: Operation, input_type: types.Type, at: model.Location) -> None:
    """Every ``{argument}`` of the path must be one."""
    if input_type.kind != "object" or input_type.open:
        return
    declared = input_type.fields or {}
    for match in _ARGUMENT.finditer(spec.path):
        name = match[1]
        if name in declared:
            continue
        close = difflib.get_close_matches(name, declared, 1)
        hint = f"Did you mean {close[0]!r}?" if close else "Declare it in the operation's input."
        report.add("InvalidValue", at, f"the path takes `{name}`, which is no argument", hint)


def _check_result(report: Report, given: types.Type, wanted: types.Type, at: model.Location) -> None:
    for path, message in types.mismatches(given, wanted):
        if not message.startswith("may be null"):
            where = (*at, *(part for part in path if part not in ("[]", "{}")))
            report.add("TypeMismatch", where, f"the result {message} by the operation's output")


def _errors(report: Report, spec: Operation, at: model.Location) -> dict[str, str]:
    classes = {}
    for name, test in spec.errors.items():
        if isinstance(test, int):
            classes[name] = f"status == {test}"
        else:
            classes[name] = report.condition(test, scopes.RESPONSE, (*at, "errors", name))
    return classes
