"""A commit as git stores it, taken apart into what was signed and the signature.

By hand, as git does it: libgit2 takes out the first signature it meets and leaves others in what it calls signed. A
commit that says who signed it more than once, or at a place where git does not write it, is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from agentos_controller.source.signatures import verdict

MAX_BYTES: Final = 1 << 20
"""Of a commit that is looked at; its size is asked for first."""
_HEADERS: Final = (b"gpgsig", b"gpgsig-sha256")
_COMMITTER: Final = re.compile(rb"committer .*> (\d{1,11}) [+-]\d{4}")
_LATEST: Final = 253_402_300_799


@dataclass(frozen=True, slots=True)
class Commit:
    """`payload` is what a signature covers: the whole commit but its signatures. `signature` None: it has none."""

    payload: bytes
    signature: bytes | None
    committed_at: datetime


def parse(raw: bytes, *, sha256: bool = False) -> Commit:
    """`raw` as read from the object database; `sha256` for a repository of that object format.

    Raises:
        verdict.Bad: it is not as git writes it.
    """
    head, gap, message = raw.partition(b"\n\n")
    if not gap:
        raise verdict.Bad("it is no well-formed commit")
    kept: list[bytes] = []
    found: dict[bytes, list[bytes]] = {}
    inside: list[bytes] | None = None
    for line in head.split(b"\n"):
        name, _, value = line.partition(b" ")
        if inside is not None and line.startswith(b" "):
            inside.append(line[1:])
            continue
        inside = None
        if name in _HEADERS:
            if name in found or not any(_COMMITTER.fullmatch(one) for one in kept):
                raise verdict.Bad("it has a signature twice, or where git does not write one")
            inside = found[name] = [value]
        else:
            kept.append(line)
    lines = found.get(_HEADERS[sha256])
    signature = None if lines is None else b"\n".join(lines) + b"\n"
    return Commit(b"\n".join(kept) + gap + message, signature, _committed_at(kept))


def _committed_at(headers: list[bytes]) -> datetime:
    for line in headers:
        if match := _COMMITTER.fullmatch(line):
            return datetime.fromtimestamp(min(int(match[1]), _LATEST), UTC)
    raise verdict.Bad("it is no well-formed commit")
