"""What git and ssh say when they fail, as reasons that tell a person what to do.

Their words are for people and change between releases: whatever is not recognised is `SourceUnavailable`, which is
tried again, so a wrong guess here costs a clear word and never a state.
"""

from __future__ import annotations

import re

from agentos_engine import errors

_RETRY = {"SourceUnavailable", "SourceUnauthorized", "SourceCorrupt"}
_CORRUPT = "fsck error|missing |necessary objects|mismatch|bad object|bad pack|corrupt|inflate|invalid index-pack"
_UNTRUSTED = "host key verification failed|host identification has changed|host key is known|certificate|ssl peer"
_REFUSED = "permission denied|authentication failed|could not read (username|password)|returned error: 40[13]|load key"
_SAID: tuple[tuple[str, str], ...] = (
    (r"file too large|out of memory|cannot allocate|memory exhausted", "SourceTooLarge"),
    (rf"{_UNTRUSTED}|self[- ]signed|unable to get local issuer", "SourceUntrustedHost"),
    (rf"{_REFUSED}|terminal prompts|error in libcrypto", "SourceUnauthorized"),
    (r"returned error: 30[0-9]|redirect", "SourceMoved"),
    (r"shallow", "SourceShallow"),
    (rf"{_CORRUPT}|unresolved deltas", "SourceCorrupt"),
)
_SAID_RE = tuple((re.compile(pattern, re.IGNORECASE), code) for pattern, code in _SAID)
_MEANS = {
    "SourceTooLarge": "the fetch is larger than allowed",
    "SourceUntrustedHost": "the remote could not prove who it is",
    "SourceUnauthorized": "the remote refuses the credentials",
    "SourceMoved": "the remote says the repository is elsewhere; a redirect is not followed",
    "SourceShallow": "the remote is a shallow clone, without the history that is needed",
    "SourceCorrupt": "what the remote sent does not add up",
}


def told(what: str, said: str) -> errors.Handled:
    """The error for `what` (``git fetch``) having ended with `said` on its standard error."""
    said = " ".join(said.split())
    code = next((code for pattern, code in _SAID_RE if pattern.search(said)), "SourceUnavailable")
    means = _MEANS.get(code, f"{what} failed")
    return of(code, f"{means}: {_short(said)}" if said else means)


def of(code: str, message: str) -> errors.Handled:
    """An error with `code`: one that passes by itself is tried again with pauses, the others wait for a person."""
    return errors.Retry(code, message) if code in _RETRY else errors.Stall(code, message)


def _short(said: str) -> str:
    """The end is where git says what ended it."""
    return said if len(said) <= 400 else f"…{said[-400:]}"
