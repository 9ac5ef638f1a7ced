"""What a step may consist of: one action, and modifiers that apply to it.

Also what a workflow's own words must fit: reducers and their types, fields that `set` writes, names of items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import jsonschema_rs

from agentos_engine import blockrules, blocks, model, suggest, userschema
from agentos_engine.kinds.workflow.spec import ACTIONS, StateField, Step, WorkflowSpec

_CALLS: Final = frozenset({"llm", "classify", "extract", "agent", "connector", "workflow"})
_ALL: Final = frozenset({*ACTIONS, "set"})
APPLIES: Final[Mapping[str, tuple[str, frozenset[str], str]]] = {
    "with_": ("with", frozenset({"agent", "connector", "workflow"}), "Only what is called by name takes arguments."),
    "set": ("set", _ALL - {"branch", "end", "fail"}, "Write it on the step before."),
    "map": ("map", _ALL - {"branch", "end", "fail"}, "Map the step that does the work."),
    "retry": ("retry", _CALLS, "Only calls are retried."),
    "limits": ("limits", _CALLS, "Only calls use up limits; a person's time is bounded by `expires`."),
    "next": ("next", _ALL - {"end", "fail"}, "The way of this step ends here."),
    "on_error": ("onError", _ALL - {"branch", "end", "fail"}, "Nothing is called here that could fail."),
}
_ACTIONS: Final = frozenset(ACTIONS)
_REFUSED: Final = {
    action: frozenset(attribute for attribute, (_, allowed, _) in APPLIES.items() if action not in allowed)
    for action in _ALL
}
_DECISIONS: Final = frozenset({"approved", "rejected", "expired"})
OUTCOMES: Final = {"approve": ("approved", "rejected", "expired")}
_ROOTS: Final = frozenset(
    {"input", "state", "steps", "output", "run", "thread", "tenant", "vars", "now", "event", "args", "call"}
)
_REDUCES: Final = {
    "append": ("array",), "extend": ("array",), "union": ("array",), "merge": ("object",),
    "sum": ("number", "integer"), "min": ("number", "integer", "string"), "max": ("number", "integer", "string"),
}  # fmt: skip


def check(spec: WorkflowSpec, at: model.Location) -> Iterator[userschema.Found]:
    """What is wrong with the steps, one by one, and with the workflow's schemas."""
    yield from userschema.check_defs(spec.defs, (*at, "$defs"))
    yield from blockrules.schemas(spec.input, (*at, "input"), spec.defs, root=True)
    for name, field in spec.state.items():
        yield from _state(field, (*at, "state", name), spec.defs)
    for id_, step in spec.steps.items():
        if not _plain(step):
            here = (*at, "steps", id_)
            yield from _step(step, here)
            yield from _insides(step, here, spec.defs)
        if step.set is not None and not step.set.keys() <= spec.state.keys():
            for name in step.set.keys() - spec.state.keys():
                hint = suggest.did_you_mean(name, spec.state, "Declare it under `spec.state`.")
                yield "UnknownField", (*at, "steps", id_, "set", name), f"the state has no field {name!r}", hint


def _plain(step: Step) -> bool:
    """Whether a step is put together so simply that nothing in it needs a closer look; most are."""
    written = step.model_fields_set
    actions = written & _ACTIONS
    if len(actions) != 1:
        return False
    (type_,) = actions
    return (
        written.isdisjoint(_REFUSED[type_])
        and (step.next.__class__ is not dict or (type_ == "approve" and step.map is None and _usual(step)))
        and (step.map is None or (step.map.as_ not in _ROOTS and step.map.at == "index" != step.map.as_))
        and (step.approve is None or step.approve.edit is None)
        and (step.llm is None or (step.llm.output is None and step.llm.model.__class__ is str))
        and step.extract is None
        and (step.classify is None or step.classify.model.__class__ is str)
        and step.agent.__class__ is not blocks.AgentBlock
    )


def _usual(step: Step) -> bool:
    """Whether an approval routes outcomes that it has."""
    assert isinstance(step.next, dict)
    assert step.approve is not None
    return step.next.keys() <= _DECISIONS and (step.approve.expires is not None or "expired" not in step.next)


