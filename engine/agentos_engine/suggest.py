"""Did you mean: the likeliest of the known words. Only ever called once something is wrong."""

from __future__ import annotations

import bisect
import difflib
from collections.abc import Iterable
from typing import Final

COMPARED: Final = 200
"""Words that are compared with the one in question; of more, its neighbours in the alphabet. A tenant can be wrong ten
thousand times about ten thousand names."""


class Known:
    """Words to choose from, for more than one question."""

    def __init__(self, words: Iterable[str]) -> None:
        self._folded = {name.lower(): name for name in sorted(words, reverse=True)}
        self._sorted = sorted(self._folded)

    def __bool__(self) -> bool:
        return bool(self._sorted)

    def closest(self, word: str) -> str | None:
        """The word nearest to `word`, if one is near."""
        near, word = self._sorted, word.lower()
        if len(near) > COMPARED:
            at = bisect.bisect(near, word)
            near = near[max(0, at - COMPARED // 2) : at + COMPARED // 2]
        found = difflib.get_close_matches(word, near, n=1, cutoff=0.6)
        return self._folded[found[0]] if found else None

    def one_of(self) -> str:
        """A readable list of the first of them."""
        return one_of([self._folded[word] for word in self._sorted])


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word nearest to `word`, if one is near."""
    return Known(known).closest(word)


def did_you_mean(word: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """``Did you mean `x`?``, else `otherwise`."""
    found = closest(word, known)
    return f"Did you mean `{found}`?" if found else otherwise


def one_of(words: Iterable[str], limit: int = 12) -> str:
    """A readable list of the words allowed."""
    listed = [f"`{word}`" for word in words]
    rest = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + rest
