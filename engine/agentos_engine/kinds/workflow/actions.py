"""One action to its part of the step's body, the type of its output, and its outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentos_engine import blocks, kind, literals, model
from agentos_engine.expressions import types
from agentos_engine.kinds.workflow.spec import Approve, End, Step, WorkflowSpec
from agentos_engine.lowering import agents, calls, models, scopes, shapes
from agentos_engine.lowering.report import Report

DONE = ("done",)
_DECISIONS = ("approved", "rejected", "expired")


@dataclass(slots=True)
class Unit:
    """The workflow being compiled: its parts so far, shared by all steps."""

    name: str
    spec: WorkflowSpec
    context: kind.Context
    report: Report
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    callees: list[kind.Linked] = field(default_factory=list)

    def link(self, ref: model.ResourceRef, at: model.Location) -> kind.Linked | None:
        found = calls.linked(self.report, self.context, ref, at)
        if found is not None:
            self.callees.append(found)
        return found


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a step's action before any expression is checked: `part` of the body, output type, outcomes.

    Outcomes in `raising` raise an error unless they are routed. `wanted` is the callee's input where that is declared,
    `callee` its name for messages. `idempotent` and `retry` are about a connector's operation.
    """

    part: dict[str, Any] = field(default_factory=dict)
    output: types.Type = types.NULL
    outcomes: tuple[str, ...] = DONE
    raising: tuple[str, ...] = ()
    wanted: types.Type | None = None
    callee: str | None = None
    idempotent: bool = False
    retry: Mapping[str, Any] | None = None

    @property
    def effect(self) -> str:
        effect: str = self.part.get("effect", "read")
        return effect


def _unknown(step: Step) -> Shape:
    """For a step whose callee is not there (which has been noted): anything goes."""
    written = step.next if isinstance(step.next, Mapping) else {}
    return Shape(output=types.DYN, outcomes=tuple(dict.fromkeys((*DONE, *written))))


def _model(unit: Unit, written: str | blocks.ModelBlock, id_: str, at: model.Location) -> dict[str, Any]:
    """The part of a body that names the model, which is one of the graph's."""
    used = models.use(unit.report, unit.context, written, f"{id_}.inline", (*at, "model"))
    if used is None:
        return {"model": None}
    unit.models[used[0]] = used[1]
    return {"model": used[0]}


def _classify(unit: Unit, step: Step, id_: str, at: model.Location) -> Shape:
    assert step.classify is not None
    part = {**_model(unit, step.classify.model, id_, (*at, "classify")), "many": step.classify.many}
    label = types.Type("string", enum=tuple(step.classify.labels))
    if step.classify.many:
        return Shape(part, types.list_of(label), retry=calls.DEFAULT_RETRY)
    outcomes = (*step.classify.labels, *(DONE if step.goes_on else ())) if step.labels else DONE
    return Shape(part, label, tuple(dict.fromkeys(outcomes)), retry=calls.DEFAULT_RETRY)


def _extract(unit: Unit, step: Step, id_: str, at: model.Location) -> Shape:
    assert step.extract is not None
    part = _model(unit, step.extract.model, id_, (*at, "extract"))
    part["output"] = output = shapes.standalone(step.extract.output, unit.spec.defs)
    return Shape(part, types.from_schema(output or {}), retry=calls.DEFAULT_RETRY)


def _llm(unit: Unit, step: Step, id_: str, at: model.Location) -> Shape:
    assert step.llm is not None
    part = _model(unit, step.llm.model, id_, (*at, "llm"))
    output = shapes.standalone(step.llm.output, unit.spec.defs)
    if output is not None:
        part["output"] = output
    kind_ = types.from_schema(output) if output is not None else types.STRING
    return Shape(part, kind_, retry=calls.DEFAULT_RETRY)


def _agent(unit: Unit, step: Step, id_: str, at: model.Location) -> Shape:
    if isinstance(step.agent, blocks.AgentBlock):
        # Its instructions may see what it is called with, which is known once the arguments are: see `finish`.
        output = shapes.standalone(step.agent.output, step.agent.defs)
        return Shape(
            {"agent": None},
            types.from_schema(output) if output is not None else types.STRING,
            wanted=types.from_schema(step.agent.input, step.agent.defs) if step.agent.input is not None else None,
            callee=f"the agent of {id_}",
        )
    return _callee(unit, step, "Agent", step.agent or "", (*at, "agent"))


def _workflow(unit: Unit, step: Step, id_: str, at: model.Location) -> Shape:
    return _callee(unit, step, "Workflow", step.workflow or "", (*at, "workflow"))


def _callee(unit: Unit, step: Step, kind_: str, name: str, at: model.Location) -> Shape:
    linked = unit.link(model.ResourceRef(kind_, name), at)
    if linked is None:
        return _unknown(step)
    seen = linked.interface
    return Shape(
        {kind_.lower(): name, "effect": seen.get("effect", "destructive")},
        calls.type_of(linked, "output") or types.DYN,
        outcomes=tuple(seen.get("outcomes") or DONE),
        wanted=calls.type_of(linked, "input"),
        callee=str(linked.ref),
    )


