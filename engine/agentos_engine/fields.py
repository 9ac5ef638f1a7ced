"""The small shapes that specs of several kinds share: names, ids, texts, secrets, durations, retry, run targets.

Shapes only, as `language.md` writes them. Rules that need more than one value live in each kind's `validate`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from agentos_engine import literals

NAME_PATTERN = "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
ID_PATTERN = "^[a-z][A-Za-z0-9]{0,47}$"
OPERATION_ID_PATTERN = "^[a-z][A-Za-z0-9_]{0,63}$"
OPERATION_PATTERN = r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?\.[a-z][A-Za-z0-9_]{0,63}$"
ERROR_PATTERN = "^[A-Z][A-Za-z0-9]{0,63}$"
SECRET_PATTERN = "^[a-z0-9]([-._a-z0-9]{0,61}[a-z0-9])?$"  # noqa: S105
HOST_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})(:[0-9]{1,5})?$"
URL_PATTERN = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"
HEADER_PATTERN = "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$"
EVENT_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$"
REF_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$"
SCHEME_PATTERN = "^[a-z][a-z0-9_]{0,63}$"
TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})$"
REQUEST_PATTERN = r"^(GET|HEAD|POST|PUT|PATCH|DELETE) /\S*$"
APPROVER_PATTERN = r"^(user|role/[a-z]([-a-z0-9]{0,61}[a-z0-9])?|user/[^\s]{1,253})$"
MEMBER_PATTERN = r"^(user|key|group)/[^\s/][^\s]{0,253}$"
GIT_PATTERN = r"^((https|ssh)://[^\s?#]+|file:///[^\s]+)$"
LABEL_KEY_PATTERN = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE_PATTERN = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""Name of a resource: a DNS label that begins with a letter."""
Id = Annotated[str, Field(pattern=ID_PATTERN)]
"""Key of a step, state field, tool, rule, outcome or `as:` name: a camelCase CEL identifier."""
OperationId = Annotated[str, Field(pattern=OPERATION_ID_PATTERN)]
"""Key of a connector's operation; snake_case is common where a vendor's own names are kept."""
Operation = Annotated[str, Field(pattern=OPERATION_PATTERN)]
"""``connector.operation``."""
Expression = Annotated[str, Field(min_length=1, max_length=8192)]
"""Bare CEL, without ``${}``."""
Duration = Annotated[str, Field(pattern=literals.DURATION_PATTERN, examples=["30s", "10m", "48h"])]
"""``500ms 30s 10m 48h 7d``; `literals.duration_ms` reads it."""
Size = Annotated[str, Field(pattern=literals.SIZE_PATTERN, examples=["64KiB", "512MiB"])]
"""``64KiB 512MiB 2GiB``; `literals.size_bytes` reads it."""
Usd = Annotated[float, Field(ge=0, le=1_000_000)]
ErrorClass = Annotated[str, Field(pattern=ERROR_PATTERN)]
SecretName = Annotated[str, Field(pattern=SECRET_PATTERN)]
HeaderName = Annotated[str, Field(pattern=HEADER_PATTERN)]
Host = Annotated[str, Field(pattern=HOST_PATTERN)]
HttpUrl = Annotated[str, Field(pattern=URL_PATTERN, max_length=2048)]
"""An absolute address without credentials, query or fragment."""
Time = Annotated[
    str,
    Field(pattern=TIME_PATTERN),
]
"""RFC 3339 with an offset."""
JsonSchema = Annotated[dict[str, Any], Field(examples=[{"type": "object", "properties": {}}])]
"""A JSON Schema (2020-12) of the author's; checked by `userschema`."""
Arguments = dict[str, Any]
"""Arguments of a call; every string in it is a template."""
Permission = Literal["read", "run", "operate", "admin"]
Effect = Literal["read", "write", "destructive"]

