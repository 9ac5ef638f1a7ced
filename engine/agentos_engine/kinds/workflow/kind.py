"""The kind Workflow: names what its steps call; `flow` and `steprules` check how they hang together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agentos_engine import blockrules, blocks, kind, model
from agentos_engine.kinds.workflow import compile as compiler
from agentos_engine.kinds.workflow import flow, steprules
from agentos_engine.kinds.workflow.spec import WorkflowSpec

_AT: model.Location = ("spec",)


def _references(spec: WorkflowSpec) -> Iterator[model.Reference]:
    for id_, step in spec.steps.items():
        at = (*_AT, "steps", id_)
        if step.llm is not None:
            yield from blockrules.model_references(step.llm.model, (*at, "llm", "model"))
        if step.classify is not None:
            yield from blockrules.model_references(step.classify.model, (*at, "classify", "model"))
        if step.extract is not None:
            yield from blockrules.model_references(step.extract.model, (*at, "extract", "model"))
        if isinstance(step.agent, str):
            yield model.Reference(model.ResourceRef("Agent", step.agent), (*at, "agent"))
        elif step.agent is not None:
            yield from blockrules.agent_references(step.agent, (*at, "agent"))
        if step.connector is not None:
            name, _, operation = step.connector.partition(".")
            yield model.Reference(model.ResourceRef("Connector", name), (*at, "connector"), operation)
        if step.workflow is not None:
            yield model.Reference(model.ResourceRef("Workflow", step.workflow), (*at, "workflow"))


def _files(spec: WorkflowSpec) -> Iterator[tuple[str, model.Location]]:
    yield from blockrules.text_files(spec.description, (*_AT, "description"))
    for id_, step in spec.steps.items():
        at = (*_AT, "steps", id_)
        yield from blockrules.text_files(step.description, (*at, "description"))
        if step.llm is not None:
            yield from blockrules.text_files(step.llm.prompt, (*at, "llm", "prompt"))
            yield from blockrules.text_files(step.llm.system, (*at, "llm", "system"))
            yield from blockrules.model_files(step.llm.model, (*at, "llm", "model"))
        if step.classify is not None:
            yield from blockrules.text_files(step.classify.text, (*at, "classify", "text"))
            for label, meaning in step.classify.labels.items():
                yield from blockrules.text_files(meaning, (*at, "classify", "labels", label))
            yield from blockrules.model_files(step.classify.model, (*at, "classify", "model"))
        if step.extract is not None:
            yield from blockrules.text_files(step.extract.text, (*at, "extract", "text"))
            yield from blockrules.model_files(step.extract.model, (*at, "extract", "model"))
        if step.fail is not None:
            yield from blockrules.text_files(step.fail.message, (*at, "fail", "message"))
        if isinstance(step.agent, blocks.AgentBlock):
            yield from blockrules.agent_files(step.agent, (*at, "agent"))


def _validate(manifest: model.Manifest, spec: WorkflowSpec) -> Iterator[model.Diagnostic]:
    yield from blockrules.diagnostics(manifest, steprules.check(spec, _AT))
    for code, location, message, hint in flow.check(spec, _AT):
        yield manifest.diagnostic(code, location, message, hint, key=location[-2] == "steps")


class WorkflowKind:
    """See `agentos_engine.kind.Kind`."""

    name = "Workflow"
    scope: kind.Scope = "tenant"
    spec = WorkflowSpec

    def references(self, spec: WorkflowSpec) -> Iterable[model.Reference]:
        return _references(spec)

    def files(self, spec: WorkflowSpec) -> Iterable[tuple[str, model.Location]]:
        return _files(spec)

    def validate(self, manifest: model.Manifest, spec: WorkflowSpec) -> Iterable[model.Diagnostic]:
        return _validate(manifest, spec)

    def compile(self, manifest: model.Manifest, spec: WorkflowSpec, context: kind.Context) -> kind.Compiled:
        return compiler.compile(manifest, spec, context)


KIND: kind.Kind[WorkflowSpec] = WorkflowKind()
