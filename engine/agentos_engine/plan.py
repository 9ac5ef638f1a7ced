"""The law of generations: what serves next, given what serves now and what the head of the sources asks for.

A generation is a map ref → `Entry`. `settle` decides the next one and touches nothing: it neither compiles, nor stores,
nor knows kinds. Its rules, which property tests hold:

- What is broken keeps its previous entry, and so does everything that needs it, directly or not (`DependencyStalled`);
  what never served is not served.
- What is kept on purpose (`Kept`) goes on as it is, with whatever it was compiled against; others may build on it.
- A removal waits while an entry that serves next still names it (`DeletionBlocked`).
- Everything else goes on. A broken user of a resource never holds that resource back: the user's kept entry goes on
  with the versions it was compiled against, which its digest pins (`Entry.deps`).

So the result is closed: an entry's dependencies all stand in the same generation, for a current entry with exactly the
digests it was compiled against. Cost is that of the refs given, not of the tenant.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Literal, Protocol

from agentos_engine import conditions
from agentos_engine.model import ResourceRef

Action = Literal["created", "changed", "deleted", "unchanged"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What serves under one ref in one generation.

    `digest` is that of the manifest, `artifact_digest` that of its artifact (of its interface, for kinds that emit
    none: see `compile.link_digest`). `deps` has every direct dependency with the `artifact_digest` it was compiled
    against.
    """

    digest: str
    artifact_digest: str
    deps: Mapping[ResourceRef, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Built:
    """Compiled and admitted at the head."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Broken:
    """Not to be had at the head, for the reason `stop`."""

    stop: conditions.Stop


@dataclass(frozen=True, slots=True)
class Kept:
    """Goes on serving as it is, whatever the head asks for, because somebody wants it so; nothing is wrong with it."""


Desired = Built | Broken | Kept


class Live(Protocol):
    """What `settle` asks of the generation that serves now, about refs it was not given."""

    def entry(self, ref: ResourceRef) -> Entry | None:
        """The entry serving under `ref`."""
        ...

    def dependants(self, ref: ResourceRef) -> Iterable[ResourceRef]:
        """The refs of serving entries that have `ref` among their `deps`."""
        ...

    def stalled(self, ref: ResourceRef) -> bool:
        """Whether what serves under `ref` is not what the head asks for (it stopped in an earlier round)."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one ref; `old` or `new` is None where nothing serves."""

    action: Action
    ref: ResourceRef
    old: Entry | None
    new: Entry | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """The next generation, as far as it was asked about.

    `next` has the entry of every given ref that serves next; `changes` one item per given ref, by kind and name;
    `stops` why a ref does not serve what the head asks for.
    """

    next: Mapping[ResourceRef, Entry]
    changes: tuple[Change, ...]
    stops: Mapping[ResourceRef, conditions.Stop]

    @property
    def effective(self) -> tuple[Change, ...]:
        """The changes that make a new generation; none, and the old one goes on."""
        return tuple(change for change in self.changes if change.action != "unchanged")


def dependency_stalled(on: Iterable[ResourceRef]) -> conditions.Stop:
    """The stop of a resource whose dependencies `on` cannot be had at the head."""
    names = ", ".join(str(ref) for ref in sorted(on))
    return conditions.Stop("Resolved", "DependencyStalled", f"needs {names}, which is stalled")


def deletion_blocked(by: Iterable[ResourceRef]) -> conditions.Stop:
    """The stop of a removed resource that `by` still need."""
    names = ", ".join(str(ref) for ref in sorted(by))
    return conditions.Stop("Applied", "DeletionBlocked", f"removed, but still needed by {names}")


def settle(live: Live, desired: Mapping[ResourceRef, Desired], removed: Set[ResourceRef]) -> Settlement:
    """Decide the next generation for the refs in `desired` and `removed`.

    `desired` has every ref that changed and everything that depends on it at the head, directly or not; a `Kept` one
    must serve. `removed` has every ref that serves but is no longer in its source, also those that waited in an earlier
    round.

    Raises:
        ValueError: a ref is given both as desired and as removed.
    """
    if not removed.isdisjoint(desired):
        raise ValueError(f"both desired and removed: {min(removed & desired.keys())}")
    stops = _stalls(live, desired, removed)
    next_: dict[ResourceRef, Entry] = {}
    for ref, outcome in desired.items():
        entry = outcome.entry if isinstance(outcome, Built) and ref not in stops else live.entry(ref)
        if entry is not None:
            next_[ref] = entry
    for ref, needed_by in _blocked_removals(live, desired, removed, next_).items():
        entry = live.entry(ref)
        if entry is not None:
            next_[ref] = entry
            stops[ref] = deletion_blocked(needed_by)
    changes = tuple(_change(ref, live.entry(ref), next_.get(ref)) for ref in sorted({*desired, *removed}))
    return Settlement(next_, changes, stops)


def _stalls(
    live: Live, desired: Mapping[ResourceRef, Desired], removed: Set[ResourceRef]
) -> dict[ResourceRef, conditions.Stop]:
    """Every ref of `desired` that does not get there, with the reason; breadth first from what is broken itself."""
    stops: dict[ResourceRef, conditions.Stop] = {}
    users: defaultdict[ResourceRef, list[ResourceRef]] = defaultdict(list)
    missing: defaultdict[ResourceRef, set[ResourceRef]] = defaultdict(set)
    for ref, outcome in desired.items():
        if isinstance(outcome, Broken):
            stops[ref] = outcome.stop
            continue
        if isinstance(outcome, Kept):
            continue
        for dep, digest in outcome.entry.deps.items():
            at_head = desired.get(dep)
            if isinstance(at_head, Kept):
                serving = live.entry(dep)
                if serving is None or serving.artifact_digest != digest:
                    missing[ref].add(dep)
                continue
            if at_head is not None:
                users[dep].append(ref)
                if isinstance(at_head, Built) and at_head.entry.artifact_digest != digest:
                    missing[ref].add(dep)
                continue
            serving = live.entry(dep)
            if serving is None or serving.artifact_digest != digest or (dep not in removed and live.stalled(dep)):
                missing[ref].add(dep)
    queue = deque(sorted([*stops, *missing]))
    while queue:
        dep = queue.popleft()
        for user in users[dep]:
            if user not in stops:
                if user not in missing:
                    queue.append(user)
                missing[user].add(dep)
    for ref, deps in missing.items():
        stops[ref] = dependency_stalled(deps)
    return stops


def _blocked_removals(
    live: Live,
    desired: Mapping[ResourceRef, Desired],
    removed: Set[ResourceRef],
    next_: Mapping[ResourceRef, Entry],
) -> dict[ResourceRef, set[ResourceRef]]:
    """The removed refs that must wait, each with who still needs it, starting from what certainly serves next."""
    blocked: defaultdict[ResourceRef, set[ResourceRef]] = defaultdict(set)
    for ref in removed:
        for user in live.dependants(ref):
            if user not in desired and user not in removed:
                blocked[ref].add(user)
    for user, entry in next_.items():
        for dep in entry.deps:
            if dep in removed:
                blocked[dep].add(user)
    queue = deque(sorted(blocked))
    while queue:
        user = queue.popleft()
        serving = live.entry(user)
        for dep in serving.deps if serving is not None else ():
            if dep in removed:
                if dep not in blocked:
                    queue.append(dep)
                blocked[dep].add(user)
    return blocked


def _change(ref: ResourceRef, old: Entry | None, new: Entry | None) -> Change:
    if new is None:
        return Change("deleted" if old is not None else "unchanged", ref, old, None)
    if old is None:
        return Change("created", ref, None, new)
    return Change("unchanged" if old == new else "changed", ref, old, new)


class Inventory:
    """A whole generation in memory, as `Live`: for working copies, tests and small tenants."""

    def __init__(self, entries: Mapping[ResourceRef, Entry] | None = None, stalled: Set[ResourceRef] = frozenset()):
        self.entries: Mapping[ResourceRef, Entry] = dict(entries or {})
        self._stalled = frozenset(stalled)
        self._users: defaultdict[ResourceRef, list[ResourceRef]] = defaultdict(list)
        for ref, entry in self.entries.items():
            for dep in entry.deps:
                self._users[dep].append(ref)

    def entry(self, ref: ResourceRef) -> Entry | None:
        return self.entries.get(ref)

    def dependants(self, ref: ResourceRef) -> Iterable[ResourceRef]:
        return self._users.get(ref, ())

    def stalled(self, ref: ResourceRef) -> bool:
        return ref in self._stalled

    def apply(self, settlement: Settlement) -> Inventory:
        """The generation after `settlement`."""
        entries = dict(self.entries)
        stalled = set(self._stalled)
        for change in settlement.changes:
            entries.pop(change.ref, None)
            stalled.discard(change.ref)
            if change.new is not None:
                entries[change.ref] = change.new
            if change.ref in settlement.stops:
                stalled.add(change.ref)
        return Inventory(entries, stalled)