PATTERN_HELP = {
    NAME_PATTERN: "A name has lower-case letters, digits and hyphens, begins with a letter, and at most 63 characters.",
    ID_PATTERN: "An id is camelCase: letters and digits, beginning with a lower-case letter, at most 48 characters.",
    literals.DURATION_PATTERN: "A duration is one number and one unit: 500ms, 30s, 10m, 48h, 7d.",
    OPERATION_PATTERN: "Write `connector.operation`, for example `meta-ads.get_insights`.",
    OPERATION_ID_PATTERN: "An operation's id has letters, digits and underscores, beginning with a lower-case letter.",
    ERROR_PATTERN: "An error class is written like `RateLimited`; `Error` stands for any.",
    SECRET_PATTERN: "A secret's name has lower-case letters, digits, and `-`, `_`, `.` in between; at most 63 of them.",
    HOST_PATTERN: "A host name, with a port if need be: api.example.com or api.example.com:8443.",
    URL_PATTERN: "An address such as https://api.example.com/v1, without credentials, query or fragment.",
    TIME_PATTERN: "A time with its offset: 2026-03-01T09:00:00Z.",
    REQUEST_PATTERN: "Method and path: `GET /orders/{order_id}`.",
    APPROVER_PATTERN: "Write `role/name`, `user/name`, or `user` for who started the thread.",
    MEMBER_PATTERN: "Write `user/…`, `key/…` or `group/…`.",
    HEADER_PATTERN: "The name of an HTTP header, without the colon.",
    EVENT_PATTERN: "An event's type: letters, digits, `.`, `_`, `/` and `-`.",
    REF_PATTERN: "A branch, tag or commit: letters, digits, `.`, `_`, `/` and `-`.",
    SCHEME_PATTERN: "The name of a signature scheme, for example `hub_sha256`.",
    literals.SIZE_PATTERN: "A size is one number and one unit: 64KiB, 512MiB, 2GiB.",
    GIT_PATTERN: "An address such as https://git.example.com/acme/agents.git or ssh://git@git.example.com/acme/agents.",
    LABEL_KEY_PATTERN: "A label's key: letters, digits, `-`, `_`, `.`, with an optional `prefix/`.",
    LABEL_VALUE_PATTERN: "A label's value: at most 63 letters, digits, `-`, `_` or `.`.",
    "^x-": "Keys of your own begin with `x-`.",
}
"""What a pattern asks for, in words: hints of diagnostics, and messages in editors."""


class Node(BaseModel):
    """An object of fixed keys: camelCase outside, frozen, and open to ``x-…`` keys alone."""

    model_config = ConfigDict(
        frozen=True, extra="allow", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )
    __pydantic_extra__: dict[Annotated[str, Field(pattern="^x-")], Any]


class SecretRef(Node):
    """A reference to a secret of the tenant."""

    secret: SecretName
    """Name of the secret, as given to `agentos secret set`."""


class FileText(Node):
    """Text that stands in a file of the repository."""

    file: Annotated[str, Field(min_length=1, max_length=1024, examples=["prompts/analyst.md"])]
    """Relative to the manifest's folder, or to the source's root with a leading `/`."""


Text = str | FileText
"""Text, inline or in a file; ``${…}`` is interpolated alike."""


class Retry(Node):
    """Try a failed call again."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    """All attempts, the first one included."""
    backoff: Literal["exponential", "linear", "fixed"] = "exponential"
    """How the delay grows."""
    delay: Duration = "1s"
    """Before the second attempt."""
    max_delay: Duration = "30s"
    """The longest delay."""
    on: Annotated[tuple[ErrorClass, ...], Field(min_length=1)] | None = None
    """Error classes to retry on; default: RateLimited, Timeout, Unavailable."""


class RunTarget(Node):
    """What a Schedule or Trigger runs; exactly one of `workflow` and `agent`."""

    workflow: Name | None = None
    """Name of a Workflow."""
    agent: Name | None = None
    """Name of an Agent."""
    with_: Annotated[Arguments, Field(alias="with")] = Field(default_factory=dict)
    """Its input."""
    thread: str | None = None
    """The thread to continue; default: a new one for each run."""
