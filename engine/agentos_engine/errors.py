"""The registry of everything that can be reported, and the exceptions that say how they are to be handled.

One namespace for four uses: a diagnostic's code, a condition's reason, a problem's code and the reason of a run's end
(the class of its error, if it has one) are the same word for the same thing. Every entry is documented
(`docs/codes.md` is generated from here) and produced by a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Use = Literal["diagnostic", "reason", "problem", "run"]


@dataclass(frozen=True, slots=True)
class Code:
    """One registered word. `status` is the HTTP status where it is answered as a problem."""

    name: str
    summary: str
    fix: str
    uses: frozenset[Use]
    status: int | None = None


REGISTRY: dict[str, Code] = {}


def register(uses: str, name: str, summary: str, fix: str, status: int | None = None) -> str:
    """Add a code. `uses`: ``d`` (diagnostic), ``r`` (reason), ``p`` (problem, needs `status`), ``e`` (end of a run)."""
    words: dict[str, Use] = {"d": "diagnostic", "r": "reason", "p": "problem", "e": "run"}
    if name in REGISTRY:
        raise ValueError(f"{name} is registered twice")
    if ("p" in uses) != (status is not None):
        raise ValueError(f"{name}: a problem has an HTTP status, nothing else does")
    REGISTRY[name] = Code(name, summary, fix, frozenset(words[use] for use in uses), status)
    return name


class Problem(Exception):
    """An error for the person or program that asked; answered over HTTP as RFC 9457.

    `code` is registered with use "problem"; `extra` are further members of the problem document.
    """

    def __init__(self, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        registered = REGISTRY[code]
        if registered.status is None:
            raise ValueError(f"{code} is no problem")
        self.code = code
        self.detail = detail
        self.status = registered.status
        self.title = registered.summary
        self.extra = extra


class Handled(Exception):
    """An error of the controller that says by its type how it is to be handled; `code` is a registered reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Retry(Handled):
    """Passing trouble (network, lock, timeout): try again with backoff, keep serving what serves."""


class Wait(Handled):
    """Something else has to happen first (a dependency, a lease): look again when it did."""


class Stall(Handled):
    """Only a new commit, a new secret or a person can help: say so and stop trying."""


