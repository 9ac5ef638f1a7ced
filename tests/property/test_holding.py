"""Every order of events, of any length, in two small worlds: what a hold, a suspension, a guard and a drain promise.

A world is a tenant of four resources, its head in git, what serves, and what people decided. Events are pushes, what
people order, what ends by itself, and rounds; a round sees whatever happened since the one before, so a push between
asking and approving, or between an order and its round, is one of the orders. States are told apart by what is in
them, and every state that can be reached is visited; from each, every event is tried. Only the decisions are taken by
the product (`holding`, `plan.settle`): what surrounds them is told here in the words of `orders`, `rollback` and
`expiry`, whose integration tests hold them to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pytest

from agentos_controller.reconcile import holding
from agentos_engine import artifacts, conditions, model, plan
from agentos_engine.model import ResourceRef

NOW, LATER = 1_000, 2_000
A, B, C = (ResourceRef("Model", name) for name in "abc")
W = ResourceRef("Agent", "w")
"""Needs A."""
Head = frozenset[tuple[ResourceRef, int]]
Content = Mapping[ResourceRef, plan.Entry]
BROKEN = conditions.Stop("Resolved", "UnknownReference", "")


def head(**versions: int) -> Head:
    refs = {"a": A, "b": B, "c": C, "w": W}
    return frozenset((refs[name], version) for name, version in versions.items())


FULL = head(a=1, b=1, c=1, w=1)
PUSHES = {
    "push A": head(a=2, b=1, c=1, w=1),
    "push B": head(a=1, b=2, w=1),  # and removes one
    "push that removes most": head(a=1),
    "push that removes most but another": head(b=1),
    "push that empties": head(),
    "push that restores": FULL,
}


class State(NamedTuple):
    """Where a world is. `frozen` is the head at which its source is suspended; `shown` what a person saw asked last."""

    head: Head
    live: tuple[tuple[ResourceRef, str, str, tuple[tuple[ResourceRef, str], ...]], ...]
    standing: holding.Standing = holding.Standing()
    resources: tuple[tuple[ResourceRef, holding.Pause], ...] = ()
    frozen: tuple[Head, holding.Pause] | None = None
    asked: holding.Asked | None = None
    shown: str | None = None
    draining: tuple[tuple[ResourceRef, int], ...] = ()
    flying: bool = False
    deadline: bool = False
    """Whether the time of every drain is over."""

    @property
    def content(self) -> dict[ResourceRef, plan.Entry]:
        return {ref: plan.Entry(digest, artifact, dict(deps)) for ref, digest, artifact, deps in self.live}

    @property
    def looked_at(self) -> Head:
        return self.frozen[0] if self.frozen is not None else self.head

    def serving(self, content: Content) -> State:
        live = sorted(
            (ref, one.digest, one.artifact_digest, tuple(sorted(one.deps.items()))) for ref, one in content.items()
        )
        return self._replace(live=tuple(live))


@dataclass(frozen=True)
class World:
    """What of a world never changes: the annotations of its resources; and what came of each round so far."""

    annotations: Mapping[ResourceRef, Mapping[str, str]]
    rounds: dict[State, State] = field(default_factory=dict)

    def gone(self, state: State, ref: ResourceRef) -> holding.Gone:
        until = dict(state.draining).get(ref)
        drained = until is not None and (state.deadline or not (state.flying and ref == W))
        return holding.Gone(self.annotations.get(ref, {}), until, drained)

    def wants(self, state: State) -> holding.Wants:
        """What a round finds: as `build` does, with the head compiled against what is kept on purpose."""
        live, now = state.content, dict(state.looked_at)
        suspended = dict(state.resources)
        linked: dict[ResourceRef, str] = {ref: f"artifact {ref} {version}" for ref, version in now.items()}
        for ref, entry in live.items():
            gone = None if ref in now else self.gone(state, ref)
            if holding.keeps(suspended.get(ref), gone, state.standing):
                linked[ref] = entry.artifact_digest
        desired: dict[ResourceRef, plan.Desired] = {}
        for ref, version in now.items():
            needs = {A} if ref == W else set()
            if needs <= linked.keys():
                pins = {dep: linked[dep] for dep in needs}
                desired[ref] = plan.Built(
                    plan.Entry(
                        f"{ref} {version}",
                        f"artifact {ref} {version} {pins}" if pins else f"artifact {ref} {version}",
                        pins,
                    )
                )
            else:
                desired[ref] = plan.Broken(BROKEN)
        missing = {ref: self.gone(state, ref) for ref in live if ref not in now}
        total = sum(1 for ref in live if ref not in dict(state.draining))
        return holding.Wants(desired, missing, suspended, total)

    def round(self, state: State) -> State:
        # Neither what somebody saw nor what was asked before has a say in it.
        key = state._replace(shown=None, asked=None)
        if key not in self.rounds:
            self.rounds[key] = self._round(key)
        return self.rounds[key]._replace(shown=state.shown)

    def _round(self, state: State) -> State:
        decision = holding.decide(plan.Inventory(state.content), self.wants(state), state.standing, NOW)
        content = dict(state.content)
        for ref, change in decision.changes.items():
            content.pop(ref, None)
            if change.new is not None:
                content[ref] = change.new
        after = state.serving(content)
        draining = tuple(sorted((ref, until) for ref, until in decision.draining.items() if ref in content))
        standing = replace(state.standing, approved=None, orphans=False)
        return after._replace(standing=standing, asked=decision.asked, draining=draining)

    def from_scratch(self, head_: Head) -> Content:
        """What a new tenant would serve at `head_`."""
        return self.round(State(head_, ())).content


def start(world: World) -> State:
    return State(FULL, ()).serving(world.from_scratch(FULL))


Event = Callable[[World, State], State | None]
"""What happens; None where it cannot happen, or is refused."""


def push(to: Head) -> Event:
    return lambda _world, state: state._replace(head=to)


def round_(world: World, state: State) -> State:
    return world.round(state)


def rollback(until: int | None) -> Event:
    def event(world: World, state: State) -> State | None:
        first = world.from_scratch(FULL)
        if any(first.get(ref) != state.content.get(ref) for ref, _pause in state.resources):
            return None
        hold = holding.Pause("ada", until=until)
        standing = replace(state.standing, hold=hold, approved=None, orphans=False)
        return state.serving(first)._replace(standing=standing, asked=None, draining=())

    return event


def release(_world: World, state: State) -> State | None:
    return None if state.standing.hold is None else state._replace(standing=replace(state.standing, hold=None))


def suspend_tenant(_world: World, state: State) -> State:
    return state._replace(standing=replace(state.standing, suspended=holding.Pause("ada", until=LATER)))


def resume_tenant(_world: World, state: State) -> State | None:
    if state.standing.suspended is None:
        return None
    return state._replace(standing=replace(state.standing, suspended=None))


def suspend_source(_world: World, state: State) -> State:
    return state._replace(frozen=(state.looked_at, holding.Pause("ada", until=LATER)))


def resume_source(_world: World, state: State) -> State | None:
    return None if state.frozen is None else state._replace(frozen=None)


def suspend(ref: ResourceRef) -> Event:
    def event(_world: World, state: State) -> State | None:
        if ref not in dict(state.looked_at) and ref not in state.content:
            return None
        return state._replace(resources=((ref, holding.Pause("ada", until=LATER)),))

    return event


def resume(ref: ResourceRef) -> Event:
    def event(_world: World, state: State) -> State | None:
        left = tuple(one for one in state.resources if one[0] != ref)
        return None if left == state.resources else state._replace(resources=left)

    return event


def expire(what: str) -> Event:
    """The time comes at which `what` ends; what says no time goes on."""

    def event(world: World, state: State) -> State | None:
        if what == "drain":
            return state._replace(deadline=True) if state.draining else None
        pauses: dict[str, tuple[holding.Pause | None, Event]] = {
            "hold": (state.standing.hold, release),
            "tenant": (state.standing.suspended, resume_tenant),
            "source": (state.frozen[1] if state.frozen else None, resume_source),
            "resource": (state.resources[0][1], resume(state.resources[0][0])) if state.resources else (None, release),
        }
        pause, ends = pauses[what]
        return ends(world, state) if pause is not None and pause.over(LATER) else None

    return event


def look(_world: World, state: State) -> State | None:
    return None if state.asked is None else state._replace(shown=state.asked.digest)


def approve(_world: World, state: State) -> State | None:
    """Approve what was shown, which may be what is asked now, or not any more."""
    if state.shown is None or state.standing.still() is not None:
        return None
    asked = state.asked.digest if state.asked is not None else None
    try:
        return state._replace(standing=holding.approve(asked, state.shown, state.standing))
    except ValueError:
        assert asked != state.shown
        return None


def give_up_orphans(_world: World, state: State) -> State | None:
    return (
        None if state.standing.still() is not None else state._replace(standing=replace(state.standing, orphans=True))
    )


COMMON: Mapping[str, Event] = {
    "round": round_,
    "rollback": rollback(None),
    "rollback for a while": rollback(LATER),
    "release": release,
    "hold expires": expire("hold"),
    "suspend tenant": suspend_tenant,
    "resume tenant": resume_tenant,
    "suspension of tenant expires": expire("tenant"),
    "look": look,
    "approve": approve,
}
GUARDED: Mapping[str, Event] = {
    **COMMON,
    **{name: push(to) for name, to in PUSHES.items()},
    "suspend source": suspend_source,
    "resume source": resume_source,
    "suspension of source expires": expire("source"),
    "suspend A": suspend(A),
    "resume A": resume(A),
    "suspension of A expires": expire("resource"),
}
LEAVING: Mapping[str, Event] = {
    **COMMON,
    **{name: push(PUSHES[name]) for name in ("push A", "push that removes most but another", "push that restores")},
    "push that empties": push(head()),
    "push without the agent": push(head(a=1, b=1, c=1)),
    "push without the orphan": push(head(b=1, c=1, w=1)),
    "suspend W": suspend(W),
    "resume W": resume(W),
    "suspension of W expires": expire("resource"),
    "a run begins": lambda _world, state: None if W in dict(state.draining) else state._replace(flying=True),
    "the run ends": lambda _world, state: state._replace(flying=False),
    "the drain's time is over": expire("drain"),
    "give up orphans": give_up_orphans,
}
WORLDS: Mapping[str, tuple[World, Mapping[str, Event]]] = {
    "guarded": (World({}), GUARDED),
    "leaving": (World({A: {model.DELETION: "orphan"}, W: {model.DELETION: "drain"}}), LEAVING),
}


def unasked(world: World, before: State, after: State) -> set[ResourceRef]:
    """What a round removed that no earlier one let go, and nobody gave up."""
    removed = before.content.keys() - after.content.keys()
    orphans = {ref for ref, given in world.annotations.items() if given.get(model.DELETION) == "orphan"}
    return removed - dict(before.draining).keys() - orphans


def too_much(removed: set[ResourceRef], before: State, after: State) -> bool:
    """The guard's rule in other words: three or more that are over a half, or all there is."""
    total = len(before.content.keys() - dict(before.draining).keys())
    return bool(removed) and ((len(removed) >= 3 and 2 * len(removed) > total) or not after.content)


