"""Calling something by name: its interface, whether the arguments fit, retries and effects."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from agentos_engine import fields, kind, literals, model
from agentos_engine.expressions import types
from agentos_engine.lowering import scopes
from agentos_engine.lowering.report import Report

EFFECTS: tuple[fields.Effect, ...] = ("read", "write", "destructive")
TRANSIENT = ("RateLimited", "Timeout", "Unavailable")
"""Error classes that are retried unless the author names others."""
DEFAULT_RETRY: Mapping[str, Any] = {
    "attempts": 3,
    "backoff": "exponential",
    "delayMs": 1_000,
    "maxDelayMs": 30_000,
    "on": list(TRANSIENT),
}
"""Of model calls and of operations of effect read."""
MESSAGE_INPUT: Mapping[str, Any] = {
    "type": "object",
    "properties": {"message": {"type": "string"}},
    "additionalProperties": True,
}
"""Input of an agent that declares none: a message, and whatever its instructions mention."""


_NOTHING = types.object_type({})
_MEMO_SIZE = 4096
_memo: dict[tuple[str, ...], types.Type | None] = {}


def type_of(callee: kind.Linked, *path: str) -> types.Type | None:
    """The type of the schema at `path` of the callee's interface; None if it declares none.

    Many manifests call few things, so types are kept by the callee's digest, which covers its interface.
    """
    key = (callee.digest or "", *path)
    if callee.digest is not None and key in _memo:
        return _memo[key]
    schema: Any = callee.interface
    for part in path:
        schema = schema.get(part) if schema is not None else None
    found = types.from_schema(schema) if schema is not None else None
    if callee.digest is not None:
        if len(_memo) >= _MEMO_SIZE:
            _memo.clear()
        _memo[key] = found
    return found


def highest(effects: Iterable[str | None]) -> str:
    """The gravest of `effects`; unknown (None) is destructive, none at all is read."""
    ranks = [len(EFFECTS) - 1 if effect not in EFFECTS else EFFECTS.index(effect) for effect in effects]
    return EFFECTS[max(ranks, default=0)]


def linked(report: Report, context: kind.Context, ref: model.ResourceRef, at: model.Location) -> kind.Linked | None:
    """The dependency `ref`, or None (noted) if it is not there."""
    found = context.deps.get(ref)
    if found is None:
        report.add("UnknownReference", at, f"there is no {ref}", f"Create {ref}, or correct the name.")
    return found


def operation(
    report: Report, context: kind.Context, named: str, at: model.Location
) -> tuple[kind.Linked, str, Mapping[str, Any]] | None:
    """The connector, operation id and operation's interface of ``connector.operation``."""
    name, _, id_ = named.partition(".")
    connector = linked(report, context, model.ResourceRef("Connector", name), at)
    if connector is None:
        return None
    operations: Mapping[str, Mapping[str, Any]] = connector.interface.get("operations") or {}
    if id_ not in operations:
        unknown_operation(report, name, id_, operations, at)
        return None
    return connector, id_, operations[id_]


def unknown_operation(report: Report, connector: str, id_: str, operations: Iterable[str], at: model.Location) -> None:
    """Note that `connector` has no operation `id_`."""
    close = difflib.get_close_matches(id_, list(operations), 1)
    hint = f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(sorted(operations))}."
    report.add("UnknownOperation", at, f"Connector/{connector} has no operation {id_!r}", hint)


def arguments(
    report: Report,
    given: types.Type | None,
    wanted: types.Type,
    callee: str,
    at: model.Location,
    fallback: model.Location,
) -> None:
    """Check arguments of type `given` (None: no ``with``) against the input `wanted` of `callee`.

    `at` is where the arguments stand, `fallback` where their absence shows.
    """
    if given is not None:
        arguments_of(report, given, wanted, callee, at)
    else:
        arguments_of(report, _NOTHING, wanted, callee, fallback)


def arguments_of(report: Report, given: types.Type, target: types.Type, callee: str, at: model.Location) -> None:
    """Note every way in which `given` does not fit `target`."""
    for path, message in types.mismatches(given, target):
        where = (*at, *(part for part in path if part not in ("[]", "{}")))
        name = ".".join(path) or "the whole"
        if message.startswith("may be null"):
            report.add("MayBeNull", where, f"{name} {message} by {callee}", severity="warning")
        elif message.startswith("is not declared"):
            message, _, hint = message.partition("; did you mean ")
            report.add(
                "InvalidArgument",
                where,
                f"{callee} has no argument {name!r}",
                f"Did you mean {hint}" if hint else f"It takes {', '.join(target.fields or ()) or 'none'}.",
                key=True,
            )
        else:
            report.add("InvalidArgument", where, f"argument {name!r} of {callee} {message}")


def retry(spec: fields.Retry | None) -> dict[str, Any] | None:
    """The compiled form of what the author wrote."""
    if spec is None:
        return None
    return {
        "attempts": spec.attempts,
        "backoff": spec.backoff,
        "delayMs": literals.duration_ms(spec.delay),
        "maxDelayMs": literals.duration_ms(spec.max_delay),
        "on": list(spec.on or TRANSIENT),
    }


def run_target(
    report: Report, context: kind.Context, spec: fields.RunTarget, scope: scopes.Scope, at: model.Location
) -> tuple[dict[str, Any], dict[str, str]]:
    """A Schedule's or Trigger's `run`, and the digest it `uses`."""
    key, name = ("workflow", spec.workflow) if spec.workflow is not None else ("agent", spec.agent)
    kind_ = key.capitalize()
    target = linked(report, context, model.ResourceRef(kind_, name or ""), (*at, key))
    given, given_type = report.value(spec.with_, scope, (*at, "with"))
    body: dict[str, Any] = {"kind": kind_, "name": name, "with": given}
    if spec.thread is not None:
        body["thread"], _ = report.value(spec.thread, scope, (*at, "thread"))
    if target is None:
        return body, {}
    wanted = type_of(target, "input")
    if wanted is not None:
        arguments(report, given_type if spec.with_ else None, wanted, str(target.ref), (*at, "with"), (*at, key))
    return body, uses([target])


def uses(callees: Iterable[kind.Linked]) -> dict[str, str]:
    """The digests a body pins; what emits no artifact is folded in and pins nothing."""
    return {str(callee.ref): callee.digest for callee in callees if callee.digest is not None}
