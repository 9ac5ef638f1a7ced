"""Admission: what the policies in force say about one compiled resource, before it is applied.

Policies of the platform bind every tenant; a tenant's own only add denials, so the verdict is the union of all. Rules
see data, do no I/O, and a rule that cannot be evaluated denies. Here stands the data a rule sees (`view`); the names a
rule is checked against are `lowering.scopes.POLICY`, and what a denial does is for the reconciler.

A rule sees ``resource`` {kind, name, labels, annotations, path}, ``tenant`` {name, labels}, ``source`` {ref, author,
signed}, ``artifact`` (see `view`) and ``old``: the same view of what serves now, or null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from agentos_engine import conditions
from agentos_engine.expressions import evaluate
from agentos_engine.model import ResourceRef

Mode = Literal["deny", "warn", "audit"]


@dataclass(frozen=True, slots=True)
class Bound:
    """A policy in force: its name, whose it is, and its artifact's body."""

    name: str
    origin: Literal["platform", "tenant"]
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """The resource under judgement, as its manifest and source tell it. `source` is {ref, author, signed}."""

    ref: ResourceRef
    path: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    tenant: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that held, or could not be asked."""

    policy: str
    origin: str
    rule: str
    mode: Mode
    message: str

    def __str__(self) -> str:
        return f"{self.message} (rule {self.rule} of {self.origin} Policy/{self.policy})"


@dataclass(frozen=True, slots=True)
class Admission:
    """The verdict: without `denials` the resource may be applied."""

    denials: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    audits: tuple[Finding, ...] = ()

    @property
    def stop(self) -> conditions.Stop | None:
        """The stop of a denied resource, naming every denial."""
        if not self.denials:
            return None
        return conditions.Stop("Admitted", "PolicyDenied", "; ".join(map(str, self.denials)))


def admit(
    policies: Iterable[Bound], subject: Subject, body: Mapping[str, Any] | None, old: Mapping[str, Any] | None
) -> Admission:
    """What `policies` say about `subject` with the artifact `body`; `old` is the body serving now.

    Platform policies are asked first, then by name, so the order in which they are given does not matter. A resource of
    a kind without artifact has the interface's folded model, or None, as its body.
    """
    found: dict[Mode, list[Finding]] = {"deny": [], "warn": [], "audit": []}
    data: dict[str, Any] | None = None
    for policy in sorted(policies, key=lambda policy: (policy.origin, policy.name)):
        if not _applies(policy.body.get("applies") or {}, subject):
            continue
        if data is None:
            data = _data(subject, body, old)
        for rule in policy.body["rules"]:
            finding = _ask(policy, rule, data)
            if finding is not None:
                found[finding.mode].append(finding)
    return Admission(tuple(found["deny"]), tuple(found["warn"]), tuple(found["audit"]))


def _applies(applies: Mapping[str, Any], subject: Subject) -> bool:
    kinds: Sequence[str] = applies.get("kinds") or ()
    selector: Mapping[str, str] = applies.get("selector") or {}
    if kinds and subject.ref.kind not in kinds:
        return False
    return all(subject.labels.get(key) == value for key, value in selector.items())


def _ask(policy: Bound, rule: Mapping[str, Any], data: Mapping[str, Any]) -> Finding | None:
    mode: Mode = rule.get("mode", "deny")
    try:
        if not evaluate.truth(rule["deny"], data):
            return None
    except evaluate.ExpressionError as error:
        return Finding(policy.name, policy.origin, rule["id"], "deny", f"the rule cannot be evaluated: {error}")
    try:
        message = evaluate.render(rule["message"], data)
    except evaluate.ExpressionError:
        message = rule["message"]
    return Finding(policy.name, policy.origin, rule["id"], mode, str(message))


def _data(subject: Subject, body: Mapping[str, Any] | None, old: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "resource": {
            "kind": subject.ref.kind,
            "name": subject.ref.name,
            "labels": dict(subject.labels),
            "annotations": dict(subject.annotations),
            "path": subject.path,
        },
        "tenant": {"name": "", "labels": {}, **subject.tenant},
        "source": {"ref": None, "author": None, "signed": None, **subject.source},
        "artifact": None if body is None else view(body),
        "old": None if old is None else view(old),
    }


def view(body: Mapping[str, Any]) -> dict[str, Any]:
    """An artifact body as rules see it: the body itself, and in every case

    - ``tools``: what it may call, ``{name, type, target, operation, effect, approval}``: an agent's tools, a workflow's
      calling steps (those of agents written in place included), a connector's operations. ``effect`` is that of all the
      callee does. ``approval`` is ``{by: […]}`` where a person always decides first, else null: a workflow's step that
      cannot be reached but through ``approved``.
    - ``steps``: ``{id, type, when, effect, approval}`` of a workflow;
    - ``models``: ``{name, provider, model, baseUrl}`` of every model, fallbacks included;
    - ``hosts``: hosts it names itself (a connector's, its models', by `hosts` or `baseUrl`), none of what it calls;
    - ``approvals``: ``{step, by, quorum}``; ``limits``: as written, ``{}`` if none; ``effect``: the highest, or null.
    """
    steps: list[Mapping[str, Any]] = body.get("steps") or []
    guards = _guards(body.get("entry"), steps) if steps else {}
    models = list(_models(body))
    tools = [_tool(tool, None) for tool in body.get("tools") or ()]
    for step in steps:
        guard = guards.get(step["id"])
        tools += _called(step, guard)
        tools += [_tool(tool, guard) for tool in (step.get("inline") or {}).get("tools", ())]
    for name, operation in (body.get("operations") or {}).items():
        tools.append(
            {
                "name": name,
                "type": "connector",
                "target": body.get("name"),
                "operation": name,
                "effect": operation["effect"],
                "approval": None,
            }
        )
    hosts = {host for model in models for host in _hosts(model)} | set(body.get("hosts") or ())
    return {
        **body,
        "tools": tools,
        "steps": [
            {
                "id": step["id"],
                "type": step["type"],
                "when": step.get("when"),
                "effect": step.get("effect"),
                "approval": guards.get(step["id"]),
            }
            for step in steps
        ],
        "models": [{key: model.get(key) for key in ("name", "provider", "model", "baseUrl")} for model in models],
        "hosts": sorted(hosts),
        "approvals": [
            {"step": step["id"], "by": step["by"], "quorum": step.get("quorum", 1)}
            for step in steps
            if step["type"] == "approve"
        ],
        "limits": body.get("limits") or {},
        "effect": body.get("effect"),
    }


def _tool(tool: Mapping[str, Any], approval: Mapping[str, Any] | None) -> dict[str, Any]:
    shown = {key: tool.get(key) for key in ("name", "type", "target", "operation", "effect")}
    return {**shown, "approval": approval}


def _called(step: Mapping[str, Any], approval: Mapping[str, Any] | None) -> Iterable[dict[str, Any]]:
    type_ = step["type"]
    target = step.get(type_) if type_ in ("connector", "agent", "workflow") else None
    if target is not None:
        call = {"name": step["id"], "type": type_, "target": target, **step}
        yield _tool(call, approval)


def _models(body: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    inline = [step["inline"] for step in body.get("steps") or () if step.get("inline")]
    pending = [model for part in (body, *inline) for model in (part.get("models") or {}).values()]
    if "provider" in body:
        pending.append(body)
    while pending:
        model = pending.pop(0)
        yield model
        pending += model.get("fallbacks") or ()


def _hosts(model: Mapping[str, Any]) -> Iterable[str]:
    yield from model.get("hosts") or ()
    if base_url := model.get("baseUrl"):
        yield urlsplit(base_url).netloc.lower()


def _guards(entry: str | None, steps: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """For every step that cannot be reached without an approval: who approves.

    An approval with `when`, or one whose refusal is continued over, does not guard: the flow passes it unasked.
    """
    approvals = {step["id"]: step for step in steps if step["type"] == "approve" and _holds_back(step)}
    if not approvals or entry is None:
        return {}
    by_id = {step["id"]: step for step in steps}
    without_any = _reached(entry, by_id, approvals.keys())
    guards: dict[str, dict[str, Any]] = {}
    alone = {id_: _reached(entry, by_id, {id_}) for id_ in approvals}
    for step in steps:
        id_ = step["id"]
        if id_ in without_any:
            continue
        single = [guard for guard in approvals if id_ not in alone[guard]]
        guards[id_] = {"by": sorted({who for guard in single or approvals for who in approvals[guard]["by"]})}
    return guards


def _holds_back(step: Mapping[str, Any]) -> bool:
    return step.get("when") is None and "continue" not in (step.get("onError") or {}).values()


def _reached(entry: str, steps: Mapping[str, Mapping[str, Any]], closed: Iterable[str]) -> set[str]:
    """The steps reached from `entry` when nobody approves the steps `closed`."""
    closed = set(closed)
    seen: set[str] = set()
    pending = [entry]
    while pending:
        id_ = pending.pop()
        step = steps.get(id_)
        if step is None or id_ in seen:
            continue
        seen.add(id_)
        pending += [target for outcome, target in step["next"].items() if id_ not in closed or outcome != "approved"]
        pending += [target for target in (step.get("onError") or {}).values() if target not in ("continue", "fail")]
        pending += [case["next"] for case in step.get("cases") or ()]
    return seen
