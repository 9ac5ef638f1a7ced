"""How the steps of a workflow hang together: targets that exist, steps that are reached, cycles that end.

One token walks the block, so this is plain reachability over the ways out of each step. What a callee alone knows (the
outcomes of another workflow) is left to compiling; here its every outcome may fall through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agentos_engine import model, suggest, userschema
from agentos_engine.kinds.workflow.spec import Step, WorkflowSpec

END = "end"
RESERVED = frozenset({"end", "continue", "break", "fail"})
_TURNS = frozenset({"branch", "next", "on_error", "end", "fail"})
"""Fields of a step by which a token can go anywhere but below."""
_NOT_YET = {
    "continue": "A block's `continue` comes with `loop`, which is not in this release.",
    "break": "`break` comes with `loop`, which is not in this release.",
    "fail": "`fail` stands under `onError` only.",
}


def targets(step: Step) -> Iterator[tuple[str, model.Location]]:
    """Every target written, with its location inside the step; `continue` and `fail` of `onError` left out."""
    if step.branch is not None:
        for index, case in enumerate(step.branch):
            yield case.next, ("branch", index, "next")
    if isinstance(step.next, str):
        yield step.next, ("next",)
    elif step.next is not None:
        for outcome, target in step.next.items():
            yield target, ("next", outcome)
    if isinstance(step.on_error, str):
        if step.on_error not in ("continue", "fail"):
            yield step.on_error, ("onError",)
    elif step.on_error is not None:
        for class_, target in step.on_error.items():
            if target not in ("continue", "fail"):
                yield target, ("onError", class_)


def falls_through(step: Step) -> bool:
    """Whether a token can leave the step without a target of its own."""
    if step.type in ("end", "fail"):
        return step.when is not None
    if step.next is None:
        return True
    if isinstance(step.next, str):
        return False
    if step.labels:
        return step.goes_on or not step.next.keys() >= set(step.labels)
    if step.type == "workflow":
        return True
    return (step.type if step.type == "approve" and step.map is None else "done") not in _normal(step.next)


def _normal(routed: Mapping[str, str]) -> set[str]:
    return {"approve" if outcome == "approved" else outcome for outcome in routed}


def check(spec: WorkflowSpec, at: model.Location) -> Iterator[userschema.Found]:
    """Unknown targets; and where there are none, unreachable steps and endless cycles."""
    steps = spec.steps
    ids = list(steps)
    ways: dict[str, list[str]] = {}
    straight, wrong = True, False
    for (id_, step), below in zip(steps.items(), [*ids[1:], END], strict=True):
        if _TURNS.isdisjoint(step.model_fields_set):
            ways[id_] = [below]
            continue
        ways[id_] = following = [target for target, _ in targets(step)]
        for target in following:
            if target != END and target not in steps:
                wrong = True
        if falls_through(step):
            following.append(below)
        elif step.type in ("end", "fail"):
            following.append(END)
        straight = straight and below in following
    if wrong or not RESERVED.isdisjoint(steps):
        yield from _unknown(spec, ids, at)
    elif not straight:
        yield from _ways(ids, ways, at)


def _unknown(spec: WorkflowSpec, ids: list[str], at: model.Location) -> Iterator[userschema.Found]:
    for id_, step in spec.steps.items():
        here = (*at, "steps", id_)
        if id_ in RESERVED:
            yield "InvalidValue", here, f"`{id_}` is a target's name, so no step can have it", "Rename the step."
        for target, inside in targets(step):
            if target not in spec.steps and target != END:
                known = suggest.did_you_mean(target, [*ids, END], f"One of {suggest.one_of(ids)}.")
                yield "UnknownStep", (*here, *inside), f"there is no step {target!r}", _NOT_YET.get(target) or known


def _ways(ids: list[str], ways: dict[str, list[str]], at: model.Location) -> Iterator[userschema.Found]:
    reached = _closure(ids[:1], ways)
    covered = set(reached)
    for id_ in ids:
        if id_ not in covered:
            covered |= _closure([id_], ways)
            yield "UnreachableStep", (*at, "steps", id_), f"no way leads to the step `{id_}`", _unreached(id_, ids)
    back: dict[str, list[str]] = {}
    for id_, following in ways.items():
        for target in following:
            back.setdefault(target, []).append(id_)
    ending = _closure([END], back)
    told: set[str] = set()
    for id_ in ids:
        if id_ in reached and id_ not in ending and id_ not in told:
            stuck = _closure([id_], ways)
            told |= stuck
            circle = [other for other in ids if other in stuck and other in _closure(ways[other], ways)]
            named = ", ".join(f"`{other}`" for other in circle)
            message = f"from {named} no way leads to the end" if len(circle) > 1 else f"{named} only leads to itself"
            yield "EndlessCycle", (*at, "steps", circle[0]), message, "Add a `branch` that leaves the cycle."


def _closure(start: list[str], ways: Mapping[str, list[str]]) -> set[str]:
    seen, waiting = set(start), list(start)
    while waiting:
        for target in ways.get(waiting.pop(), ()):
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen


def _unreached(id_: str, ids: list[str]) -> str:
    index = ids.index(id_)
    before = f"`{ids[index - 1]}` above it always goes elsewhere: " if index else ""
    text = f"{before}route to it with `next`, or delete it."
    return text[0].upper() + text[1:]
