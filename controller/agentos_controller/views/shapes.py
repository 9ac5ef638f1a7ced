"""Every JSON form the read model gives, by name: the views return them, the OpenAPI document is made from them.

Times are RFC 3339 UTC text, money is USD, ``None`` means "not known" or "does not apply". Keys are camelCase because
this is an outer boundary.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from typing_extensions import TypedDict

Item = TypeVar("Item")


class Page(TypedDict, Generic[Item]):
    items: list[Item]
    nextCursor: str | None


class Condition(TypedDict):
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    observedRevision: str | None
    lastTransitionTime: str


class Diagnostic(TypedDict):
    code: str
    severity: Literal["error", "warning"]
    path: str
    line: int
    column: int
    message: str
    hint: str | None


class SourceDiagnostic(Diagnostic):
    source: str
    kind: str | None
    name: str | None
    revision: str | None


class Counts(TypedDict):
    total: int
    ready: int
    stalled: int
    reconciling: int


class Hold(TypedDict):
    generation: int | None
    revision: str | None
    reason: str | None
    by: str | None
    until: str | None


class Suspension(TypedDict):
    by: str
    reason: str | None
    until: str | None
    """When it ends by itself."""


class Prune(TypedDict):
    digest: str
    """What an approval has to name."""
    count: int
    total: int
    """How many resources serve, of which `count` would be removed."""
    resources: list[str]
    """The first of them, as `Kind/name`."""
    since: str


class Tenant(TypedDict):
    name: str
    platform: bool
    state: str
    ready: bool
    conditions: list[Condition]
    activeGeneration: int | None
    hold: Hold | None
    suspension: Suspension | None
    prune: Prune | None
    """The removal that waits for an approval."""
    counts: Counts
    createdAt: str


class Source(TypedDict):
    id: str
    tenant: str
    name: str
    url: str
    ref: str | None
    path: str
    revision: str | None
    """The last revision that was reconciled."""
    observed: str | None
    """What its ref named at the last look; another one where its rules hold the newest back."""
    accepted: str | None
    """The revision that somebody let in although the source would refuse it."""
    acceptedBy: str | None
    fetchedAt: str | None
    failures: int
    error: str | None
    suspended: bool
    suspension: Suspension | None
    webhook: str | None
    """The path a forge delivers to; None where the source names no secret for it."""
    ready: bool
    conditions: list[Condition]


class SourceDetail(Source):
    diagnostics: list[Diagnostic]


class Delivery(TypedDict):
    outcome: Literal["accepted", "duplicate", "ignored"]


class SourceRevision(TypedDict):
    revision: str
    generation: int
    state: str
    appliedAt: str


class ResourceSummary(TypedDict):
    kind: str
    name: str
    tenant: str
    digest: str | None
    """Of the manifest now serving."""
    artifactDigest: str | None
    revision: str | None
    """The revision that brought what is serving."""
    path: str
    line: int
    labels: dict[str, str]
    ready: bool
    reason: str
    message: str
    conditions: list[Condition]
    generation: int | None
    """The generation that brought what is serving."""
    updatedAt: str


class Resource(ResourceSummary):
    source: str | None
    document: int
    annotations: dict[str, str]
    desiredDigest: str | None
    desiredRevision: str | None
    interface: dict[str, Any]
    files: list[str]
    suspended: bool
    suspension: Suspension | None
    drainUntil: str | None
    """Removed: it takes no new runs, and goes when those in flight have ended, at the latest then."""


class ArtifactView(TypedDict):
    kind: str
    name: str
    type: str
    digest: str
    compiler: str
    size: int
    body: dict[str, Any]


class Dependent(TypedDict):
    kind: str
    name: str
    ready: bool
    reason: str
    direct: bool


class HistoryEntry(TypedDict):
    generation: int
    action: Literal["created", "changed", "deleted"]
    digest: str | None
    artifactDigest: str | None
    revision: str | None
    path: str | None
    line: int | None
    at: str | None
    actor: str | None
    live: bool


class Generation(TypedDict):
    generation: int
    revision: str | None
    source: str | None
    state: str
    cause: dict[str, Any]
    actor: str | None
    changes: int
    appliedAt: str


class GenerationItem(TypedDict):
    kind: str
    name: str
    digest: str
    artifactDigest: str | None
    path: str | None
    line: int | None
    revision: str | None


class GenerationDetail(Generation):
    items: list[GenerationItem]
    nextCursor: str | None


class Event(TypedDict):
    id: str
    kind: str
    name: str
    type: str
    reason: str
    message: str
    revision: str | None
    path: str | None
    line: int | None
    count: int
    firstAt: str
    lastAt: str


class Change(TypedDict):
    sequence: int
    type: str
    kind: str
    name: str
    ready: bool
    reason: str | None
    digest: str | None
    revision: str | None
    at: str


class Command(TypedDict):
    id: str
    tenant: str | None
    type: str
    args: dict[str, Any]
    state: Literal["pending", "running", "done", "failed"]
    actor: str
    result: dict[str, Any] | None
    error: str | None
    createdAt: str
    startedAt: str | None
    doneAt: str | None


class Plan(TypedDict):
    id: str
    tenant: str
    state: str
    baseGeneration: int | None
    revision: str | None
    digest: str | None
    summary: dict[str, Any]
    changes: list[dict[str, Any]]
    diagnostics: list[Diagnostic]
    error: str | None
    requestedBy: str
    createdAt: str
    expiresAt: str | None


RunError = TypedDict("RunError", {"class": str, "message": str, "step": "str | None"}, total=False)


class RunSummary(TypedDict):
    """A run without its input and output, which may be large."""

    id: str
    tenant: str
    kind: str
    name: str
    thread: str
    state: str
    outcome: str | None
    generation: int
    digest: str
    revision: str
    error: RunError | None
    tokensIn: int
    tokensOut: int
    costUsd: float
    steps: int
    attempts: int
    cause: dict[str, Any]
    createdAt: str
    startedAt: str | None
    endedAt: str | None


class Run(RunSummary):
    input: Any
    output: Any


class RunStep(TypedDict):
    path: str
    attempt: int
    type: str
    state: str
    input: Any
    output: Any
    error: RunError | None
    tokensIn: int
    tokensOut: int
    costUsd: float
    startedAt: str | None
    endedAt: str | None


class RunEvent(TypedDict):
    sequence: int
    type: str
    step: str | None
    data: dict[str, Any]
    at: str


class Vote(TypedDict):
    by: str
    subject: str
    decision: str
    at: str


class Approval(TypedDict):
    id: str
    tenant: str
    run: str
    step: str
    requestedOf: list[str]
    show: Any
    edit: dict[str, Any] | None
    """The JSON Schema of the value an approver may change; None: nothing."""
    quorum: int
    votes: list[Vote]
    state: str
    answer: Any
    comment: str | None
    decidedBy: str | None
    decidedAt: str | None
    createdAt: str | None
    expiresAt: str | None


class Fire(TypedDict):
    tick: str
    decision: str
    run: str | None
    latenessSeconds: float


class ScheduleView(TypedDict):
    name: str
    artifactDigest: str
    cron: str | None
    everySeconds: float | None
    at: str | None
    timezone: str | None
    lastTick: str | None
    nextTick: str | None
    suspended: bool
    misses: int
    fires: list[Fire]
    """The last ones, newest first."""


class KeyView(TypedDict):
    id: str
    name: str
    prefix: str
    tenant: str | None
    permissions: list[str]
    roles: list[str]
    createdBy: str | None
    createdAt: str
    expiresAt: str | None
    revokedAt: str | None
    lastUsedAt: str | None


class NewKey(KeyView):
    key: str
    """The key itself: shown once, stored nowhere."""


class SecretView(TypedDict):
    name: str
    provider: str
    version: int | None
    createdBy: str | None
    createdAt: str | None
    hosts: list[str]
    """The only hosts it may go to; none before its first use, which binds it."""


class SecretRotation(TypedDict):
    key: str
    rewrapped: int


class Health(TypedDict):
    ok: bool
    checks: dict[str, dict[str, Any]]


class AuditChain(TypedDict):
    tenant: str | None
    entries: int
    intact: bool
    brokenAt: int | None
    reason: str | None


class AuditEntry(TypedDict):
    tenant: str | None
    sequence: int
    at: str
    actor: str
    action: str
    object: str
    revision: str | None
    outcome: str
    detail: dict[str, Any]
