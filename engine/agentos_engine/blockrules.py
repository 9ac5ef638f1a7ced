"""What kinds ask alike of the blocks they share: which resources and files are named, and what is wrong locally.

Functions over `blocks` and `fields`; each takes the location of the block, counted from the document's root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic.alias_generators import to_camel

from agentos_engine import blocks, fields, model, suggest, userschema

Found = userschema.Found
Files = Iterator[tuple[str, model.Location]]
References = Iterator[model.Reference]

_NOT_ANTHROPIC = frozenset({"frequency_penalty", "presence_penalty", "seed"})


def diagnostics(manifest: model.Manifest, found: Iterable[Found]) -> Iterator[model.Diagnostic]:
    """Findings as diagnostics at the values they are about."""
    for code, location, message, hint in found:
        yield manifest.diagnostic(code, location, message, hint)


def exactly_one(node: Any, choices: Mapping[str, str], at: model.Location, what: str) -> Iterator[Found]:
    """One of the keys in `choices` (key as written → attribute) has to be there, and only one."""
    written = [key for key, attribute in choices.items() if getattr(node, attribute) is not None]
    if len(written) > 1:
        listed = " and ".join(f"`{key}`" for key in written)
        yield "InvalidValue", (*at, written[1]), f"{what} has both {listed}", "Keep one of them."
    elif not written:
        yield "InvalidValue", at, f"{what} has none of {suggest.one_of(choices)}", "Write one of them."


def text_files(text: fields.Text | None, at: model.Location) -> Files:
    """The file of a text that stands in one."""
    if isinstance(text, fields.FileText):
        yield text.file, (*at, "file")


def schemas(
    written: Mapping[str, Any] | None, at: model.Location, defs: Mapping[str, Any], *, root: bool = False
) -> Iterator[Found]:
    """What is wrong with an author's schema, if there is one."""
    if written is not None:
        yield from userschema.check(written, at, defs, root=root)


def model_references(block: fields.Name | blocks.ModelBlock, at: model.Location) -> References:
    """Models named by name or as fallbacks of one in place."""
    if isinstance(block, str):
        yield model.Reference(model.ResourceRef("Model", block), at)
    else:
        for index, name in enumerate(block.fallbacks):
            yield model.Reference(model.ResourceRef("Model", name), (*at, "fallbacks", index))


def model_files(block: fields.Name | blocks.ModelBlock, at: model.Location) -> Files:
    """The cassette of a model in place."""
    if not isinstance(block, str):
        yield from text_files(block.cassette, (*at, "cassette"))


def model_rules(block: fields.Name | blocks.ModelBlock, at: model.Location) -> Iterator[Found]:
    """What each provider needs, and what it has no use for."""
    if isinstance(block, str):
        return
    ours = block.provider in ("scripted", "replay")
    if block.provider == "scripted" and not block.script:
        yield "MissingKey", (*at, "provider"), "a scripted model needs `script`", "Write at least one rule."
    if block.provider == "replay" and block.cassette is None:
        yield "MissingKey", (*at, "provider"), "a replaying model needs `cassette`", "Write cassette: {file: …}."
    if not ours and block.name is None:
        yield "MissingKey", at, f"a model of {block.provider} needs `name`", "Write the provider's name of the model."
    for key, written, provider in (("script", block.script, "scripted"), ("cassette", block.cassette, "replay")):
        if written and block.provider != provider:
            hint = f"Write `provider: {provider}`, or leave it out."
            yield "InvalidValue", (*at, key), f"`{key}` is for the provider {provider}", hint
    if ours:
        for key in ("baseUrl", "auth", "hosts"):
            if getattr(block, "base_url" if key == "baseUrl" else key):
                yield "InvalidValue", (*at, key), f"a {block.provider} model calls nobody", "Leave it out."
    if block.provider == "anthropic" and block.params is not None:
        for key in sorted(_NOT_ANTHROPIC & block.params.model_fields_set):
            at_key = (*at, "params", to_camel(key))
            yield "InvalidValue", at_key, f"Anthropic's API has no `{at_key[-1]}`", "Leave it out."
        if block.params.reasoning_effort in ("none", "minimal"):
            at_key = (*at, "params", "reasoningEffort")
            yield "InvalidValue", at_key, "Anthropic's least is `low`", "Write `low`, or leave it out."
    for index, rule in enumerate(block.script):
        if rule.text is None and not rule.tool_calls and "output" not in rule.model_fields_set:
            hint = "Write `text`, `toolCalls` or `output`."
            yield "MissingKey", (*at, "script", index), "this rule answers nothing", hint


def agent_references(block: blocks.AgentBlock, at: model.Location) -> References:
    """The model and the tools of an agent."""
    yield from model_references(block.model, (*at, "model"))
    for alias, tool in block.tools.items():
        here = (*at, "tools", alias)
        if tool.connector is not None:
            connector = model.ResourceRef("Connector", tool.connector)
            if tool.operations:
                for index, operation in enumerate(tool.operations):
                    yield model.Reference(connector, (*here, "operations", index), operation)
            else:
                yield model.Reference(connector, (*here, "connector"))
        if tool.agent is not None:
            yield model.Reference(model.ResourceRef("Agent", tool.agent), (*here, "agent"))
        if tool.workflow is not None:
            yield model.Reference(model.ResourceRef("Workflow", tool.workflow), (*here, "workflow"))


def agent_files(block: blocks.AgentBlock, at: model.Location) -> Files:
    """Files of an agent's texts."""
    yield from text_files(block.description, (*at, "description"))
    yield from text_files(block.instructions, (*at, "instructions"))
    yield from model_files(block.model, (*at, "model"))
    for alias, tool in block.tools.items():
        yield from text_files(tool.description, (*at, "tools", alias, "description"))


_CALLEES = {"connector": "connector", "agent": "agent", "workflow": "workflow"}


def agent_rules(block: blocks.AgentBlock, at: model.Location, defs: Mapping[str, Any]) -> Iterator[Found]:
    """What is wrong with an agent by itself; `defs` are the manifest's shared schemas."""
    yield from model_rules(block.model, (*at, "model"))
    yield from schemas(block.input, (*at, "input"), defs, root=True)
    yield from schemas(block.output, (*at, "output"), defs)
    for alias, tool in block.tools.items():
        here = (*at, "tools", alias)
        yield from exactly_one(tool, _CALLEES, here, "a tool")
        if tool.operations is not None and tool.connector is None:
            yield (
                "InvalidValue",
                (*here, "operations"),
                "`operations` are those of a connector",
                "Name the `connector`.",
            )
        yield from twice(tool.operations or (), (*here, "operations"))


def twice(names: Iterable[str], at: model.Location) -> Iterator[Found]:
    """Names that a list holds a second time."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield "InvalidValue", (*at, index), f"`{name}` stands in this list twice", "Remove one."
        seen.add(name)


def target_references(run: fields.RunTarget, at: model.Location) -> References:
    """What a schedule or trigger runs."""
    if run.workflow is not None:
        yield model.Reference(model.ResourceRef("Workflow", run.workflow), (*at, "workflow"))
    if run.agent is not None:
        yield model.Reference(model.ResourceRef("Agent", run.agent), (*at, "agent"))


def target_rules(run: fields.RunTarget, at: model.Location) -> Iterator[Found]:
    """Exactly one thing to run."""
    yield from exactly_one(run, {"workflow": "workflow", "agent": "agent"}, at, "`run`")
