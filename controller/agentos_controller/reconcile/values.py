"""The values that travel between reading the database, building, and writing the outcome. All can be pickled.

A `Job` is everything one tenant's build may look at; a `Built` is everything it decided, in rows. Neither knows where
it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentos_controller.reconcile import holding
from agentos_controller.source import snapshot
from agentos_engine import conditions, load, plan
from agentos_engine.model import ResourceRef

Row = dict[str, Any]
FILE = "File"
"""The kind under which an included file stands among what a resource depends on."""


class Place(NamedTuple):
    """A file of a source."""

    source_id: str
    path: str


@dataclass(frozen=True, slots=True)
class Origin:
    """One source of the tenant, as this round sees it. `position` orders the sources of a tenant."""

    id: str
    name: str
    position: int
    revision: str
    ref: str | None
    author: str | None


@dataclass(frozen=True, slots=True)
class File:
    """A manifest file to look at.

    `packed` is its stored form where there is one, `parsed` the file itself where it was read already; with neither it
    is read. `fresh` tells that what was read is not stored yet, `until` until when it is left alone because reading it
    ended a worker (epoch microseconds). `changed` tells a file of this commit from one that only holds something
    affected.
    """

    place: Place
    blob_id: str
    packed: bytes | None = None
    parsed: load.File | None = None
    changed: bool = True
    fresh: bool = False
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database knows of one resource. Field names and meanings are those of the table `resource`."""

    source_id: str | None
    path: str
    line: int
    document: int
    blob_id: str | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    desired_digest: str | None
    desired_revision: str | None
    applied_digest: str | None
    artifact_digest: str | None
    applied_revision: str | None
    applied_seq: int | None
    interface: Mapping[str, Any] | None
    files: Sequence[str]
    uses: Mapping[str, str]
    definitions: Sequence[Sequence[str]]
    ready: str
    reason: str | None
    message: str | None
    conditions: tuple[conditions.Condition, ...]
    drain_until: int | None = None
    quarantine_until: int | None = None
    quarantine_blob: str | None = None
    suspended: holding.Pause | None = None

    def quarantined(self, blob_id: str | None, now: int) -> bool:
        """Whether building the content `blob_id` ended a worker, and is not tried again yet."""
        until = self.quarantine_until
        return until is not None and now < until and blob_id == self.quarantine_blob

    @property
    def entry(self) -> plan.Entry | None:
        """What serves."""
        if self.applied_digest is None or self.artifact_digest is None:
            return None
        deps = {ResourceRef.parse(name): digest for name, digest in self.uses.items()}
        return plan.Entry(self.applied_digest, self.artifact_digest, deps)

    @property
    def places(self) -> list[Place]:
        """The files that define it, as of the last look; none for one that was removed but still serves."""
        if self.definitions:
            return [Place(source_id, path) for source_id, path in self.definitions]
        return [Place(self.source_id, self.path)] if self.source_id and self.blob_id else []


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose build it is. `spec` is the compiled Tenant, `{}` where there is none."""

    id: str
    name: str
    platform: bool
    spec: Mapping[str, Any]
    active_seq: int
    standing: holding.Standing = field(default_factory=holding.Standing)


@dataclass(frozen=True, slots=True)
class Job:
    """One tenant's change.

    `files` has every file that may define one of the affected resources, `gone` the places where none is any more.
    `affected` are the refs known beforehand to be decided (None: every one stored);
    `stored` holds them and all they name, at the head and in the version that serves. `known` names further resources
    of the tenant, for hints. `policies` are the bodies of the platform's policies, `own_policies` those of the tenant's
    that serve, by name; `bodies` the stored artifacts (compressed, by digest) that policies compare with. `serving` is
    how many resources of the tenant serve and are not draining, counted only where the job may remove one; `drained`
    has those whose drain is over. `poisoned` are those that ended a worker over this very job, and how.
    """

    tenant: Tenant
    origins: Mapping[str, Origin]
    files: Sequence[File]
    gone: frozenset[Place]
    affected: frozenset[ResourceRef] | None
    stored: Mapping[ResourceRef, Stored]
    known: frozenset[ResourceRef]
    policies: Mapping[str, Mapping[str, Any]]
    own_policies: Mapping[str, Mapping[str, Any]]
    bodies: Mapping[str, bytes]
    now: int
    serving: int = 0
    drained: frozenset[ResourceRef] = frozenset()
    poisoned: Mapping[ResourceRef, str] = field(default_factory=dict)


class Parsed(NamedTuple):
    """A parsed file as it is stored under its blob; `until` when it holds (epoch microseconds; None: for good)."""

    blob_id: str
    body: bytes
    until: int | None = None


@dataclass(frozen=True, slots=True)
class PackedArtifact:
    """An artifact ready to be stored. `body` is zstd of canonical JSON, `size` that of the JSON."""

    digest: str
    type: str
    name: str
    body: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Applied:
    """One effective change of the generation, with the new artifact's body for the appliers (None: deleted)."""

    change: plan.Change
    type: str | None
    body: Mapping[str, Any] | None
    path: str
    line: int
    revision: str
    source_id: str | None


@dataclass(slots=True)
class Built:
    """Everything a build decided. Rows lack `tenant_id`; those of `resources` lack `applied_seq` where it is new."""

    fresh: bool = False
    """Whether the tenant had nothing before, so that nothing old has to be cleared away."""
    resources: list[Row] = field(default_factory=list)
    moved: set[ResourceRef] = field(default_factory=set)
    """Resources whose serving version is new in this generation: they get its number."""
    deleted: list[ResourceRef] = field(default_factory=list)
    links: dict[ResourceRef, list[tuple[str, str]]] = field(default_factory=dict)
    """Who depends on what (kind and name), only for those whose links changed."""
    labels: dict[ResourceRef, Mapping[str, str]] = field(default_factory=dict)
    """Only of those whose labels changed."""
    applied: list[Applied] = field(default_factory=list)
    artifacts: list[PackedArtifact] = field(default_factory=list)
    parsed: list[Parsed] = field(default_factory=list)
    diagnostics: list[Row] = field(default_factory=list)
    judged: set[ResourceRef] = field(default_factory=set)
    """Resources whose former diagnostics are replaced."""
    reviewed: set[Place] = field(default_factory=set)
    """Files all of whose former diagnostics are replaced."""
    events: list[Row] = field(default_factory=list)
    changes: list[Row] = field(default_factory=list)
    asked: holding.Asked | None = None
    """The removal that waits for an approval."""
    names_tenants: bool = False
    """Whether there is a Tenant among what was judged: a manifest of one, or one that serves on without."""
    texts: dict[Place, str] = field(default_factory=dict)
    """Blob ids of the included files that were looked up."""
    counters: snapshot.Counters = field(default_factory=snapshot.Counters)