def check(world: World, name: str, before: State, after: State) -> None:
    """What must hold of one step."""
    if name not in ("round", "rollback", "rollback for a while"):
        assert before.live == after.live, "only a round or a rollback changes what serves"
        return
    old, new = before.content, after.content
    for ref, _pause in before.resources:
        assert old.get(ref) == new.get(ref) or ref not in old, "what is suspended never changes"
    for ref, entry in new.items():
        assert all(dep in new for dep in entry.deps), f"{ref} serves without what it needs"
    if name != "round":
        return
    if before.standing.hold is not None or before.standing.suspended is not None:
        assert old == new, "what is held or suspended never changes by itself"
        assert after.asked is None
    if before.frozen is not None:
        served = {f"{ref} {version}" for ref, version in before.frozen[0]}
        assert all(entry.digest in served for ref, entry in new.items() if old.get(ref) != entry)
    removed = old.keys() - new.keys()
    if too_much(own := unasked(world, before, after), before, after):
        assert before.standing.approved == holding.Asked.about(own, 0).digest, (
            "removed too much without an approval of exactly that"
        )
    assert after.standing.approved is None, "an approval is for one round"
    assert W not in removed or world.annotations.get(W) is None or not before.flying or before.deadline
    for ref, given in world.annotations.items():
        if given[model.DELETION] == "orphan" and ref in removed:
            assert before.standing.orphans


