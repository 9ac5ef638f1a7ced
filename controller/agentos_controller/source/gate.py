"""Which revision of a source may serve: signatures, proof of merge, and how history may move.

A pure decision over what git says; nothing is remembered but what serves and what a person let in, so a reconcile from
nothing comes to the same. What serves is never taken down by it: a revision that may not serve holds back, and says
why. Content is not looked at, and refs are resolved elsewhere.

The *line* of a commit is the commit, its first parent, that one's first parent, and so on: what was merged into a
branch, one entry a merge, as long as everybody merges into it and not the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from agentos_controller.source import signatures
from agentos_engine import errors

CODES: Final = frozenset({"CommitUnsigned", "SignatureInvalid", "SignerUnknown", "NotMerged", "HistoryRewritten"})
"""Reasons for which a revision that can be read may not serve."""
MAX_HELD: Final = 1_000
"""How far below an unverified head a verified commit is looked for."""
MAX_LINE: Final = 10_000
"""How far any line is followed; what lies beyond counts as not there, so the answer is to hold."""


class History(Protocol):
    """What is asked of a repository, for one source of it. Revisions are full commit ids."""

    def exists(self, revision: str) -> bool: ...

    def parents(self, revision: str) -> Sequence[str]:
        """First parent first; none of a root, and none beyond where a shallow history is cut."""
        ...

    def descends(self, newer: str, older: str) -> bool:
        """Whether `older` is `newer` or an ancestor of it. Both exist."""
        ...

    def touches(self, revision: str, patterns: tuple[str, ...]) -> bool:
        """Whether it changes a guarded file below the source's path, compared with its first parent; a root changes
        what it contains. Without `patterns` every file is guarded."""
        ...

    def verdict(self, revision: str) -> signatures.Verdict: ...


@dataclass(frozen=True, slots=True)
class Policy:
    """What a source's spec asks for. `merged_into` is the tip of the branch named there, resolved."""

    verify: bool = False
    paths: tuple[str, ...] = ()
    history: Literal["any", "forward", "mainline"] = "any"
    merged_into: str | None = None


def policy(source: Mapping[str, Any], merged_into: str | None = None) -> Policy:
    """From a source as a Tenant's artifact holds it; `merged_into` is the tip of its `mergedInto`.

    Raises:
        errors.Stall: ``SourceInvalid``, `verify.paths` guards nothing.
    """
    verify = source.get("verify")
    patterns = tuple(verify.get("paths", ())) if verify is not None else ()
    if patterns and all(not pattern.strip() or pattern.startswith(("#", "!")) for pattern in patterns):
        message = "verify.paths guards nothing: it has only comments and patterns that begin with `!`"
        raise errors.Stall("SourceInvalid", message)
    return Policy(verify is not None, patterns, source.get("history", "any"), merged_into)


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the observed revision does not serve: a registered reason and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """`revision` is to serve; None: there is nothing that may. `stop` None: it is the observed one.

    `rewritten`: what served so far is no ancestor of `revision`, so the ref was moved by force.
    """

    revision: str | None
    stop: Stop | None = None
    rewritten: bool = False


def decide(
    history: History, policy: Policy, observed: str, serving: str | None = None, accepted: str | None = None
) -> Decision:
    """What is to serve, now that the ref names `observed`.

    `serving` is what serves, if anything does; it need not exist in the repository any more. `accepted` is a revision
    that a person let in although history was rewritten; it overrules nothing else.
    """
    candidate, stop = _verified(history, policy, observed)
    if candidate is None:
        return Decision(serving, stop)
    if candidate != observed and serving is not None and not _ahead(history, candidate, observed, serving):
        return Decision(serving, stop)
    if policy.merged_into is not None and not _on_line(history, policy.merged_into, candidate):
        return Decision(serving, stop or _not_merged(candidate, policy.merged_into))
    if serving is None or serving == candidate:
        return Decision(candidate, stop)
    if accepted != observed and not _follows(history, policy, candidate, serving):
        return Decision(serving, stop or _rewritten(history, policy, observed, serving))
    return Decision(candidate, stop, rewritten=not _descends(history, candidate, serving))


