"""An agent block, in a manifest of its own or in place in a workflow, to its artifact body and interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentos_engine import blocks, kind, literals, model
from agentos_engine.expressions import types
from agentos_engine.lowering import calls, models, scopes, shapes
from agentos_engine.lowering.report import Report

_TEXT_OUTPUT: Mapping[str, Any] = {"type": "string"}
_TOOL_NAME_LENGTH = 64
"""The longest tool name every provider takes."""


def lower(
    report: Report,
    context: kind.Context,
    spec: blocks.AgentBlock,
    name: str,
    at: model.Location,
    given: types.Type | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The body and the interface of an agent.

    `at` is where the block stands; `given` the type of its arguments, for an agent in place that declares no input.
    """
    input_schema = shapes.standalone(spec.input, spec.defs)
    output_schema = shapes.standalone(spec.output, spec.defs)
    declared = input_schema if input_schema is not None else calls.MESSAGE_INPUT
    input_type = given if input_schema is None and given is not None else types.from_schema(declared)
    scope = {**scopes.RUN, "input": input_type}
    used = models.use(report, context, spec.model, "inline", (*at, "model"))
    callees: list[kind.Linked] = []
    tools: list[dict[str, Any]] = []
    for alias, tool in spec.tools.items():
        tools += _tools(report, context, alias, tool, scope, (*at, "tools", alias), callees)
    description = report.plain(spec.description, (*at, "description"))
    effect = calls.highest(tool["effect"] for tool in tools)
    body: dict[str, Any] = {
        "form": "agent",
        "name": name,
        "description": description,
        "model": used[0] if used else None,
        "models": {used[0]: used[1]} if used else {},
        "instructions": report.text(spec.instructions, scope, (*at, "instructions")),
        "input": input_schema,
        "output": output_schema,
        "tools": tools,
        "effect": effect,
        "limits": _limits(spec.limits),
        "uses": dict(sorted(calls.uses(callees).items())),
    }
    interface = {
        "input": declared,
        "output": output_schema if output_schema is not None else _TEXT_OUTPUT,
        "outcomes": ["done"],
        "effect": effect,
        "description": description,
    }
    return body, interface


def _limits(spec: blocks.AgentLimits | None) -> dict[str, Any]:
    if spec is None:
        return {}
    limits: dict[str, Any] = {
        "steps": spec.steps,
        "toolCalls": spec.tool_calls,
        "tokens": spec.tokens,
        "costUsd": spec.cost_usd,
        "timeoutMs": literals.duration_ms(spec.timeout) if spec.timeout is not None else None,
    }
    return {name: value for name, value in limits.items() if value is not None}


def _tools(
    report: Report,
    context: kind.Context,
    alias: str,
    spec: blocks.Tool,
    scope: scopes.Scope,
    at: model.Location,
    callees: list[kind.Linked],
) -> list[dict[str, Any]]:
    """The tools one alias stands for: one per operation of a connector, else one."""
    described = report.plain(spec.description, (*at, "description"))
    fixed, fixed_type = report.value(spec.with_, scope, (*at, "with"))
    type_, name = next(
        ((type_, name) for type_ in ("connector", "agent", "workflow") if (name := getattr(spec, type_)) is not None),
        (None, None),
    )
    if type_ is None or name is None:
        report.add("InvalidStep", at, f"tool {alias!r} names no connector, agent or workflow", "Name exactly one.")
        return []
    callee = calls.linked(report, context, model.ResourceRef(type_.capitalize(), name), (*at, type_))
    if callee is None:
        return []
    callees.append(callee)
    offered: dict[str | None, Mapping[str, Any]] = {None: callee.interface}
    if type_ == "connector":
        offered = _operations(report, callee, spec, at)
    tools = []
    for operation, interface in offered.items():
        shown = alias if operation is None else f"{alias}_{operation}"
        if len(shown) > _TOOL_NAME_LENGTH:
            message = f"the tool's name {shown!r} is longer than {_TOOL_NAME_LENGTH}"
            report.add("InvalidValue", at, message, "Shorten the alias.", key=True)
        wanted = _wanted(interface.get("input"))
        _check_fixed(report, fixed_type, wanted, shown, (*at, "with"))
        tool: dict[str, Any] = {"name": shown, "alias": alias, "type": type_, "target": name}
        if operation is not None:
            tool["operation"] = operation
        tool["description"] = described or interface.get("description") or _plain_description(type_, name, operation)
        tool["input"] = _without(wanted, spec.with_)
        tool["effect"] = interface.get("effect", "destructive")
        if spec.with_:
            tool["with"] = fixed
        tools.append(tool)
    return tools


def _operations(
    report: Report, connector: kind.Linked, spec: blocks.Tool, at: model.Location
) -> dict[str | None, Mapping[str, Any]]:
    available: Mapping[str, Mapping[str, Any]] = connector.interface.get("operations") or {}
    if spec.operations is None:
        return {id_: one for id_, one in available.items() if one.get("effect") == "read"}
    chosen: dict[str | None, Mapping[str, Any]] = {}
    for index, id_ in enumerate(spec.operations):
        if id_ in available:
            chosen[id_] = available[id_]
        else:
            calls.unknown_operation(report, connector.ref.name, id_, available, (*at, "operations", index))
    return chosen


def _wanted(schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The schema a model is shown: always an object; free text is a required message."""
    if schema is None:
        return {"type": "object", "properties": {}}
    if schema == calls.MESSAGE_INPUT:
        return {"type": "object", "required": ["message"], "properties": schema["properties"]}
    return schema


def _check_fixed(report: Report, fixed: types.Type, wanted: Mapping[str, Any], tool: str, at: model.Location) -> None:
    """Fixed arguments must be arguments of the tool, of the right types; the model gives the others."""
    if not fixed.fields:
        return
    target = types.from_schema(wanted)
    some = types.object_type(target.fields or {}, target.open or target.kind != "object", required=())
    if some.open and not some.fields:
        return
    calls.arguments_of(report, fixed, some, f"tool {tool}", at)


def _without(schema: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` less the arguments fixed by the author."""
    if not fixed:
        return dict(schema)
    left = dict(schema)
    left["properties"] = {name: part for name, part in (schema.get("properties") or {}).items() if name not in fixed}
    if "required" in schema:
        left["required"] = [name for name in schema["required"] if name not in fixed]
    return left


def _plain_description(type_: str, name: str, operation: str | None) -> str:
    return f"{operation} of {name}" if operation is not None else f"Asks the {type_} {name}."
