"""Takes a call's own secret out of whatever comes back from it, before anything else sees it.

A server may echo the key it was sent. Errors and outputs go into checkpoints, events and logs, so they are cleaned at
the boundary where the secret is known. A secret is looked for as it is and as it may come back: base64 in any
alignment, URL-encoded, JSON-escaped (once or within JSON text), hexadecimal, and line by line where it has several.
What this cannot see is a secret that was cut, reversed or encrypted by somebody else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
SHORTEST = 4
"""Shorter secrets are not searched for: the mask would eat ordinary text."""
_SHORTEST_ENCODED = 6
_SHORTEST_LINE = 16


def forms(secret: str) -> list[str]:
    """Every form of the secret that is looked for, the longest first: one that contains another must go as a whole."""
    if len(secret) < SHORTEST:
        return []
    found: set[str] = set()
    for part in _parts(secret):
        raw = part.encode()
        escaped = json.dumps(part)[1:-1]
        plain = json.dumps(part, ensure_ascii=False)[1:-1]
        quoted = quote(part, safe="")
        found |= {part, escaped, plain, json.dumps(escaped)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1]}
        found |= {quoted, quote(part), quote_plus(part), quoted.replace("%", "%25"), _lower_escapes(quoted)}
        encoded = (*_base64(raw), raw.hex(), raw.hex().upper())
        found |= {form for form in encoded if len(form) >= _SHORTEST_ENCODED}
    return sorted(found, key=lambda form: (-len(form), form))


def scrubber(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that replaces every form of the `secrets` in a text by `MASK`."""
    searched = [form for secret in secrets for form in forms(secret)]

    def scrub(text: str) -> str:
        for form in searched:
            if form in text:
                text = text.replace(form, MASK)
        return text

    return scrub


def _parts(secret: str) -> Iterator[str]:
    yield secret
    stripped = secret.strip()
    if len(stripped) >= SHORTEST:
        yield stripped
    lines = secret.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_LINE and not line.startswith("-----"))


def _base64(raw: bytes) -> Iterator[str]:
    # Inside a longer text the secret may begin at any of three alignments; only the characters that depend on the
    # secret alone are looked for.
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode()
        inner = encoded[-(-8 * offset // 6) : 8 * (offset + len(raw)) // 6]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def _lower_escapes(quoted: str) -> str:
    out = quoted.split("%")
    return "%".join([out[0], *(part[:2].lower() + part[2:] for part in out[1:])])