def let_go(world: World, state: State) -> State:
    """Everything that keeps the world from its head ends; what is asked is approved.

    What is broken at the head would keep its last good version, so a head that is not whole is mended first.
    """
    if dict(state.head).keys() >= {W} and A not in dict(state.head):
        state = state._replace(head=FULL)
    state = state._replace(resources=(), frozen=None, flying=False)
    state = state._replace(standing=replace(state.standing, hold=None, suspended=None, approved=None))
    for _ in range(4):
        state = world.round(state._replace(standing=replace(state.standing, orphans=True)))
        if state.asked is not None:
            state = state._replace(standing=holding.approve(state.asked.digest, state.asked.digest, state.standing))
            state = round_(world, state)
    return state


def reachable(world: World, events: Mapping[str, Event]) -> Iterator[tuple[State, str, State]]:
    """Every step there is, breadth first."""
    first = start(world)
    seen = {first}
    waiting = deque([first])
    while waiting:
        state = waiting.popleft()
        for name, event in events.items():
            after = event(world, state)
            if after is None:
                continue
            yield state, name, after
            if after not in seen:
                seen.add(after)
                waiting.append(after)


@pytest.mark.parametrize("which", WORLDS)
def test_every_order_of_events_keeps_what_was_promised(which: str) -> None:
    world, events = WORLDS[which]
    happened: set[str] = set()
    ends: set[Any] = set()
    for before, name, after in reachable(world, events):
        check(world, name, before, after)
        happened.add(name)
        key = (after.head, after.live, after.draining)
        if key not in ends:
            # No state without a way out, and it leads to what a new tenant would serve at the newest head.
            ended = let_go(world, after)
            assert ended.content == world.from_scratch(ended.head), (after, ended)
            assert ended.asked is None
            ends.add(key)
    assert happened == events.keys()


