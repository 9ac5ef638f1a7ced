"""Takes a call's own secret out of whatever comes back from it, before anything else sees it.

A server may echo the key it was sent. Errors and outputs go into checkpoints, events and logs, so they are cleaned at
the boundary where the secret is known, in the forms a server plausibly echoes. General redaction is the controller's.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus

import orjson

MASK = "[redacted]"
SHORTEST = 4
"""Shorter secrets are not searched for: the mask would eat ordinary text."""


def _base64_forms(secret: bytes) -> Iterable[str]:
    """What base64 of any text containing `secret` must contain, for the three ways it can be aligned."""
    for before in range(3):
        padded = b"\0" * before + secret
        whole = len(padded) - len(padded) % 3
        start = (before * 8 + 5) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            if len(form := encode(padded[:whole]).decode()[start:]) >= 2 * SHORTEST:
                yield form
    yield base64.b64encode(secret).decode()


def forms(secret: str) -> list[str]:
    """The secret as it may come back: raw, JSON-escaped, percent-encoded, base64. The longest first."""
    if len(secret) < SHORTEST:
        return []
    found = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}
    found.add(orjson.dumps(secret).decode()[1:-1])
    found.update(_base64_forms(secret.encode()))
    return sorted(found, key=len, reverse=True)


def scrubber(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that replaces every form of the `secrets` in a text by `MASK`."""
    searched = [form for secret in secrets for form in forms(secret)]

    def scrub(text: str) -> str:
        for form in searched:
            if form in text:
                text = text.replace(form, MASK)
        return text

    return scrub