def _connector(unit: Unit, step: Step, id_: str, at: model.Location) -> Shape:
    named = step.connector or ""
    found = calls.operation(unit.report, unit.context, named, (*at, "connector"))
    if found is None:
        return _unknown(step)
    connector, operation, seen = found
    unit.callees.append(connector)
    part = {
        "connector": connector.ref.name,
        "operation": operation,
        "effect": seen.get("effect", "destructive"),
        "input": seen.get("input"),
        "output": seen.get("output"),
    }
    return Shape(
        part,
        calls.type_of(connector, "operations", operation, "output") or types.DYN,
        wanted=calls.type_of(connector, "operations", operation, "input"),
        callee=named,
        idempotent=bool(seen.get("idempotent")),
        retry=seen.get("retry"),
    )


def _set(unit: Unit, step: Step, id_: str, at: model.Location) -> Shape:
    return Shape()


def _approve(unit: Unit, step: Step, id_: str, at: model.Location) -> Shape:
    spec: Approve | None = step.approve
    assert spec is not None
    part: dict[str, Any] = {"by": [spec.by] if isinstance(spec.by, str) else list(spec.by), "quorum": spec.quorum}
    edit = shapes.standalone(spec.edit, unit.spec.defs)
    if edit is not None:
        part["edit"] = edit
    if spec.expires is not None:
        part["expiresMs"] = literals.duration_ms(spec.expires)
    return Shape(part, decision(types.DYN if edit is None else types.from_schema(edit)), _DECISIONS, _DECISIONS[1:])


def decision(value: types.Type) -> types.Type:
    """The output of an approval about `value`."""
    fields = {
        "decision": types.Type("string", enum=_DECISIONS),
        "value": value,
        "by": types.nullable(types.STRING),
        "at": types.TIMESTAMP,
        "comment": types.nullable(types.STRING),
    }
    return types.object_type(fields, name="decision")


def _none(unit: Unit, step: Step, id_: str, at: model.Location) -> Shape:
    return Shape(outcomes=())


SHAPES: Mapping[str, Callable[[Unit, Step, str, model.Location], Shape]] = {
    "llm": _llm,
    "classify": _classify,
    "extract": _extract,
    "transform": lambda unit, step, id_, at: Shape(output=types.DYN),
    "agent": _agent,
    "connector": _connector,
    "workflow": _workflow,
    "approve": _approve,
    "branch": lambda unit, step, id_, at: Shape(),
    "set": _set,
    "end": _none,
    "fail": _none,
}
"""By action; each notes a diagnostic if what the step names is not there."""


def finish(
    unit: Unit, step: Step, id_: str, body: dict[str, Any], scope: scopes.Scope, given: types.Type, at: model.Location
) -> types.Type | None:
    """Check the action's own expressions in `scope` and add them to `body`; a better output type, if there is one."""
    report = unit.report
    if step.llm is not None:
        body["prompt"] = report.text(step.llm.prompt, scope, (*at, "llm", "prompt"))
        if step.llm.system is not None:
            body["system"] = report.text(step.llm.system, scope, (*at, "llm", "system"))
    elif step.classify is not None:
        body["text"] = report.text(step.classify.text, scope, (*at, "classify", "text"))
        body["labels"] = {
            label: report.text(meaning, scope, (*at, "classify", "labels", label))
            for label, meaning in step.classify.labels.items()
        }
    elif step.extract is not None:
        body["text"] = report.text(step.extract.text, scope, (*at, "extract", "text"))
    elif step.transform is not None:
        body["value"], made = report.value(step.transform, scope, (*at, "transform"))
        return made
    elif step.fail is not None:
        body["error"] = step.fail.error
        body["message"] = report.text(step.fail.message, scope, (*at, "fail", "message"))
        if step.fail.details is not None:
            body["details"], _ = report.value(step.fail.details, scope, (*at, "fail", "details"))
    elif step.approve is not None:
        body["show"], shown = report.value(step.approve.show, scope, (*at, "approve", "show"))
        return decision(shown) if step.approve.edit is None else None
    elif isinstance(step.agent, blocks.AgentBlock):
        inline, seen = agents.lower(report, unit.context, step.agent, f"{unit.name}/{id_}", (*at, "agent"), given)
        unit.callees += (unit.context.deps[model.ResourceRef.parse(name)] for name in inline["uses"])
        body["inline"] = inline
        body["effect"] = seen["effect"]
    elif isinstance(step.end, End):
        body["outcome"] = step.end.outcome
        if "output" in step.end.model_fields_set:
            body["output"], ended = report.value(step.end.output, scope, (*at, "end", "output"))
            return ended
    elif step.end is not None:
        body["outcome"] = step.end
    return None
