"""The kind Trigger: checks that an event has one origin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agentos_engine import blockrules, kind, model, userschema
from agentos_engine.kinds.trigger import compile as compiler
from agentos_engine.kinds.trigger.spec import TriggerSpec

_AT: model.Location = ("spec",)
_ORIGINS = {"connector": "connector", "webhook": "webhook", "emit": "emit", "resource": "resource"}


def _references(spec: TriggerSpec) -> Iterator[model.Reference]:
    yield from blockrules.target_references(spec.run, (*_AT, "run"))
    if spec.on.connector is not None:
        yield model.Reference(model.ResourceRef("Connector", spec.on.connector), (*_AT, "on", "connector"))
    if spec.on.resource is not None:
        of = spec.on.resource
        yield model.Reference(model.ResourceRef(of.kind, of.name), (*_AT, "on", "resource", "name"))


def _rules(spec: TriggerSpec) -> Iterator[userschema.Found]:
    at = (*_AT, "on")
    yield from blockrules.exactly_one(spec.on, _ORIGINS, at, "`on`")
    yield from blockrules.target_rules(spec.run, (*_AT, "run"))
    if spec.on.connector is not None and spec.on.event is None:
        yield "MissingKey", at, "`connector` needs `event`", "Name the event's type."
    if spec.on.event is not None and spec.on.connector is None:
        yield "InvalidValue", (*at, "event"), "`event` is one of a connector", "Name the `connector`."


class TriggerKind:
    """See `agentos_engine.kind.Kind`."""

    name = "Trigger"
    scope: kind.Scope = "tenant"
    spec = TriggerSpec

    def references(self, spec: TriggerSpec) -> Iterable[model.Reference]:
        return _references(spec)

    def files(self, spec: TriggerSpec) -> Iterable[tuple[str, model.Location]]:
        return ()

    def validate(self, manifest: model.Manifest, spec: TriggerSpec) -> Iterable[model.Diagnostic]:
        return blockrules.diagnostics(manifest, _rules(spec))

    def compile(self, manifest: model.Manifest, spec: TriggerSpec, context: kind.Context) -> kind.Compiled:
        return compiler.compile(manifest, spec, context)


KIND: kind.Kind[TriggerSpec] = TriggerKind()
