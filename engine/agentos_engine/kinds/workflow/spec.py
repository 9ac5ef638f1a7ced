"""Spec of a Workflow: steps in order, one action each.

A step is one shape with every action optional, so that a second action, or none, is told as one clear diagnostic
instead of the failures of nine alternatives.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from agentos_engine import blocks, fields, kind

Target = Annotated[str, Field(pattern=fields.ID_PATTERN)]
"""A step's id, or `end`."""
ACTIONS = (
    "llm", "classify", "extract", "agent", "connector", "workflow", "transform", "branch", "approve", "end", "fail",
)  # fmt: skip
"""Actions by key; a step with only `set` is one more."""
DEFAULT_MODEL = "default"
Reducer = Literal["replace", "append", "extend", "merge", "sum", "min", "max", "union"]
Approver = Annotated[str, Field(pattern=fields.APPROVER_PATTERN)]


class CelReducer(fields.Node):
    """A reducer of the author's."""

    cel: fields.Expression
    """CEL over `old` and `new`, both of the field's type; gives the new value."""


class StateField(kind.Spec):
    """A field of the state: a JSON Schema, and how writes are merged."""

    model_config = ConfigDict(frozen=True, extra="allow")
    reduce: Reducer | CelReducer = "replace"
    """How a written value meets the one before it: by name, or `{cel: …}`."""

    @property
    def reducer(self) -> str:
        """The reducer's name; ``cel`` for the author's own."""
        return self.reduce if isinstance(self.reduce, str) else "cel"

    @property
    def value_schema(self) -> dict[str, Any]:
        """The JSON Schema of the field, its `default` included."""
        return dict(self.model_extra or {})


class Llm(fields.Node):
    """One call of a model."""

    model: fields.Name | blocks.ModelBlock
    """Name of a Model, or one in place."""
    prompt: fields.Text
    """What it is asked."""
    system: fields.Text | None = None
    """The system prompt."""
    output: fields.JsonSchema | None = None
    """Schema of a structured answer; default: text."""


class Classify(fields.Node):
    """Lets a model choose among labels; each label is an outcome."""

    text: fields.Text
    """What is judged."""
    labels: Annotated[dict[fields.Id, fields.Text], Field(min_length=1, max_length=100)]
    """By id, what each label means."""
    model: fields.Name | blocks.ModelBlock = DEFAULT_MODEL
    """Name of a Model, or one in place; default: the Model `default`."""
    many: bool = False
    """Any number of labels may fit: the output is a list, the outcome `done`."""


class Extract(fields.Node):
    """Lets a model take values out of a text."""

    text: fields.Text
    """What is read."""
    output: fields.JsonSchema
    """Schema of what is looked for."""
    model: fields.Name | blocks.ModelBlock = DEFAULT_MODEL
    """Name of a Model, or one in place; default: the Model `default`."""


class Fail(fields.Node):
    """Raises an error, which the step cannot route itself."""

    error: fields.ErrorClass
    """Its class, of the language or one of the author's."""
    message: fields.Text
    """What went wrong."""
    details: Any = None
    """Values that go with it."""


class Case(fields.Node):
    """One way out of a branch."""

    when: fields.Expression
    """CEL; true takes this way."""
    next: Target
    """Where it leads."""


class Approve(fields.Node):
    """Asks people for a decision."""

    by: Approver | Annotated[tuple[Approver, ...], Field(min_length=1)]
    """`role/x`, `user/x`, `user` (who started the thread), or a list: any of them."""
    show: Any
    """What is decided about."""
    edit: fields.JsonSchema | None = None
    """Schema of an edited value; absent: no editing."""
    expires: fields.Duration | None = None
    """After which the outcome is `expired`."""
    quorum: Annotated[int, Field(ge=1, le=16)] = 1
    """How many different people must approve."""


class End(fields.Node):
    """Ends the workflow with an outcome."""

    outcome: fields.Id
    """Name of the outcome."""
    output: Any = None
    """Instead of the workflow's own output."""


