"""A Workflow to its graph: every route explicit, every expression checked, every callee pinned.

Two passes. The first needs no expression: it finds what each step calls, its outcomes and its routes, and from the
routes what has run before each step. The second checks each step's expressions in the scope that follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agentos_engine import artifacts, kind, literals, model
from agentos_engine.expressions import types
from agentos_engine.kinds.workflow import actions, routes, ways
from agentos_engine.kinds.workflow.spec import (
    CelReducer,
    Map,
    StateField,
    Step,
    StepLimits,
    WorkflowLimits,
    WorkflowSpec,
)
from agentos_engine.lowering import calls, extras, scopes, shapes
from agentos_engine.lowering.report import Report

SPEC: model.Location = ("spec",)
_EMPTY: Mapping[str, Any] = {"append": [], "extend": [], "union": [], "merge": {}, "sum": 0}
"""What a field without a default begins with, by reducer; with the others it begins as null."""
_STATUS = types.Type("string", enum=("pending", "done", "skipped", "failed"))
_ITEM_ERROR = types.object_type({"index": types.INT, "error": scopes.ERROR}, name="item error")
_RECORD: scopes.Scope = {
    "status": _STATUS,
    "outcome": types.nullable(types.STRING),
    "error": types.nullable(scopes.ERROR),
    "errors": types.list_of(_ITEM_ERROR),
    "visits": types.INT,
}
"""``steps.x`` besides its output."""
_NO_FIELDS = types.object_type({})


def compile(manifest: model.Manifest, spec: WorkflowSpec, context: kind.Context) -> kind.Compiled:  # noqa: A001
    """The graph of a workflow, and its interface ``{input, output, outcomes, effect, description}``."""
    report = Report(manifest, context.texts)
    return _Workflow(manifest, spec, context, report).run()


class _Workflow:
    """One compilation."""

    def __init__(self, manifest: model.Manifest, spec: WorkflowSpec, context: kind.Context, report: Report) -> None:
        self.manifest = manifest
        self.spec = spec
        self.report = report
        self.unit = actions.Unit(manifest.ref.name, spec, context, report)
        self.input = shapes.standalone(spec.input, spec.defs)
        self.fields = {name: _field_type(field, spec.defs) for name, field in spec.state.items()}
        self.base: scopes.Scope = {
            **scopes.STEP,
            "input": types.from_schema(self.input) if self.input is not None else types.MAP,
            "state": types.object_type(self.fields, name="state"),
        }
        self.outputs: dict[str, types.Type] = {}
        self.seen: dict[tuple[str, bool], types.Type] = {}
        report.steps = spec.steps.keys()

    def run(self) -> kind.Compiled:
        spec, report = self.spec, self.report
        ids = list(spec.steps)
        below = routes.following(ids)
        known: dict[str, actions.Shape] = {}
        bodies: list[dict[str, Any]] = []
        for id_, step in spec.steps.items():
            at = (*SPEC, "steps", id_)
            type_ = step.type
            shape = known[id_] = actions.SHAPES[type_](self.unit, step, id_, at)
            self.outputs[id_] = _of_all_items(step.map, shape.output)
            bodies.append(self._skeleton(step, id_, type_, shape, below[id_], at))
        before, at_end = ways.before(ids[0], bodies)
        ended: list[types.Type] = []
        for id_, part in zip(ids, bodies, strict=True):
            step = spec.steps[id_]
            better = self._fill(step, id_, part, known[id_], before[id_])
            if better is not None and step.end is not None:
                ended.append(better)
            elif better is not None:
                self.outputs[id_] = _of_all_items(step.map, better)
                self.seen.pop((id_, True), None)
                self.seen.pop((id_, False), None)
        output, output_type = self._output(bodies, before, at_end, ended)
        effect = calls.highest(part["effect"] for part in bodies if "effect" in part)
        outcomes = list(dict.fromkeys(["done", *(part["outcome"] for part in bodies if part["type"] == "end")]))
        description = report.plain(spec.description, (*SPEC, "description"))
        body: dict[str, Any] = {
            "form": "workflow",
            "name": self.manifest.ref.name,
            "description": description,
            "input": self.input,
            "state": {name: self._field(name, field) for name, field in spec.state.items()},
            "entry": ids[0],
            "steps": bodies,
            "output": output,
            "outcomes": outcomes,
            "effect": effect,
            "limits": _limits(spec.limits),
            "models": dict(sorted(self.unit.models.items())),
            "uses": dict(sorted(calls.uses(self.unit.callees).items())),
        }
        if spec.defs:
            body["$defs"] = spec.defs
        body.update(extras.of(self.manifest.spec))
        interface = {
            "input": self.input,
            "output": shapes.to_schema(output_type),
            "outcomes": outcomes,
            "effect": effect,
            "description": description,
        }
        artifact = artifacts.Artifact("graph", str(self.manifest.ref), body)
        return kind.Compiled(None if report.failed else artifact, interface, report.finish())

    def _skeleton(
        self, step: Step, id_: str, type_: str, shape: actions.Shape, below: str, at: model.Location
    ) -> dict[str, Any]:
        """All of a step's body that needs no expression checked; `when` stands in it for the data flow."""
        body: dict[str, Any] = {"id": id_, "type": type_}
        described = self.report.plain(step.description, (*at, "description"))
        if described is not None:
            body["description"] = described
        if step.when is not None:
            body["when"] = step.when
        body.update(shape.part)
        if step.branch is not None:
            body["cases"] = [{"when": case.when, "next": case.next} for case in step.branch]
        retry = self._retry(step, shape, at)
        if retry is not None:
            body["retry"] = retry
        if step.limits is not None:
            body["limits"] = _step_limits(step.limits)
        body["onError"] = routes.on_error(step)
        body["next"] = routes.next_of(self.report, step.next, shape.outcomes, shape.raising, below, at)
        return body

    def _retry(self, step: Step, shape: actions.Shape, at: model.Location) -> Mapping[str, Any] | None:
        if step.retry is None:
            return shape.retry
        if shape.effect != "read" and not shape.idempotent and step.retry.on is None:
            self.report.add(
                "InvalidStep",
                (*at, "retry"),
                f"a call of effect {shape.effect} that is not idempotent is not retried by itself",
                "Name the errors after which it may be repeated in retry.on.",
                severity="warning",
            )
            return None
        return calls.retry(step.retry)

    def _fill(
        self, step: Step, id_: str, body: dict[str, Any], shape: actions.Shape, before: ways.Before
    ) -> types.Type | None:
        """Check every expression of the step and put its normal form into the body; a better output type if known."""
        report, at = self.report, (*SPEC, "steps", id_)
        report.unset = before.maybe - before.surely
        scope = self._scope(before)
        if step.when is not None:
            body["when"] = report.condition(step.when, scope, (*at, "when"))
        for index, case in enumerate(step.branch or ()):
            body["cases"][index]["when"] = report.condition(case.when, scope, (*at, "branch", index, "when"))
        if step.map is not None:
            body["map"], scope = self._map(step.map, scope, at)
        given: types.Type | None = None
        if step.with_ is not None:
            body["with"], given = report.value(step.with_, scope, (*at, "with"))
        if shape.callee is not None and shape.wanted is not None:
            calls.arguments(report, given, shape.wanted, shape.callee, (*at, "with"), (*at, body["type"]))
        better = actions.finish(self.unit, step, id_, body, scope, given or _NO_FIELDS, at)
        if step.set is not None:
            output = better if better is not None else shape.output
            body["set"] = self._set(step.set, {**scope, "output": output}, (*at, "set"))
        return better

    def _scope(self, before: ways.Before) -> dict[str, types.Type]:
        ran = {id_: self._seen(id_, id_ in before.surely) for id_ in self.spec.steps if id_ in before.maybe}
        return {**self.base, "steps": types.object_type(ran, name="steps", required=())}

    def _seen(self, id_: str, surely: bool) -> types.Type:
        """``steps.x`` as another step sees it."""
        found = self.seen.get((id_, surely))
        if found is None:
            output = self.outputs[id_]
            fields = {**_RECORD, "output": output if surely else types.nullable(output)}
            found = self.seen[(id_, surely)] = types.object_type(fields, name=f"steps.{id_}", required=())
        return found

    def _map(
        self, spec: Map, scope: dict[str, types.Type], at: model.Location
    ) -> tuple[dict[str, Any], dict[str, types.Type]]:
        over, kind_ = self.report.value(spec.over, scope, (*at, "map", "over"))
        if kind_.kind not in ("list", "any", "error"):
            message = f"map.over is {types.describe(kind_)}, but a list is wanted"
            self.report.add("TypeMismatch", (*at, "map", "over"), message)
        elif kind_.nullable and kind_.kind == "list":
            self.report.add(
                "MayBeNull", (*at, "map", "over"), "map.over may be null", "Use coalesce([…, []]).", severity="warning"
            )
        body = {
            "over": over,
            "as": spec.as_,
            "at": spec.at,
            "concurrency": spec.concurrency,
            "errors": spec.errors,
            "max": spec.max,
        }
        item = (kind_.item or types.DYN) if kind_.kind == "list" else types.DYN
        return body, {**scope, spec.as_: item, spec.at: types.INT}

    def _set(self, written: Mapping[str, Any], scope: scopes.Scope, at: model.Location) -> dict[str, Any]:
        body = {}
        for name, value in written.items():
            body[name], kind_ = self.report.value(value, scope, (*at, name))
            field = self.spec.state.get(name)
            if field is None:
                declared = ", ".join(self.spec.state) or "none"
                self.report.add(
                    "UnknownField", (*at, name), f"state has no field {name!r}", f"Declared: {declared}.", key=True
                )
                continue
            for path, message in types.mismatches(kind_, _written(field.reducer, self.fields[name])):
                where = (*at, name, *(part for part in path if part not in ("[]", "{}")))
                soft = message.startswith("may be null")
                self.report.add(
                    "MayBeNull" if soft else "TypeMismatch",
                    where,
                    f"what is written to state.{name} {message}",
                    severity="warning" if soft else "error",
                )
        return body

    def _output(
        self,
        bodies: list[dict[str, Any]],
        before: Mapping[str, ways.Before],
        at_end: ways.Before,
        ended: list[types.Type],
    ) -> tuple[Any, types.Type]:
        """The workflow's output in the scope of all its ends without their own, and the type of any end's output."""
        exits = [before[body["id"]] for body in bodies if body["type"] == "end" and "output" not in body]
        if at_end.maybe:
            exits.append(at_end)
        maybe = frozenset(self.spec.steps).intersection(frozenset[str]().union(*(exit_.maybe for exit_ in exits)))
        surely = maybe.intersection(*(exit_.surely for exit_ in exits))
        self.report.unset = maybe - surely
        output, kind_ = self.report.value(self.spec.output, self._scope(ways.Before(maybe, surely)), (*SPEC, "output"))
        for other in ended:
            kind_ = types.join(kind_, other) if exits or other is not ended[0] else other
        return output, kind_

    def _field(self, name: str, field: StateField) -> dict[str, Any]:
        schema = shapes.standalone(field.value_schema, self.spec.defs) or {}
        default = schema.get("default", _EMPTY.get(field.reducer))
        reduce: Any = field.reduce
        if isinstance(reduce, CelReducer):
            kind_ = self.fields[name]
            scope = {"old": kind_, "new": replace(kind_, nullable=False)}
            at = (*SPEC, "state", name, "reduce", "cel")
            reduce = {"cel": self.report.expression(reduce.cel, scope, at, types.nullable(kind_)).text}
        return {"schema": schema, "reduce": reduce, "default": default}