# Files and YAML
register("dr", "InvalidUtf8", "The file is not UTF-8", "Save the file as UTF-8.")
register("dr", "YamlSyntax", "The YAML cannot be parsed", "Correct the syntax at the position given.")
register("dr", "YamlForbidden", "Anchors, aliases, tags and merge keys are not allowed", "Write the value out in full.")
register("dr", "DuplicateKey", "A mapping has the same key twice", "Remove or rename one of the two.")
register("dr", "FileTooLarge", "A file is larger than allowed", "Split the file, or move data out of it.")
register("dr", "TooDeep", "The document is nested too deeply", "Flatten the document.")
register("dr", "TooManyNodes", "The document has too many values", "Split the file.")
register("dr", "TooManyProblems", "The file has more problems than are told", "Mend those that are told first.")
register(
    "dr",
    "FileForbidden",
    "The path is a symlink, a submodule, an LFS pointer or otherwise not a plain file",
    "Commit a plain file.",
)
register(
    "dr", "FileNotFound", "An included file does not exist at this revision", "Commit the file, or correct the path."
)
register("dr", "FileOutsideSource", "An included file lies outside its source", "Use a path inside the source.")
# Documents
register(
    "dr", "NotAManifest", "A YAML document has no known apiVersion and kind", "Add both, or move or exclude the file."
)
register(
    "dr",
    "SchemaViolation",
    "The document does not match the schema of its kind",
    "See the message and the kind's page.",
)
register("dr", "UnknownKey", "A key is not known here", "Correct its spelling, or use an `x-` key for your own data.")
register("dr", "MissingKey", "A required key is missing", "Add the key.")
register("dr", "DuplicateResource", "Two documents define the same kind and name", "Rename one, or delete it.")
register(
    "dr",
    "SecretLiteral",
    "A secret stands in the manifest as text",
    "Store it with `agentos secret set` and refer to it by name.",
)
# References
register("dr", "UnknownReference", "A name refers to nothing", "Create the resource, or correct the name.")
register("dr", "UnknownOperation", "The connector has no such operation", "Use one of its operations, or declare it.")
register("dr", "ReferenceCycle", "Resources refer to each other in a circle", "Break the circle.")
register("dr", "KindNotAllowed", "This kind is not allowed in this source", "Move it to the platform repository.")
# Workflows
register("dr", "UnknownStep", "A target names no step", "Use the id of a step of this block, or `end`.")
register("dr", "UnreachableStep", "No way leads to this step", "Route to it, or delete it.")
register("dr", "EndlessCycle", "A cycle of steps has no way out", "Add a branch that leaves it.")
register("dr", "UnknownOutcome", "The action has no such outcome", "Use one of its outcomes.")
register("dr", "InvalidStep", "The step is not put together rightly", "One action per step; see the step's page.")
register(
    "dr",
    "InvalidSchema",
    "A JSON Schema in the manifest is not usable",
    "Correct it; `$ref` may only point to `#/$defs/…`.",
)
register("dr", "InvalidSchedule", "A cron line, interval, time or timezone is not valid", "See the Schedule page.")
register("dr", "InvalidValue", "A value is out of range or not of the required form", "See the message.")
register("dr", "InvalidArgument", "`with` does not fit the callee's input", "Compare with the callee's input schema.")
# Expressions
register("dr", "ExpressionSyntax", "The CEL expression cannot be parsed", "Correct it at the position given.")
register(
    "dr", "TemplateSyntax", "A `${…}` is not closed or not allowed here", "Close it, or write `$${` for a literal."
)
register(
    "dr", "UnknownName", "The expression names something that is not in scope", "See the names in scope in the message."
)
register("dr", "UnknownField", "The value has no such field", "Use a declared field, or declare it.")
register("dr", "UnknownFunction", "There is no such function", "See the list of functions.")
register("dr", "TypeMismatch", "The types of an expression do not fit", "Convert, or correct the expression.")
register("dr", "MayBeNull", "The value may be null here", "Test it, or use coalesce([...]).")
register("dr", "NotBoolean", "A condition is not true or false", "Compare with something.")
register("dr", "ExpressionTooComplex", "The expression is too large or too costly", "Split it into steps.")
# Reconciling
register("r", "Ready", "Everything desired is applied and healthy", "Nothing to do.")
register("r", "NotReached", "An earlier condition has to become True first", "See that condition.")
register(
    "r", "DependencyStalled", "Something this resource needs is stalled", "Mend the resource named in the message."
)
register("r", "DeletionBlocked", "Removed from git, but others that serve still need it", "Remove the dependants too.")
register("r", "PolicyDenied", "A policy forbids this", "See the policy's message.")
register("r", "PolicyWarning", "A policy warns of this, or records it", "See the policy's message.")
register(
    "dr",
    "Quarantined",
    "Reading or compiling this object failed unexpectedly",
    "Report the error in the message; other content is tried at once.",
)
register(
    "r",
    "Drifted",
    "A stored row was not as it was applied",
    "See the event for what differed; find out who writes to the database beside the controller.",
)
register("r", "Held", "A rollback holds the tenant at an older generation", "`agentos release` lets reconciling go on.")
register("r", "Suspended", "Somebody suspended it, so it stays as it is", "`agentos resume` lets it go on.")
register(
    "r",
    "PruneGuarded",
    "Too much would be removed at once, so nothing is",
    "Commit the files again, or agree with `agentos approve-prune`.",
)
register("r", "Draining", "Removed from git, but runs of it are in flight", "Wait for the runs to end, or cancel them.")
register(
    "r",
    "Orphaned",
    "Removed from git, and left serving as its manifest asked",
    "Commit it again, or let it go with `agentos approve-prune --orphans`.",
)
register(
    "r",
    "SourceUnavailable",
    "The repository cannot be fetched",
    "Check network, address and credentials; fetching goes on.",
)
register("r", "SourceInvalid", "The source is not described rightly", "Correct the source's address, ref or keys.")
register(
    "r",
    "SourceUnauthorized",
    "The remote refuses the credentials, or asks for some",
    "Set the secret that the source's `auth` names; check that it may read the repository.",
)
register(
    "r",
    "SourceUntrustedHost",
    "The remote proves to be nobody the source trusts",
    "Compare its host key or certificate with what its operator publishes, then correct `knownHosts` or `ca`.",
)
register("r", "SourceMoved", "The remote says the repository is elsewhere", "Write the new address into the source.")
register("r", "SourceRefGone", "The repository has no such branch, tag or commit", "Restore it, or correct `ref`.")
register("r", "SourceEmpty", "The repository has no commit yet", "Push one.")
register("r", "SourceCorrupt", "What the remote sends does not add up", "Repair the repository: `git fsck` finds it.")
register("r", "SourceShallow", "The remote is a shallow clone", "Give it its whole history: `git fetch --unshallow`.")
register("r", "SourceTooLarge", "A fetch is larger than the source's limits allow", "Shrink it, or raise `limits`.")
register(
    "r",
    "CommitUnsigned",
    "A commit that needs a signature has none",
    "Sign it (`git commit -S`), or commit the change anew on top, signed.",
)
register(
    "r",
    "SignatureInvalid",
    "A commit's signature does not count",
    "See the message; sign anew with a key that is listed, valid and strong.",
)
register(
    "r",
    "SignerUnknown",
    "A commit is signed by nobody who is listed",
    "Have a listed signer sign it, or list the signer in the Tenant's `verify`.",
)
register(
    "r",
    "HistoryRewritten",
    "The ref moved to a commit that does not follow from what serves",
    "Restore the branch, or accept the new history; the message says how.",
)
register(
    "r",
    "NotMerged",
    "The commit is not on the branch that it must be merged into",
    "Merge it there, with the branch as first parent.",
)
register("r", "Reconciling", "Work is under way", "Wait.")
register("r", "ResourcesNotReady", "Some resources are not Ready", "See the resources.")
for _stage in ("Loaded", "Valid", "Resolved", "Compiled", "Admitted", "Applied", "Healthy"):
    register("r", _stage, f"The resource is {_stage.lower()}", "Nothing to do.")
