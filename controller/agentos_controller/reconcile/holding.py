"""What of a round may be applied, what waits and why: the one place that knows holds, suspensions, guards and drains.

Pure: a tenant's `Standing` and what its round found in, a `Decision` out. Rows, audit and waking up are the business of
`standing`, `orders` and `expiry`. The rules:

- A tenant that is held or suspended stays as it is; what its sources ask for is shown as waiting.
- A suspended resource keeps what serves, whatever its sources ask for; others are compiled against that.
- Of what is gone from the sources, an orphan goes on serving, a drain waits for the runs in flight, the rest goes.
- A round that would remove too much removes nothing, until a person approves exactly that removal. Everything else of
  the round is applied. A Tenant is removed without asking only where its manifest said so.
- Every hold and suspension ends: by a person, or by itself where it says until when.

`tests/property/test_holding.py` takes every order of events of small worlds through these functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from agentos_controller import clock
from agentos_engine import artifacts, conditions, literals, model, plan
from agentos_engine.model import ResourceRef

SHOWN = 20
"""Of what a guard asks about, so many are named."""
RUNNABLE = ("Agent", "Workflow")
"""The kinds that runs run; of others nothing is in flight."""
DRAIN_MS = 3_600_000
"""How long a drain waits at most where its manifest does not say."""

Deletion = Literal["delete", "orphan", "drain"]


@dataclass(frozen=True, slots=True)
class Pause:
    """That somebody stopped something: who, why, and until when (epoch microseconds; None: until somebody ends it)."""

    by: str
    reason: str | None = None
    until: int | None = None

    def __str__(self) -> str:
        until = f" until {clock.rfc3339(self.until)}" if self.until is not None else ""
        return f"by {self.by}{until}" + (f": {self.reason}" if self.reason else "")

    def over(self, now: int) -> bool:
        """Whether it ends by itself now."""
        return self.until is not None and self.until <= now


@dataclass(frozen=True, slots=True)
class Guard:
    """How much one round may remove before a person is asked. The words are those of `spec.prune` of a Tenant."""

    max_share: float = 0.5
    max_count: int | None = None
    min_count: int = 3

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Guard:
        """The guard that a compiled Tenant asks for."""
        given = spec.get("prune") or {}
        names = {"maxShare": "max_share", "maxCount": "max_count", "minCount": "min_count"}
        return cls(**{names[key]: value for key, value in given.items() if key in names})

    def asks(self, leaving: int, total: int, left: int) -> bool:
        """Whether removing `leaving` of `total` needs approval; `left` serve afterwards."""
        if leaving == 0:
            return False
        if left == 0:
            return True
        if leaving < self.min_count:
            return False
        return leaving > self.max_share * total or (self.max_count is not None and leaving > self.max_count)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a guard asks about: `count` of `total` that serve would go, the first of them by name."""

    digest: str
    count: int
    total: int
    refs: tuple[str, ...]

    @classmethod
    def about(cls, leaving: Iterable[ResourceRef], total: int) -> Asked:
        names = sorted(map(str, leaving))
        return cls(artifacts.digest_of(names), len(names), total, tuple(names[:SHOWN]))

    def as_json(self) -> dict[str, Any]:
        """As it is stored, without since when it is asked."""
        return {"digest": self.digest, "count": self.count, "total": self.total, "refs": list(self.refs)}


