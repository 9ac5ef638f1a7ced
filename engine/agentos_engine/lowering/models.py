"""A model block to the folded model that graphs carry, price, fallbacks and all."""

from __future__ import annotations

from typing import Any

from agentos_engine import blocks, kind, literals, model
from agentos_engine.lowering import calls, scopes
from agentos_engine.lowering.report import Report


def fold(
    report: Report, context: kind.Context, spec: blocks.ModelBlock, name: str, at: model.Location
) -> dict[str, Any]:
    """The folded model under `name`; `at` is where the block stands."""
    body: dict[str, Any] = {"name": name, "provider": spec.provider, "model": spec.name}
    body["params"] = spec.params.for_provider() if spec.params is not None else {}
    if spec.base_url is not None:
        body["baseUrl"] = spec.base_url
    if spec.hosts:
        body["hosts"] = sorted(set(spec.hosts))
    if spec.auth is not None:
        body["auth"] = {"secret": spec.auth.secret}
    if spec.price is not None:
        price = spec.price
        body["price"] = {
            "input": price.input,
            "output": price.output,
            "cachedInput": price.input if price.cached_input is None else price.cached_input,
            "reasoning": price.output if price.reasoning is None else price.reasoning,
        }
    body["fallbacks"] = []
    for index, fallback in enumerate(spec.fallbacks):
        other = calls.linked(report, context, model.ResourceRef("Model", fallback), (*at, "fallbacks", index))
        if other is not None and (folded := other.interface.get("model")) is not None:
            body["fallbacks"].append(folded)
    if spec.script:
        body["script"] = [_rule(report, rule, (*at, "script", index)) for index, rule in enumerate(spec.script)]
    if spec.cassette is not None:
        body["cassette"], _ = report.included(spec.cassette, (*at, "cassette"))
    return body


def use(
    report: Report, context: kind.Context, written: str | blocks.ModelBlock, key: str, at: model.Location
) -> tuple[str, dict[str, Any]] | None:
    """The key and folded model for a name or a block in place (which goes under `key`)."""
    if isinstance(written, blocks.ModelBlock):
        return key, fold(report, context, written, key, at)
    named = calls.linked(report, context, model.ResourceRef("Model", written), at)
    if named is None or (folded := named.interface.get("model")) is None:
        return None
    return written, dict(folded)


def _rule(report: Report, rule: blocks.ScriptRule, at: model.Location) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if rule.when is not None:
        body["when"] = report.condition(rule.when, scopes.SCRIPT, (*at, "when"))
    if rule.text is not None:
        body["text"] = report.text(rule.text, scopes.SCRIPT, (*at, "text"))
    if rule.tool_calls:
        body["toolCalls"] = [
            {"name": call.name, "args": report.value(call.args, scopes.SCRIPT, (*at, "toolCalls", index, "args"))[0]}
            for index, call in enumerate(rule.tool_calls)
        ]
    if rule.output is not None:
        body["output"], _ = report.value(rule.output, scopes.SCRIPT, (*at, "output"))
    if rule.usage is not None:
        body["usage"] = {"input": rule.usage.input, "output": rule.usage.output}
    if rule.delay is not None:
        body["delayMs"] = literals.duration_ms(rule.delay)
    return body