# The API
register("p", "Unauthenticated", "No valid API key was sent", "Send `Authorization: Bearer <key>`.", 401)
register("p", "Forbidden", "The key lacks the permission", "Use a key with the permission named.", 403)
register("pe", "NotFound", "There is no such thing", "Check the names; in a run, what the step asks for.", 404)
register(
    "p", "MethodNotAllowed", "The path exists, but not with this method", "Use one of the methods in `Allow`.", 405
)
register("p", "InvalidRequest", "The request is not valid", "See `errors`.", 422)
register("pe", "Conflict", "The state does not allow this", "Read the current state and decide anew.", 409)
register("p", "PreconditionFailed", "It changed since you read it", "Read it again and repeat with the new ETag.", 412)
register("p", "IdempotencyMismatch", "The Idempotency-Key was used for another request", "Use a new key.", 422)
register("p", "RequestTooLarge", "The request body is too large", "Send less.", 413)
register(
    "p", "QuotaExceeded", "The tenant's quota is used up", "Wait for runs to end or for `resetsAt`, or raise it.", 429
)
register(
    "p",
    "WebhookRefused",
    "There is no such webhook, or the delivery is not signed with its secret",
    "Compare the path with `webhook` in `agentos get sources -o json`, and the forge's secret with the source's.",
    401,
)
register("p", "RequestTimeout", "The request body came too slowly", "Send it again.", 408)
register("p", "TooManyRequests", "Too many requests at once", "Try again later.", 429)
register("p", "NotReadyYet", "The server is still starting", "Try again in a moment.", 503)
register("p", "InternalError", "An unexpected error", "Report it with the request id.", 500)
# How a run ends: the classes of its errors, besides NotFound and Conflict, and what no step is the cause of
register("e", "Error", "Something failed that has no class of its own", "See the message of the run's error.")
register("e", "InvalidInput", "The input does not fit its schema", "Compare it with the callee's `input`.")
register("e", "InvalidOutput", "An output does not fit its schema", "Correct what makes it, or the schema.")
register("e", "Timeout", "It took longer than allowed", "Retry it, or raise its timeout.")
register("e", "RateLimited", "The other side asks to call less often", "Retry it later.")
register("e", "Unavailable", "The other side cannot be reached or is failing", "Retry it later.")
register("e", "Unauthorized", "The other side refuses the credentials", "Set the secret that the manifest names.")
register("e", "BadRequest", "The other side refuses the request", "See the message and correct the arguments.")
register("e", "ToolFailed", "A tool failed otherwise", "See the message of the run's error.")
register("e", "ModelRefused", "The model refuses to answer", "Change what it is asked.")
register("e", "Denied", "The egress guard forbids it", "Name the host in the manifest, or ask the operator to open it.")
register("e", "Rejected", "An approval was rejected, and the step does not route that", "Route `rejected`.")
register("e", "Expired", "An approval expired, and the step does not route that", "Answer in time, or route `expired`.")
register(
    "e", "LimitExceeded", "A limit of the run or of what it runs in is used up", "See which; raise it if it is right."
)
register("e", "BudgetExceeded", "Its tokens or money are used up", "See which limit; raise it if it is right.")
register("e", "Cancelled", "Somebody cancelled the run", "Start another, if it is still wanted.")
register(
    "e",
    "AttemptsExhausted",
    "The process died several times while it worked on the run",
    "See the log, then run it anew.",
)