class Map(fields.Node):
    """Runs the step once per item."""

    over: str | list[Any]
    """The items."""
    as_: Annotated[fields.Id, Field(alias="as")] = "item"
    """Name of the item."""
    at: fields.Id = "index"
    """Name of its position, from 0."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 10
    """How many work at once."""
    errors: Literal["fail", "collect", "drop"] = "fail"
    """What a failed item does: fail the step, stand as null, or be left out."""
    max: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    """More items than this are refused."""


class StepLimits(fields.Node):
    """What one execution of the step may use."""

    timeout: fields.Duration | None = None
    """Wall-clock time."""
    cost_usd: fields.Usd | None = None
    """Cost in USD."""
    tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens, in and out."""


class Step(fields.Node):
    """One action with its modifiers."""

    description: fields.Text | None = None
    """What the step is for."""
    llm: Llm | None = None
    """Call a model once."""
    classify: Classify | None = None
    """Choose among labels with a model."""
    extract: Extract | None = None
    """Take values out of a text with a model."""
    agent: fields.Name | blocks.AgentBlock | None = None
    """Run an Agent, by name or in place."""
    connector: fields.Operation | None = None
    """Call `connector.operation`."""
    workflow: fields.Name | None = None
    """Run another Workflow."""
    transform: Any = None
    """Make a value of others: any YAML with `${…}`."""
    approve: Approve | None = None
    """Ask people."""
    branch: Annotated[tuple[Case, ...], Field(min_length=1)] | None = None
    """Go on by the first case that holds, else by `next`."""
    end: fields.Id | End | None = None
    """End the workflow with a named outcome."""
    fail: Fail | None = None
    """Raise an error."""
    when: fields.Expression | None = None
    """False: the step is skipped."""
    map: Map | None = None
    """Run the step once per item of a list."""
    with_: Annotated[fields.Arguments | None, Field(alias="with")] = None
    """Arguments of the callee."""
    set: dict[fields.Id, Any] | None = None
    """Writes to the state, after the action."""
    next: Target | dict[fields.Id, Target] | None = None
    """Where to go: a target, or one per outcome."""
    on_error: Target | dict[fields.ErrorClass, Target] | None = None
    """`continue`, `fail`, a target, or one per error class."""
    retry: fields.Retry | None = None
    """Try again after passing errors."""
    limits: StepLimits | None = None
    """What one execution may use."""

    @property
    def actions(self) -> tuple[str, ...]:
        """The actions written, in the order of `ACTIONS`; exactly one, or none beside `set`, is right."""
        return tuple([action for action in ACTIONS if getattr(self, action) is not None])

    @property
    def labels(self) -> tuple[str, ...]:
        """The outcomes that a step has of its own: the labels of a `classify` that gives one."""
        one = self.classify is not None and not self.classify.many and self.map is None
        return tuple(self.classify.labels) if one and self.classify is not None else ()

    @property
    def goes_on(self) -> bool:
        """Whether the step can be left although its action gave no outcome: it was skipped, or an error is passed."""
        errors = (self.on_error,) if isinstance(self.on_error, str) else tuple((self.on_error or {}).values())
        return self.when is not None or "continue" in errors

    @property
    def type(self) -> str:
        """The action, ``set`` for a step that only writes."""
        for action in ACTIONS:
            if getattr(self, action) is not None:
                return action
        return "set"


class WorkflowLimits(fields.Node):
    """What one run may use, callees included."""

    steps: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Executed steps, items included."""
    timeout: fields.Duration | None = None
    """Wall-clock time."""
    cost_usd: fields.Usd | None = None
    """Cost in USD."""
    tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens, in and out."""
    depth: Annotated[int, Field(ge=1, le=64)] = 8
    """How deep sub-workflows and delegates may nest."""


class WorkflowSpec(kind.Spec, fields.Node):
    """Steps in order, from an input to an output."""

    description: fields.Text | None = None
    """What a caller reads."""
    input: fields.JsonSchema | None = None
    """Schema of the input."""
    state: dict[fields.Id, StateField] = Field(default_factory=dict)
    """Fields that steps read and write."""
    steps: Annotated[dict[fields.Id, Step], Field(min_length=1, max_length=1000)]
    """By id, in order."""
    output: Any = None
    """Template of the result."""
    limits: WorkflowLimits = WorkflowLimits()
    """What one run may use."""
    defs: Annotated[dict[str, fields.JsonSchema], Field(alias="$defs")] = Field(default_factory=dict)
    """Schemas to refer to by `$ref: "#/$defs/Name"`."""