def command(tenant: str, digest: str) -> str:
    """What a person types to approve a removal."""
    return f"agentos approve-prune -t {tenant} --digest {digest}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What people decided about a tenant, as of a moment.

    `approved` is the digest of a removal that a person agreed to, `orphans` that its orphans shall go. A tenant that is
    `ending` goes with everything it has: that was decided above it. `guard` None asks about nothing.
    """

    hold: Pause | None = None
    suspended: Pause | None = None
    guard: Guard | None = Guard()
    approved: str | None = None
    orphans: bool = False
    ending: bool = False

    def still(self) -> conditions.Stop | None:
        """Why nothing may change in the tenant, if anything keeps it."""
        if self.ending:
            return None
        if self.hold is not None:
            return conditions.Stop("Applied", "Held", "a rollback holds the tenant")
        if self.suspended is not None:
            return conditions.Stop("Applied", "Suspended", f"the tenant is suspended {self.suspended}")
        return None

    def free(self) -> Standing:
        """The standing of the same tenant if nobody had stopped anything: what a plan is made for."""
        return replace(self, hold=None, suspended=None, guard=None)


def approve(asked: str | None, digest: str, standing: Standing) -> Standing:
    """The standing once a person approved the removal `digest`, the guard asking about `asked` now.

    Raises:
        ValueError: that is not what is asked, in words for whoever approved.
    """
    if asked is None:
        raise ValueError("nothing waits for an approval")
    if asked != digest:
        raise ValueError("what would be removed has changed since it was shown: look at it again")
    return replace(standing, approved=digest)


@dataclass(frozen=True, slots=True)
class Gone:
    """A resource that serves and is in no source any more.

    `annotations` are the last it had in git. `drain_until` is when its drain ends at the latest (None: none has begun),
    `drained` that no run of it is in flight, or that the time is over.
    """

    annotations: Mapping[str, str] = field(default_factory=dict)
    drain_until: int | None = None
    drained: bool = False

    @property
    def deletion(self) -> Deletion:
        return self.annotations.get(model.DELETION, "delete")  # type: ignore[return-value]

    @property
    def drain_us(self) -> int:
        """How long its drain may take, in microseconds."""
        given = self.annotations.get(model.DRAIN_DEADLINE)
        return (literals.duration_ms(given) if given is not None else DRAIN_MS) * 1_000


@dataclass(frozen=True, slots=True)
class Wants:
    """What a round found. `total` is how many resources of the tenant serve and are not draining.

    `desired` has what the sources ask for, `gone` what serves without being asked for, `suspended` the resources that
    somebody suspended, of both.
    """

    desired: Mapping[ResourceRef, plan.Desired]
    gone: Mapping[ResourceRef, Gone]
    suspended: Mapping[ResourceRef, Pause]
    total: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What a round may do.

    `changes` are to be applied; none where the tenant stays as it is. `stops` says of each resource why it does not get
    where its sources want it, `notes` why one is kept on purpose. `draining` has those that take no new runs, with the
    moment (epoch microseconds) at which they go at the latest. `asked` is what a person has to approve first.
    """

    changes: Mapping[ResourceRef, plan.Change]
    stops: Mapping[ResourceRef, conditions.Stop]
    notes: Mapping[ResourceRef, conditions.Note] = field(default_factory=dict)
    draining: Mapping[ResourceRef, int] = field(default_factory=dict)
    asked: Asked | None = None


def keeps(suspended: Pause | None, gone: Gone | None, standing: Standing) -> bool:
    """Whether a resource that serves stays as it is on purpose, so that others may be compiled against it."""
    if standing.ending:
        return False
    return suspended is not None or (gone is not None and gone.deletion == "orphan" and not standing.orphans)


def decide(live: plan.Live, wants: Wants, standing: Standing, now: int) -> Decision:
    """What of `wants` may be applied to `live` at `now` (epoch microseconds)."""
    if standing.ending:
        settled = plan.settle(live, wants.desired, wants.gone.keys())
        return Decision({change.ref: change for change in settled.changes}, settled.stops)
    found = _Found(live, wants, standing, now)
    settled = plan.settle(live, found.desired, found.leaving)
    still = standing.still()
    if still is not None:
        return _waiting(settled, found, still)
    draining = {**found.draining, **found.beginning}
    leaving = _newly(settled, wants, found)
    asked = _asked(leaving, settled, wants, found, standing)
    if asked is not None:
        desired = {**found.desired, **dict.fromkeys(leaving, plan.Broken(guarded(asked)))}
        settled = plan.settle(live, desired, found.leaving - leaving)
        draining = {ref: until for ref, until in draining.items() if ref not in leaving}
    changes = {change.ref: change for change in settled.changes}
    return Decision(changes, {**settled.stops, **found.stops}, found.notes, draining, asked)


def guarded(asked: Asked) -> conditions.Stop:
    """The stop of a resource whose removal waits for an approval."""
    text = f"removed, but {asked.count} of {asked.total} would go at once: that waits for `agentos approve-prune`"
    return conditions.Stop("Applied", "PruneGuarded", text)


