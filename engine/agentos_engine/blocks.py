"""Models and agents as blocks: the body of a Model or Agent manifest, and what may be written inline in their place.

Kinds do not import each other, and a workflow may write an agent or a model in place; so the shape stands here once.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from agentos_engine import fields

Provider = Literal[
    "scripted", "replay", "anthropic", "openai",
    "deepseek", "fireworks", "groq", "mistralai", "nvidia", "ollama", "openrouter", "perplexity", "together", "xai",
]  # fmt: skip
"""By the names of LangChain's `init_chat_model`, those that the runtime reaches through the egress guard; and our own
two: `scripted` (rules here) and `replay` (a cassette)."""


class Params(fields.Node):
    """Parameters of a model call. A closed set: nothing here can redirect a call or carry a key."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Randomness."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The longest answer."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Nucleus sampling."""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """Sample from the k likeliest tokens."""
    seed: int | None = None
    """For repeatable answers, where the provider can."""
    stop: tuple[str, ...] | None = None
    """Texts that end the answer."""
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """Against words that came often."""
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """Against words that came at all."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    """How long a reasoning model thinks."""

    def for_provider(self) -> dict[str, Any]:
        """What is set, under LangChain's own (snake_case) names."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


class Price(fields.Node):
    """USD per million tokens."""

    input: fields.Usd = 0.0
    """Tokens sent."""
    output: fields.Usd = 0.0
    """Tokens received."""
    cached_input: fields.Usd | None = None
    """Default: that of `input`."""
    reasoning: fields.Usd | None = None
    """Default: that of `output`."""


class Usage(fields.Node):
    """Tokens a scripted answer claims to have used."""

    input: Annotated[int, Field(ge=0)] = 0
    """Tokens sent."""
    output: Annotated[int, Field(ge=0)] = 0
    """Tokens received."""


class ScriptedToolCall(fields.Node):
    """A tool call a scripted model makes."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    """Name of the tool as the model sees it."""
    args: fields.Arguments = Field(default_factory=dict)
    """Its arguments."""


class ScriptRule(fields.Node):
    """One answer of a scripted model; the first rule that holds answers."""

    when: fields.Expression | None = None
    """CEL over input, turn, system, messages, tools, results; absent: always."""
    text: str | None = None
    """The answer."""
    tool_calls: tuple[ScriptedToolCall, ...] = ()
    """Tool calls to make."""
    output: Any = None
    """A structured answer."""
    usage: Usage | None = None
    """Tokens to report."""
    delay: fields.Duration | None = None
    """How long the answer takes."""


class ModelBlock(fields.Node):
    """A chat model of a provider, with its price and fallbacks."""

    provider: Provider
    """Who serves it."""
    name: Annotated[str, Field(min_length=1, max_length=256, examples=["gpt-5-mini"])] | None = None
    """The provider's name of the model; needless for `scripted` and `replay`."""
    params: Params | None = None
    """Parameters of each call."""
    base_url: fields.HttpUrl | None = None
    """Another address of the provider's API."""
    hosts: tuple[fields.Host, ...] = ()
    """Further hosts its calls may reach; the key goes to none but these and the provider's own."""
    auth: fields.SecretRef | None = None
    """The API key."""
    price: Price | None = None
    """What tokens cost."""
    fallbacks: tuple[fields.Name, ...] = ()
    """Models to ask in turn when this one is unavailable."""
    script: tuple[ScriptRule, ...] = ()
    """Answers of the provider `scripted`."""
    cassette: fields.FileText | None = None
    """Recorded answers of the provider `replay`."""


class Tool(fields.Node):
    """Something an agent may call: operations of a connector, an agent or a workflow; exactly one of them."""

    description: fields.Text | None = None
    """What the model reads; default: the callee's own."""
    connector: fields.Name | None = None
    """Name of a Connector."""
    operations: Annotated[tuple[fields.OperationId, ...], Field(min_length=1)] | None = None
    """Which of its operations; default: those of effect read."""
    agent: fields.Name | None = None
    """Name of an Agent to delegate to."""
    workflow: fields.Name | None = None
    """Name of a Workflow."""
    with_: Annotated[fields.Arguments, Field(alias="with")] = Field(default_factory=dict)
    """Arguments fixed here and hidden from the model."""


class AgentLimits(fields.Node):
    """What one execution of an agent may use."""

    steps: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Model calls."""
    tool_calls: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Tool calls."""
    tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens, in and out."""
    cost_usd: fields.Usd | None = None
    """Cost in USD."""
    timeout: fields.Duration | None = None
    """Wall-clock time."""


class AgentBlock(fields.Node):
    """A model with instructions and tools."""

    description: fields.Text | None = None
    """What a caller or a delegating agent reads."""
    model: fields.Name | ModelBlock
    """Name of a Model, or one in place."""
    instructions: fields.Text | None = None
    """The system prompt; sees `input`."""
    input: fields.JsonSchema | None = None
    """Schema of its input; default: `{message: string}`-like free text."""
    output: fields.JsonSchema | None = None
    """Schema of its answer; default: text."""
    tools: dict[fields.Id, Tool] = Field(default_factory=dict)
    """What it may call, by alias."""
    limits: AgentLimits | None = None
    """What it may use."""
    defs: Annotated[dict[str, fields.JsonSchema], Field(alias="$defs")] = Field(default_factory=dict)
    """Schemas to refer to by `$ref: "#/$defs/Name"`."""
