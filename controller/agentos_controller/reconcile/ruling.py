"""Which revision each source may serve now: what the repository has, what serves, and what the source's rules say.

The rules themselves are `source.gate`'s; here is where they are asked, once per look and source. A working copy is not
asked about: whoever can write to it decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agentos_controller.reconcile import estate, repositories
from agentos_controller.source import gate, git, history, signatures
from agentos_engine import errors


@dataclass(frozen=True, slots=True)
class Ruling:
    """`revision` is to serve (None: nothing can yet), `stop` why it is not the one that was `observed`."""

    observed: str | None
    revision: str | None
    stop: errors.Handled | None = None
    rewritten: bool = False


class Rulings:
    """Asks the gate for one source after the other; remembers what cannot change."""

    def __init__(self, known: repositories.Repositories) -> None:
        self.known = known
        self._memory = history.Memory()

    def rule(self, source: estate.Source, alike: dict[Any, Ruling] | None = None) -> Ruling:
        """The ruling on `source` as its repository was last seen.

        `alike` is for many sources at one moment: those that ask for the same are ruled on once.
        """
        spec = source.spec
        if alike is None or source.address is None or "verify" in spec:
            return self._rule(source)
        asked = (source.address, source.head, source.accepted, spec.get("history"), spec.get("mergedInto"))
        if asked not in alike:
            alike[asked] = self._rule(source)
        return alike[asked]

    def _rule(self, source: estate.Source) -> Ruling:
        if source.address is None:
            return Ruling(None, source.head, source.error)
        watched = self.known.get(source.address)
        if watched.head is None or watched.error is not None:
            return Ruling(watched.head or source.observed, source.head, watched.error)
        if watched.repository is None or watched.copy is not None:
            return Ruling(watched.head, watched.head)
        try:
            decision = self._decide(source, watched.repository, watched.head)
        except errors.Handled as refused:
            return Ruling(watched.head, source.head, refused)
        stop = errors.Stall(decision.stop.code, decision.stop.message) if decision.stop is not None else None
        return Ruling(watched.head, decision.revision, stop, decision.rewritten)

    def _decide(self, source: estate.Source, repository: git.Repository, observed: str) -> gate.Decision:
        spec = source.spec
        branch = spec.get("mergedInto")
        policy = gate.policy(spec, repository.resolve(branch) if branch else None)
        trust = signatures.trust(spec["verify"]) if policy.verify else None
        seen = history.RepositoryHistory(repository, source.path, trust, self._memory)
        return gate.decide(seen, policy, observed, source.head, source.accepted)