class _Found:
    """What a round found, by what may happen to it; `desired` and `leaving` as `plan.settle` takes them."""

    def __init__(self, live: plan.Live, wants: Wants, standing: Standing, now: int) -> None:
        self.desired: dict[ResourceRef, plan.Desired] = {}
        self.leaving: set[ResourceRef] = set()
        self.draining: dict[ResourceRef, int] = {}
        """Whose drain has begun in an earlier round."""
        self.beginning: dict[ResourceRef, int] = {}
        """Whose drain may begin in this one."""
        self.stops: dict[ResourceRef, conditions.Stop] = {}
        """How far the head of what is kept on purpose came."""
        self.notes: dict[ResourceRef, conditions.Note] = {}
        for ref, desired in wants.desired.items():
            self.desired[ref] = desired
            if ref in wants.suspended:
                self._suspended(ref, live.entry(ref), desired, wants.suspended[ref])
        for ref, gone in wants.gone.items():
            if gone.drain_until is not None and gone.deletion == "drain":
                self.draining[ref] = gone.drain_until
            if ref in wants.suspended:
                self._suspended(ref, live.entry(ref), None, wants.suspended[ref])
            elif keeps(None, gone, standing):
                self.desired[ref] = plan.Kept()
                text = "gone from its source; it serves until `agentos approve-prune --orphans`"
                self.notes[ref] = conditions.Note("Orphaned", text, "True")
            elif gone.deletion == "drain" and ref.kind in RUNNABLE and not (gone.drain_until and gone.drained):
                self._drain(ref, gone, now)
            else:
                self.leaving.add(ref)

    def _suspended(
        self, ref: ResourceRef, serving: plan.Entry | None, desired: plan.Desired | None, pause: Pause
    ) -> None:
        why = f"suspended {pause}"
        waits = conditions.Stop("Applied", "Suspended", why)
        if serving is None:
            self.desired[ref] = desired if isinstance(desired, plan.Broken) else plan.Broken(waits)
            return
        self.desired[ref] = plan.Kept()
        self.notes[ref] = conditions.Note("Suspended", why)
        if isinstance(desired, plan.Broken):
            self.stops[ref] = desired.stop
        elif desired is None:
            self.stops[ref] = replace(waits, message=f"its removal waits: {why}")
        elif isinstance(desired, plan.Built) and desired.entry != serving:
            self.stops[ref] = replace(waits, message=f"this version waits: {why}")

    def _drain(self, ref: ResourceRef, gone: Gone, now: int) -> None:
        until = gone.drain_until
        if until is None:
            until = self.beginning[ref] = now + gone.drain_us
        text = "removed; it takes no new runs, and goes when those in flight have ended, at the latest at "
        text += clock.rfc3339(until)
        self.desired[ref] = plan.Broken(conditions.Stop("Applied", "Draining", text, stalled=False))


def _waiting(settled: plan.Settlement, found: _Found, still: conditions.Stop) -> Decision:
    """Nothing changes: what would is shown as waiting. A drain that has begun does not end, and no other begins."""
    stops = {**settled.stops, **found.stops}
    for change in settled.changes:
        begins = change.ref in found.beginning
        if begins or (change.ref not in stops and change.action != "unchanged"):
            what = "its removal" if begins or change.new is None else "this version"
            stops[change.ref] = replace(still, message=f"{what} waits: {still.message}")
    return Decision({}, stops, found.notes, found.draining)


def _newly(settled: plan.Settlement, wants: Wants, found: _Found) -> set[ResourceRef]:
    """What this round would take from service unasked: not what drains already, nor orphans that somebody gave up."""
    deleted = {change.ref for change in settled.changes if change.action == "deleted"}
    agreed = {ref for ref in deleted if ref in found.draining or wants.gone[ref].deletion == "orphan"}
    return (deleted - agreed) | found.beginning.keys()


def _asked(
    leaving: set[ResourceRef], settled: plan.Settlement, wants: Wants, found: _Found, standing: Standing
) -> Asked | None:
    """What has to be approved before `leaving` may go."""
    if standing.guard is None or not leaving:
        return None
    created = {change.ref for change in settled.changes if change.action == "created"}
    going = {change.ref for change in settled.changes if change.action == "deleted"} - found.draining.keys()
    left = wants.total + len(created) - len(going | found.beginning.keys())
    tenants = any(
        ref.kind == "Tenant" and wants.gone[ref].annotations.get(model.DELETION) != "delete" for ref in leaving
    )
    if not tenants and not standing.guard.asks(len(leaving), wants.total, left):
        return None
    asked = Asked.about(leaving, wants.total)
    return None if asked.digest == standing.approved else asked


def earliest(moments: Iterable[int | None]) -> int | None:
    """The first of some moments, those that never come left out."""
    return min((moment for moment in moments if moment is not None), default=None)