def _step(step: Step, at: model.Location) -> Iterator[userschema.Found]:
    actions = step.actions
    if len(actions) > 1:
        both = " and ".join(f"`{action}`" for action in actions)
        yield "InvalidStep", (*at, actions[1]), f"a step has one action, this one {both}", "Make them two steps."
        return
    if not actions and step.set is None:
        hint = f"Write one of {suggest.one_of(ACTIONS)}, or `set`."
        yield "InvalidStep", at, "this step does nothing", hint
        return
    type_ = step.type
    for attribute, (key, allowed, hint) in APPLIES.items():
        if attribute in step.model_fields_set and type_ not in allowed:
            yield "InvalidStep", (*at, key), f"`{key}` does not apply to `{type_}`", hint
    if isinstance(step.agent, blocks.AgentBlock) and step.agent.defs:
        hint = "Put them under the workflow's `spec.$defs`."
        yield "InvalidStep", (*at, "agent", "$defs"), "an agent in place has no `$defs` of its own", hint
    if isinstance(step.next, dict):
        yield from _outcomes(step, type_, (*at, "next"))


def _outcomes(step: Step, type_: str, at: model.Location) -> Iterator[userschema.Found]:
    """Outcomes routed that the action does not have; those of a workflow only the callee knows."""
    assert isinstance(step.next, dict)
    if type_ == "workflow" and step.map is None:
        return
    if type_ == "branch":
        yield "InvalidStep", at, "a branch has no outcomes", "Write `next: step` for when no case holds."
        return
    known: tuple[str, ...] = ("done",) if step.map is not None else OUTCOMES.get(type_, step.labels or ("done",))
    if type_ == "approve" and step.approve is not None and step.approve.expires is None:
        known = tuple(outcome for outcome in known if outcome != "expired")
    for outcome in step.next:
        if outcome not in known:
            hint = suggest.did_you_mean(outcome, known, f"It has {suggest.one_of(known)}.")
            if outcome == "expired":
                hint = "Give the approval an `expires`."
            yield "UnknownOutcome", (*at, outcome), f"this step has no outcome {outcome!r}", hint


def _insides(step: Step, at: model.Location, defs: Mapping[str, Any]) -> Iterator[userschema.Found]:
    """Schemas, models and agents written inside a step."""
    if step.llm is not None:
        yield from blockrules.model_rules(step.llm.model, (*at, "llm", "model"))
        yield from blockrules.schemas(step.llm.output, (*at, "llm", "output"), defs)
    if step.classify is not None:
        yield from blockrules.model_rules(step.classify.model, (*at, "classify", "model"))
    if step.extract is not None:
        yield from blockrules.model_rules(step.extract.model, (*at, "extract", "model"))
        yield from blockrules.schemas(step.extract.output, (*at, "extract", "output"), defs)
    if isinstance(step.agent, blocks.AgentBlock):
        yield from blockrules.agent_rules(step.agent, (*at, "agent"), defs)
    if step.approve is not None:
        yield from blockrules.schemas(step.approve.edit, (*at, "approve", "edit"), defs)
    if step.map is not None:
        for key, name in (("as", step.map.as_), ("at", step.map.at)):
            if name in _ROOTS:
                yield "InvalidValue", (*at, "map", key), f"`{name}` is already a name here", "Choose another."
        if step.map.as_ == step.map.at:
            yield (
                "InvalidValue",
                (*at, "map", "at"),
                f"item and position are both called `{step.map.at}`",
                "Rename one.",
            )


def _state(field: StateField, at: model.Location, defs: Mapping[str, Any]) -> Iterator[userschema.Found]:
    """A field's schema, its default, and a reducer that fits its type."""
    schema = field.value_schema
    if "keep" in schema:
        yield "UnknownKey", (*at, "keep"), "`keep` is not in this release", "State lives as long as its run."
        return
    wrong = list(blockrules.schemas(schema, at, defs))
    yield from wrong
    if wrong:
        return
    fits = _REDUCES.get(field.reducer)
    type_ = schema.get("type")
    if fits and isinstance(type_, str) and type_ not in fits:
        hint = f"It wants the type {' or '.join(fits)}."
        yield "InvalidValue", (*at, "reduce"), f"`{field.reduce}` does not fit the type {type_}", hint
    if "default" in schema:
        try:
            userschema.validator(schema, defs).validate(schema["default"])
        except jsonschema_rs.ValidationError as error:
            yield "InvalidValue", (*at, "default"), f"the default does not fit the schema: {error.message[:120]}", None