def _field_type(field: StateField, defs: Mapping[str, Any]) -> types.Type:
    schema = field.value_schema
    kind_ = types.from_schema(schema, defs)
    starts = schema.get("default", _EMPTY.get(field.reducer)) is not None
    return kind_ if starts else types.nullable(kind_)


def _written(reduce: str, field: types.Type) -> types.Type:
    """What may be written to a field of type `field`."""
    if reduce == "append":
        return (field.item or types.DYN) if field.kind == "list" else types.DYN
    if reduce == "union":
        return types.DYN
    if reduce == "cel":
        return replace(field, nullable=False)
    if reduce == "merge" and field.kind == "object":
        return replace(field, required=frozenset(), nullable=False)
    return types.nullable(field) if reduce in ("replace", "min", "max", "merge", "extend", "sum") else field


def _of_all_items(spec: Map | None, output: types.Type) -> types.Type:
    if spec is None:
        return output
    return types.list_of(types.nullable(output) if spec.errors == "collect" else output)


def _limits(spec: WorkflowLimits) -> dict[str, Any]:
    limits: dict[str, Any] = {"steps": spec.steps, "depth": spec.depth}
    if spec.timeout is not None:
        limits["timeoutMs"] = literals.duration_ms(spec.timeout)
    if spec.cost_usd is not None:
        limits["costUsd"] = spec.cost_usd
    if spec.tokens is not None:
        limits["tokens"] = spec.tokens
    return limits


def _step_limits(spec: StepLimits) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if spec.timeout is not None:
        limits["timeoutMs"] = literals.duration_ms(spec.timeout)
    if spec.cost_usd is not None:
        limits["costUsd"] = spec.cost_usd
    if spec.tokens is not None:
        limits["tokens"] = spec.tokens
    return limits
