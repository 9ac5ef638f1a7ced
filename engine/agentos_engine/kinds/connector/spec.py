"""Spec of a Connector: an HTTP API told in data, one operation per thing that can be done with it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from agentos_engine import fields, kind


class Http(fields.Node):
    """Where the API is and what every request carries."""

    base_url: fields.HttpUrl
    """Address that each operation's path is appended to."""
    headers: dict[fields.HeaderName, str] = Field(default_factory=dict)
    """Headers of every request; never a secret, those stand in `auth`."""
    timeout: fields.Duration = "30s"
    """For one request."""


class BasicAuth(fields.SecretRef):
    """User name and password."""

    username: Annotated[str, Field(max_length=256)]
    """The user name."""


class ApiKeyAuth(fields.SecretRef):
    """A key in a header or in the query; exactly one of the two."""

    header: fields.HeaderName | None = None
    """Name of the header that carries the key."""
    query: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """Name of the query parameter that carries the key."""


class Auth(fields.Node):
    """How requests are authorised; exactly one form."""

    bearer: fields.SecretRef | None = None
    """`Authorization: Bearer <secret>`."""
    basic: BasicAuth | None = None
    """`Authorization: Basic`, the secret being the password."""
    api_key: ApiKeyAuth | None = None
    """The secret in a header or query parameter of its own."""


class Operation(fields.Node):
    """One thing the API can do."""

    description: fields.Text | None = None
    """What a model or person reads."""
    effect: fields.Effect = "destructive"
    """What it does to the world; unknown is destructive."""
    request: Annotated[
        str,
        Field(pattern=fields.REQUEST_PATTERN, max_length=2048, examples=["GET /orders/{order_id}"]),
    ]
    """Method and path; `{argument}` takes an argument, percent-encoded."""
    query: dict[str, Any] = Field(default_factory=dict)
    """Query parameters; templates over `input`, null is left out."""
    headers: dict[fields.HeaderName, str] = Field(default_factory=dict)
    """Further headers; templates over `input`."""
    body: Any = None
    """JSON body; a template over `input`."""
    input: fields.JsonSchema | None = None
    """Schema of the arguments."""
    output: fields.JsonSchema | None = None
    """Schema of the result."""
    result: Any = None
    """Template over `status`, `headers`, `body` that gives the result; default: `body`."""
    idempotency: fields.HeaderName | None = None
    """Header that carries the call's idempotency key, where the API has one."""
    retry: fields.Retry | None = None
    """Default: three attempts for effect read, else none."""
    errors: dict[fields.ErrorClass, int | fields.Expression] = Field(default_factory=dict)
    """Error class by HTTP status, or by CEL over `status` and `body`."""

    @property
    def method(self) -> str:
        return self.request.partition(" ")[0]

    @property
    def path(self) -> str:
        return self.request.partition(" ")[2]


class ConnectorSpec(kind.Spec, fields.Node):
    """An HTTP API and its operations."""

    description: fields.Text | None = None
    """What it connects to."""
    http: Http
    """Where the API is."""
    auth: Auth | None = None
    """Absent: requests carry no credentials."""
    egress: tuple[fields.Host, ...] = ()
    """Hosts it may reach besides that of `baseUrl`."""
    operations: Annotated[dict[fields.OperationId, Operation], Field(min_length=1)]
    """What can be done, by id."""
    defs: Annotated[dict[str, fields.JsonSchema], Field(alias="$defs")] = Field(default_factory=dict)
    """Schemas to refer to by `$ref: "#/$defs/Name"`."""