def _verified(history: History, policy: Policy, observed: str) -> tuple[str | None, Stop | None]:
    """The newest acceptable commit on the line of `observed`; and if it is another, why.

    A commit is acceptable if the newest commit on its line that touches what is guarded is verified, or if there is
    none: a signature vouches for all that it leaves behind. So one walk finds it: just below an unverified one that
    touches something, if what next touches something is verified.
    """
    if not policy.verify:
        return observed, None
    newest: str | None = None
    stop: Stop | None = None
    for steps, revision in enumerate(_line(history, observed)):
        newest = newest or revision
        if steps >= MAX_LINE or (newest == revision and steps > MAX_HELD and stop is not None):
            return None, _too_far(observed, stop, steps)
        if not history.touches(revision, policy.paths):
            continue
        match history.verdict(revision):
            case signatures.Verified():
                return newest, stop
            case signatures.Refused(code, message):
                stop = stop or Stop(code, _held(observed, revision, message))
                newest = None
    return newest, stop


def _ahead(history: History, candidate: str, observed: str, serving: str) -> bool:
    """Whether a commit below the observed one brings something new, and the observed one goes on from what serves."""
    if not history.exists(serving):
        return False
    return history.descends(observed, serving) and not history.descends(serving, candidate)


def _follows(history: History, policy: Policy, candidate: str, serving: str) -> bool:
    if policy.history == "any":
        return True
    if policy.history == "mainline":
        return _on_line(history, candidate, serving)
    return _descends(history, candidate, serving)


def _descends(history: History, newer: str, older: str) -> bool:
    return history.exists(older) and history.descends(newer, older)


def _line(history: History, revision: str) -> Iterator[str]:
    """`revision` and its first parents, as far as the repository has them."""
    following: str | None = revision
    while following is not None:
        yield following
        first = next(iter(history.parents(following)), None)
        following = first if first is not None and history.exists(first) else None


def _on_line(history: History, tip: str, wanted: str) -> bool:
    for steps, revision in enumerate(_line(history, tip)):
        if revision == wanted:
            return True
        if steps >= MAX_LINE:
            break
    return False


def _short(revision: str) -> str:
    return revision[:12]


def _held(observed: str, revision: str, message: str) -> str:
    if revision == observed:
        return f"commit {_short(observed)} does not serve: {message}"
    return (
        f"commit {_short(observed)} does not serve: the last commit that changes what must be signed is "
        f"{_short(revision)}, and {message}"
    )


def _too_far(observed: str, stop: Stop | None, steps: int) -> Stop:
    if stop is None:
        message = f"commit {_short(observed)} does not serve: none of the {steps:,} commits up to it"
        return Stop("CommitUnsigned", f"{message} changes what must be signed; sign a commit that does")
    return Stop(stop.code, f"{stop.message}; nothing verified was found in the {steps:,} commits below it")


def _not_merged(candidate: str, tip: str) -> Stop:
    return Stop(
        "NotMerged",
        f"commit {_short(candidate)} does not serve: the branch it must be merged into, now at {_short(tip)}, does not "
        "have it on its line of first parents",
    )


def _rewritten(history: History, policy: Policy, observed: str, serving: str) -> Stop:
    if not history.exists(serving):
        how = "is not in the repository any more"
    elif policy.history == "mainline" and history.descends(observed, serving):
        how = "is not on its line of first parents"
    else:
        how = "is no ancestor of it"
    return Stop(
        "HistoryRewritten",
        f"commit {_short(observed)} does not serve: it does not follow from {_short(serving)}, which serves and "
        f"{how}; restore the ref, or let the new history in with `agentos accept`",
    )
