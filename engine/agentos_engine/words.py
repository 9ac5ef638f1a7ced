"""Words that manifests do not know here, each with the right one: from other systems, and from later releases.

Keyed by the shape (the class in the specs) they were written in; ``*`` stands for any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_LATER: Final[Mapping[str, tuple[str, ...]]] = {
    "Step": (
        "tool", "code", "ask", "wait", "emit", "steps", "parallel", "loop", "join", "cache", "undo", "finally",
        "conversation", "converse", "detach", "idempotencyKey", "fuse", "checkpoint", "after",
    ),
    "WorkflowSpec": ("finally", "onLimit", "upgrade", "onBusy", "expose"),
    "Llm": ("images",),
    "Map": ("join",),
    "Approve": ("notify", "separation"),
    "AgentSpec": (
        "handoffs", "memory", "guardrails", "remote", "graph", "planning", "context", "pii", "toolChoice", "retry",
        "fallbacks", "selectTools", "parallelTools", "approvals", "history", "upgrade", "onLimit", "expose",
    ),
    "Tool": ("tool", "code", "effect", "when", "deny", "approval", "limits", "history"),
    "ModelSpec": ("limits",),
    "ConnectorSpec": ("mcp", "events"),
    "Operation": ("paginate",),
    "Auth": ("connection", "oauth2"),
    "TenantSpec": ("shares", "retention", "policies"),
    "AgentLimits": ("depth", "handoffs", "visits", "concurrency"),
    "WorkflowLimits": ("visits", "toolCalls", "concurrency"),
    "StepLimits": ("steps", "toolCalls", "visits", "concurrency"),
    "StateField": ("keep",),
}  # fmt: skip
"""Keys of the language that this release does not have yet."""

_ELSEWHERE: Final[Mapping[str, Mapping[str, str]]] = {
    "Step": {
        "supervisor": "Write an Agent whose tools are agents, and `agent: its-name`.",
        "swarm": "Write an Agent whose tools are agents; handing over is not in this release.",
        "transfer": "Write an Agent whose tools are agents; handing over is not in this release.",
        "remote": "Agents elsewhere are not in this release.",
        "mcp": "MCP servers are not in this release; describe the API as a Connector.",
        "http": "Describe the API as a Connector and write `connector: name.operation`.",
        "retrieve": "Describe the search as a Connector and write `connector: name.operation`.",
        "rag": "Describe the search as a Connector and write `connector: name.operation`.",
        "template": "Write `transform`: any value with `${…}`.",
        "aggregate": "Write `transform`: any value with `${…}`.",
        "raise": "Write `fail: {error: …, message: …}`.",
        "throw": "Write `fail: {error: …, message: …}`.",
        "route": "Write `classify` with `labels`, and `next` by label.",
        "try": "Write `onError` on the step.",
        "catch": "Write `onError` on the step.",
        "if": "Write `when`.",
        "condition": "Write `when`.",
        "switch": "Write `branch`, a list of {when, next}.",
        "choice": "Write `branch`, a list of {when, next}.",
        "forEach": "Write `map: {over: …}`.",
        "foreach": "Write `map: {over: …}`.",
        "repeat": "Loops are not in this release; a backward `next` with a `branch` repeats steps.",
        "while": "Loops are not in this release; a backward `next` with a `branch` repeats steps.",
        "goto": "Write `next`.",
        "then": "Write `next`.",
        "needs": "Steps run in order; there is no `needs`.",
        "dependsOn": "Steps run in order; there is no `dependsOn`.",
        "timeout": "Write `limits: {timeout: …}`.",
        "budget": "Write `limits: {costUsd: …}`.",
        "human": "Write `approve`.",
        "model": "Write `llm: {model: …, prompt: …}`.",
        "prompt": "Write `llm: {model: …, prompt: …}`.",
        "input": "Arguments of a callee stand under `with`.",
        "args": "Arguments of a callee stand under `with`.",
        "inputs": "Arguments of a callee stand under `with`.",
        "uses": "Write `connector`, `agent` or `workflow`.",
        "id": "The step's id is its key.",
        "name": "The step's id is its key.",
        "type": "The action is its own key, for example `agent: name`.",
        "output": "A step's output is read as `steps.<id>.output`.",
    },
    "ModelBlock": {
        "model": "The provider's name of the model is `name`.",
        "apiKey": "Write `auth: {secret: name}`.",
        "api_key": "Write `auth: {secret: name}`.",
        "base_url": "Write `baseUrl`.",
    },
    "AgentBlock": {
        "prompt": "Write `instructions`.",
        "system": "Write `instructions`.",
        "systemPrompt": "Write `instructions`.",
        "llm": "Write `model`.",
        "timeout": "Write `limits: {timeout: …}`.",
        "maxIterations": "Write `limits: {steps: …}`.",
        "agents": "Write each under `tools`, as `alias: {agent: name}`.",
    },
    "Operation": {
        "method": "Write `request: GET /path`.",
        "path": "Write `request: GET /path`.",
        "url": "Write `request: GET /path`, and `http.baseUrl` once.",
        "parameters": "Write `input`, a JSON Schema.",
        "response": "Write `output`, a JSON Schema.",
        "timeout": "Write `http: {timeout: …}`.",
    },
    "ConnectorSpec": {
        "baseUrl": "Write it under `http`.",
        "url": "Write `http: {baseUrl: …}`.",
        "headers": "Write them under `http`.",
        "endpoints": "Write `operations`.",
    },
    "ScheduleSpec": {
        "interval": "Write `every`.",
        "tz": "Write `timezone`.",
        "workflow": "Write `run: {workflow: …}`.",
        "agent": "Write `run: {agent: …}`.",
    },
    "TriggerSpec": {"workflow": "Write `run: {workflow: …}`.", "agent": "Write `run: {agent: …}`."},
    "Source": {"url": "Write `git`.", "branch": "Write `ref`.", "repository": "Write `git`."},
    "Metadata": {
        "namespace": "The tenant comes from the source, never from the file.",
        "tenant": "The tenant comes from the source, never from the file.",
    },
    "Manifest": {
        "status": "Status never stands in git; read it with `agentos get`.",
        "name": "Write it under `metadata`.",
        "labels": "Write them under `metadata`.",
    },
}
_LATER_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "overlap": ("replace",),
    "errors": ("break",),
    "provider": (
        "anthropic_bedrock", "azure_ai", "azure_openai", "baseten", "bedrock", "bedrock_converse",
        "bedrock_mantle_anthropic", "bedrock_mantle_openai", "cohere", "google_anthropic_vertex", "google_genai",
        "google_vertexai", "huggingface", "ibm", "langsmith", "litellm", "meta", "upstage",
    ),
}  # fmt: skip
"""Values of a key that this release does not have yet."""
_INSTEAD: Final = {
    "provider": "An API that speaks OpenAI's format is reached by `provider: openai` with its `baseUrl`."
}
_PARAMS: Final = ("temperature", "maxTokens", "topP", "topK", "seed", "stop", "reasoningEffort")
_SAME: Final = {"ModelSpec": "ModelBlock", "AgentSpec": "AgentBlock"}


def hint(shape: str, key: str) -> str | None:
    """What to write instead of the unknown `key` in `shape`, if it is known from elsewhere."""
    names = {shape, _SAME.get(shape, shape), *(spec for spec, block in _SAME.items() if block == shape)}
    if any(key in _LATER.get(name, ()) for name in names):
        return f"`{key}` is not in this release."
    for name in sorted(names):
        if (found := _ELSEWHERE.get(name, {}).get(key)) is not None:
            return found
    if "ModelBlock" in names and key in _PARAMS:
        return "Write it under `params`."
    return None


def later(key: str, value: str) -> str | None:
    """What to say of a `value` of `key` that a later release has; None if none is known to."""
    if value not in _LATER_VALUES.get(key, ()):
        return None
    return " ".join((f"`{value}` is not in this release.", *filter(None, (_INSTEAD.get(key),))))


def known() -> dict[str, tuple[str, ...]]:
    """The words that are answered, by shape."""
    shapes = {*_LATER, *_ELSEWHERE}
    return {shape: (*_LATER.get(shape, ()), *_ELSEWHERE.get(shape, {})) for shape in sorted(shapes)}
