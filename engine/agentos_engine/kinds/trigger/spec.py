"""Spec of a Trigger: which event runs what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agentos_engine import fields, kind


class Signature(fields.SecretRef):
    """How a delivery proves where it comes from."""

    scheme: Annotated[str, Field(pattern=fields.SCHEME_PATTERN, examples=["stripe_t_v1", "hub_sha256"])]
    """Name of the signature's scheme."""


class Webhook(fields.Node):
    """Deliveries to an address of this trigger's own; the signature is mandatory."""

    signature: Signature
    """How its sender signs: `{scheme: …, secret: …}`."""


class ResourceEvent(fields.Node):
    """The end of a run of a resource."""

    kind: Literal["Agent", "Workflow"]
    """Kind of the resource."""
    name: fields.Name
    """Name of the resource."""
    outcome: Annotated[str, Field(min_length=1, max_length=48)] | None = None
    """`failed`, `cancelled`, or an outcome; default: any end."""


class On(fields.Node):
    """Where the event comes from: `connector` with `event`, or exactly one of the others."""

    connector: fields.Name | None = None
    """Name of a Connector that delivers events."""
    event: Annotated[str, Field(pattern=fields.EVENT_PATTERN)] | None = None
    """The event's type, as the connector's API calls it."""
    webhook: Webhook | None = None
    """A signed delivery."""
    emit: fields.Id | None = None
    """An event emitted by a run of this tenant."""
    resource: ResourceEvent | None = None
    """The end of a run."""


class Concurrency(fields.Node):
    """How many runs of one key may work at once."""

    key: Annotated[str, Field(max_length=8192)] | None = None
    """Template over `event`; default: one key for all."""
    max: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How many."""
    overlap: Literal["skip", "queue"] = "queue"
    """What an event does while as many work."""


class TriggerSpec(kind.Spec, fields.Node):
    """Runs a workflow or an agent when something happens."""

    on: On
    """The event."""
    when: fields.Expression | None = None
    """CEL over `event`; false: nothing runs."""
    dedupe: Annotated[str, Field(max_length=8192, examples=["${event.id}"])] | None = None
    """Key of an event; a key seen before runs nothing."""
    run: fields.RunTarget
    """What to run: `{workflow: name}` or `{agent: name}`."""
    concurrency: Concurrency | None = None
    """How many runs may work at once."""
