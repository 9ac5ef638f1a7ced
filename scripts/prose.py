"""The sentences of `docs/manifests.md` that no code knows. Keyed by what they are about; a test finds missing ones."""

from __future__ import annotations

INTRODUCTION = """\
# Manifests

Generated from the specs by `make docs`; do not edit.

A manifest is a YAML document of one of these kinds. The same tables, as JSON Schemas for editors and other validators,
are in `schema/v1/`; `agentos validate` checks everything that stands here, and says what is wrong by the
[codes](codes.md).
"""

RULES = """\
## Every manifest

```yaml
# yaml-language-server: $schema=../schema/v1/model.json
apiVersion: agentos/v1
kind: Model
metadata:
  name: greeter               # unique per tenant and kind; a rename is a new resource
  labels: {team: growth}      # to select by
  annotations: {owner: ads@example.com}   # free text, at most 4096 characters; see below for keys under agentos/
  x-ticket: ABC-1             # keys of your own begin with x-, in any object of fixed keys
spec:
  provider: scripted
  script: [{text: Hello.}]
```

- `apiVersion`, `kind`, `metadata` and `spec` are all there are. The tenant comes from the source, never from the file;
  status is read with `agentos get`.
- Two annotations change behaviour. `agentos/deletion` says what happens when the manifest is gone: `delete` (the
  default), `orphan` (what serves goes on) or `drain` (no new runs; it goes when those in flight have ended).
  `agentos/drain-deadline` is how long `drain` waits at most, `1h` if it says nothing. Other keys under `agentos/` are
  errors. See [Deleting](operations.md#deleting).
- A file may hold several documents, divided by `---`. Their order means nothing; that of `steps` and `rules` does.
- References are names; the key says the kind (`agent: triage`, `connector: meta-ads.get_insights`). They reach no
  other tenant.
- Unknown keys are errors. Anchors, aliases, tags, merge keys and duplicate keys are refused. `yes`, `no`, `on` and
  `off` are text, as in YAML 1.2.
- Every `.yaml` and `.yml` file among a source's manifests must be one: a document without a known `apiVersion` and
  `kind` is an error. Names that begin with `.` or `_`, what the source's `exclude` names, and paths in `.agentosignore`
  (as in `.gitignore`) are left out.

### Texts

Where a *text* is asked for stands either the text or `{file: prompts/triage.md}`, with a path relative to the
manifest's folder, or to the source's root when it begins with `/`. The file's content belongs to the resource: changing
it changes the resource's digest.

### JSON Schemas

Inputs, outputs and state are described by JSON Schema 2020-12. `$ref` reaches `#/$defs/Name` of the same manifest and
nothing else; nothing is ever fetched. Patterns are of the kind that takes linear time, without look-around and
back-references. A declared property is always there: absent without a default it is null.
"""

KINDS = {
    "Agent": "A workflow's step calls it by name, or it is run by itself. Instructions are a template over `input`; "
    "tools are operations of connectors, other agents, or workflows, shown to the model as `alias_operation` or "
    "`alias`.",
    "Connector": "Requests go to the host of `baseUrl` and to those in `egress`, and nowhere else; the secret is "
    "resolved for each call.",
    "Model": "It has no artifact of its own: who names it gets it whole, price and fallbacks included, so a change "
    "here is a change there.",
    "Policy": "Asked before a resource is applied. A platform policy binds every tenant; a tenant's own only denies "
    "more. What is denied keeps its version before.",
    "Role": "An approval asks for `role/<name>`. An API key has the roles it was created with "
    "(`agentos keys create --role`), and those it is a member of; their rules give it permissions besides its own. A "
    "role without a manifest has neither. There are no groups in this release.",
    "Schedule": "A tick starts at most one run, whatever restarts in between.",
    "Tenant": "As long as there is none, everything belongs to the tenant `default`; from the first on, what stands in "
    "the platform source belongs to `platform`.",
    "Trigger": "Triggers are validated, compiled and shown; this release does not fire them yet.",
    "Workflow": "A run begins at the first step and walks from step to step until it reaches an end.",
}

SHAPES = {
    "StateField": "Everything else in it is that schema. Without `default` a field begins as null; with `append`, "
    "`extend` and `union` as an empty list, with `merge` as an empty map, with `sum` as 0.",
    "Step": "Which of the keys go together is told under [Steps](#steps).",
    "Tool": "An operation of effect write or destructive is offered only if it is named.",
    "Quota": "Looked at when a run is made. Tokens and money count in the UTC day and month in which their run was "
    "made, once a segment of it ended; beyond a quota the API answers `QuotaExceeded`, and ticks are skipped.",
    "TenantLimits": "They are those of the Tenant when the run began, or went on after an approval.",
    "Grant": "Without `kinds` and `names` they count everywhere. Limited, they count where one resource is read, and "
    "where a run is made, read or cancelled: by the kind and name of what it runs. Lists need them unlimited.",
    "Source": "Without `git` it is a folder of the platform's own repository.",
}

PROVIDERS = {
    "scripted": "Answers from `script`: the first rule that holds answers. Stateless, offline, free.",
    "replay": "Answers from the recorded exchanges in `cassette`.",
    "anthropic": "Anthropic's API, or one like it at `baseUrl`.",
    "openai": "OpenAI's API, or one like it at `baseUrl`: most servers of open models.",
    "ollama": "A server of open models, mostly of your own: the operator allows its address (`--allow-egress`).",
}
OTHER_PROVIDERS = "These speak OpenAI's chat completions at an address of their own:"
NO_PROVIDER = (
    "A provider is at hand only when all its requests go through the egress guard; others come with later releases."
)