def test_what_is_asked_names_exactly_what_would_go() -> None:
    asked = holding.Asked.about([C, A, B], 4)
    assert asked.refs == ("Model/a", "Model/b", "Model/c")
    assert asked.digest == artifacts.digest_of(["Model/a", "Model/b", "Model/c"])
    assert asked.digest != holding.Asked.about([A, B], 4).digest
    many = holding.Asked.about([ResourceRef("Model", f"m{n}") for n in range(50)], 60)
    assert (many.count, len(many.refs)) == (50, holding.SHOWN)


@pytest.mark.parametrize(
    ("guard", "leaving", "total", "left", "asks"),
    [
        (holding.Guard(), 0, 0, 0, False),
        (holding.Guard(), 1, 1, 0, True),
        (holding.Guard(), 2, 3, 1, False),
        (holding.Guard(), 3, 6, 3, False),
        (holding.Guard(), 3, 5, 2, True),
        (holding.Guard(), 3, 3, 3, True),
        (holding.Guard(max_count=2), 3, 100, 97, True),
        (holding.Guard(max_share=1.0), 9, 10, 1, False),
        (holding.Guard(max_share=0.0, min_count=0), 1, 100, 99, True),
    ],
)
def test_how_much_is_much(guard: holding.Guard, leaving: int, total: int, left: int, asks: bool) -> None:
    assert guard.asks(leaving, total, left) is asks
