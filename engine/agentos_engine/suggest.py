"""Did you mean: the likeliest of the known words. Only ever called once something is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word nearest to `word`, if one is near."""
    folded = {name.lower(): name for name in sorted(known, reverse=True)}
    near = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """``Did you mean `x`?``, else `otherwise`."""
    found = closest(word, known)
    return f"Did you mean `{found}`?" if found else otherwise


def one_of(words: Iterable[str], limit: int = 12) -> str:
    """A readable list of the words allowed."""
    listed = [f"`{word}`" for word in words]
    rest = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + rest