STEPS = """\
A step is one action with modifiers; a step without an action, with `set` alone, only writes."""

OUTCOMES = {
    "classify": "each of its `labels`; with `many`, `done`",
    "workflow": "`done`, and those its `end` steps name",
    "branch": "none: by the first case that holds, else by `next`",
    "end": "none",
    "fail": "none",
}

OUTPUTS = {
    "llm": "text, or a value by `output`",
    "classify": "the label, or with `many` a list of them",
    "extract": "a value by `output`",
    "agent": "text, or a value by the agent's `output`",
    "connector": "by the operation's `output`",
    "branch": "null",
    "workflow": "the `output` of the workflow",
    "transform": "that value",
    "approve": "`{decision, value, by, at, comment}`; `value` is what was shown, or the edit",
    "end": "ends the run with its outcome",
    "fail": "raises its error, which the steps before cannot catch",
    "set": "null",
}

ROUTES = """\
- Without `next` the step below follows, and after the last one the end. `next: id` goes elsewhere; `next: {outcome:
  target}` routes outcomes one by one. `end` as a target ends the workflow with the outcome `done`.
- `rejected` and `expired` of an approval raise the errors `Rejected` and `Expired` unless they are routed.
- `when` false skips the step: its status is `skipped`, its output null, and the flow goes on.
- `map` runs the action per item; the output is a list in the order of `over`, null in the place of a failed item with
  `errors: collect`. `with` and `set` are evaluated per item; `when`, `next` and `onError` are about the whole.
- `onError` routes errors after the retries: `continue` goes on with output null, `fail` fails, anything else is a
  step. The most specific class decides, `Error` stands for any.
- `retry` without `on` does not apply to a call of effect write or destructive, unless its operation is idempotent.
- `set` is evaluated against the state before it, and recorded together with the step's output.
- A step that nothing leads to, and a cycle that nothing leads out of, are errors. Cycles by a backward `next` are
  bounded by `limits.steps`.
"""

EXPRESSIONS = """\
## Expressions

Expressions are [CEL](https://cel.dev). Bare CEL stands at `when`, `deny` and in `errors`; there it must be true or
false. Everywhere else a text is a text, and `${…}` in it is evaluated: one `${…}` alone keeps its type, within a longer
text it becomes text (null becomes nothing, lists and maps compact JSON). `$${` is a literal `${`. Keys are never
evaluated, and nothing is evaluated twice.

The compiler knows the types from the schemas: an unknown name, field or function, a type that does not fit, and a value
that may be null where none is allowed are told with line and column. Where one side is a number and the other an
integer, it inserts the conversion. Undeclared data may miss a key: `a.?b.orValue(c)`.
"""

STEP_NAMES = (
    "`input`, by the workflow's `input`",
    "`state`, by its `state`",
    "`steps.<id>` {output, status: pending done skipped failed, outcome, error, errors, visits}",
    "`output`, the step's own, in `set`",
    "`item` and `index`, or what `as` and `at` call them, with `map`",
)

NAMES = """\
`artifact` and `old` of a Policy are the compiled form of what is about to serve and of what serves now, with `tools`,
`steps`, `models`, `hosts`, `approvals`, `limits` and `effect` always there; `agentos get KIND/NAME -o json` shows a
resource, and the API's `…/artifact` the compiled form. `old` is null for what is new.
"""

RESULTS = {
    "coalesce": "element", "item": "element", "item?": "element?", "same": "as given", "flat": "list", "sum": "number",
    "entries": "list", "values": "list", "merge": "map", "join": "number", "content": "value", "either": "optional",
    "average": "double?", "list<same>": "list<list>",
}  # fmt: skip
"""Results that depend on the arguments, as a reader needs them."""

ERRORS = """\
## Errors

What `onError` and `retry.on` name. Authors may use classes of their own, which a connector's `errors` raise; they stand
directly below `Error`. Cancelling is no error.
"""

ERROR_CLASSES = {
    "Error": "Any.",
    "InvalidInput": "Arguments do not fit what the callee declares.",
    "InvalidOutput": "An answer does not fit the declared schema.",
    "Timeout": "A limit of time is over; HTTP 408 and 504.",
    "RateLimited": "HTTP 429.",
    "Unavailable": "No connection; HTTP 5xx.",
    "Unauthorized": "HTTP 401 and 403, or a secret that is not set.",
    "NotFound": "HTTP 404.",
    "Conflict": "HTTP 409.",
    "BadRequest": "Any other HTTP 4xx, and a request that cannot be made.",
    "ToolFailed": "A tool failed otherwise; HTTP 3xx.",
    "CodeFailed": "Kept for code in a sandbox, which is not in this release.",
    "ModelRefused": "The model refuses to answer.",
    "Denied": "The egress guard lets the request not out, or its answer not in.",
    "Rejected": "An approval was rejected, and the step does not route that.",
    "Expired": "An approval expired, and the step does not route that.",
    "LimitExceeded": "A limit of the step, the agent, the workflow or the run is used up.",
    "BudgetExceeded": "The same, for tokens and money.",
}

LATER = """\
## Not yet

Validation knows further words of the language and says so: `parallel`, `loop`, sandboxed `code`, `ask`, `wait`, `emit`,
MCP servers, memory and handing over between agents are not in this release. In effect, though accepted, are not yet:
firing of Triggers, groups as members of a Role, `thread.turns`.
"""
