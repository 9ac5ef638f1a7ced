"""Insertions into a source, nested as the tree they belong to."""

from __future__ import annotations


class Edits:
    """Text to put around spans of a source. What is put around an inner span must be put before what is outside."""

    __slots__ = ("_at", "_instead")

    def __init__(self) -> None:
        self._at: dict[int, tuple[list[str], list[str]]] = {}
        self._instead: dict[int, tuple[int, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._at or self._instead)

    def around(self, start: int, end: int, before: str, after: str) -> None:
        """Put `before` in front of the span and `after` behind it."""
        if before:
            self._at.setdefault(start, ([], []))[1].append(before)
        if after:
            self._at.setdefault(end, ([], []))[0].append(after)

    def instead(self, start: int, end: int, text: str) -> None:
        """Write `text` for the span; nothing is put inside of it."""
        self._instead[start] = (end, text)

    def apply(self, source: str) -> str:
        """`source` with everything put in."""
        if not self:
            return source
        parts: list[str] = []
        last = 0
        for at in sorted({*self._at, *self._instead}):
            closing, opening = self._at.get(at, ((), ()))
            parts += (source[last:at], *closing, *reversed(opening))
            last = at
            if at in self._instead:
                last, text = self._instead[at]
                parts.append(text)
        parts.append(source[last:])
        return "".join(parts)
