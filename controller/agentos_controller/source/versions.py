"""Ranges of versions, and the newest tag inside one. Versions and their order are those of Semantic Versioning 2.0.0.

A range is ``>=1.2.0 <2.0.0``: comparisons joined by a space or comma hold together, ``||`` joins alternatives. ``^1.4``
is up to the next number that breaks, ``~1.4`` up to the next minor one; ``1.4``, ``1.4.x`` and ``*`` leave numbers
open. A pre-release is inside only where the range names one of the same version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import total_ordering

_NUMBER = r"(0|[1-9][0-9]{0,8})"
_WORDS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_WORDS}))?(?:\+{_WORDS})?")
_OPEN = r"(0|[1-9][0-9]{0,8}|[xX*])"
_PARTIAL = re.compile(rf"v?{_OPEN}(?:\.{_OPEN}(?:\.{_OPEN}(?:-({_WORDS}))?)?)?(?:\+{_WORDS})?")
_COMPARISON = re.compile(r"(>=|<=|>|<|=|\^|~)?\s*(\S+)")


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """``numbers`` are major, minor, patch; ``pre`` the identifiers of a pre-release, empty for a release."""

    numbers: tuple[int, int, int]
    pre: tuple[str, ...] = ()

    def _rank(self) -> tuple[object, ...]:
        # A release comes after its pre-releases; numbers come before words.
        words = tuple((0, int(word), "") if word.isdecimal() else (1, 0, word) for word in self.pre)
        return (self.numbers, not self.pre, words)

    def __lt__(self, other: Version) -> bool:
        return self._rank() < other._rank()


def parse(text: str) -> Version | None:
    """The version that `text` is, with or without a leading ``v``; None if it is none."""
    match = _VERSION.fullmatch(text)
    if match is None:
        return None
    pre = tuple(match[4].split(".")) if match[4] else ()
    if any(word.isdecimal() and word != "0" and word.startswith("0") for word in pre):
        return None
    return Version((int(match[1]), int(match[2]), int(match[3])), pre)


@dataclass(frozen=True, slots=True)
class Range:
    """Alternatives, each of comparisons that hold together."""

    alternatives: tuple[tuple[_Bound, ...], ...]

    def __contains__(self, version: Version) -> bool:
        return any(_inside(version, bounds) for bounds in self.alternatives)


@dataclass(frozen=True, slots=True)
class _Bound:
    """From `low` (included) to `high` (excluded); `pre` is the version of a named pre-release."""

    low: Version | None
    high: Version | None
    pre: tuple[int, int, int] | None = None


def _inside(version: Version, bounds: tuple[_Bound, ...]) -> bool:
    if version.pre and not any(bound.pre == version.numbers for bound in bounds):
        return False
    return all(
        (bound.low is None or version >= bound.low) and (bound.high is None or version < bound.high) for bound in bounds
    )


def parse_range(text: str) -> Range:
    """The range that `text` describes.

    Raises:
        ValueError: saying which part of it is none.
    """
    return Range(tuple(_alternative(part) for part in text.split("||")))


def _alternative(text: str) -> tuple[_Bound, ...]:
    rest = text.replace(",", " ").strip()
    if not rest:
        raise ValueError("a range has an empty alternative")
    bounds = []
    while rest:
        match = _COMPARISON.match(rest)
        if match is None:
            raise ValueError(f"{rest!r} is no comparison of versions")
        bounds.append(_bound(match[1] or "=", match[2]))
        rest = rest[match.end() :].lstrip()
    return tuple(bounds)


def _bound(operator: str, text: str) -> _Bound:
    match = _PARTIAL.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no version: write 1.2.3, 1.2, 1.x or *")
    numbers: list[int] = []
    for part in (match[1], match[2], match[3]):
        if part is None or part in "xX*":
            break
        numbers.append(int(part))
    pre = tuple(match[4].split(".")) if match[4] and len(numbers) == 3 else ()
    if not numbers:
        if operator in "<>":
            raise ValueError(f"{operator}{text} is no range: nothing is inside")
        return _Bound(None, None)
    first, second, third = (*numbers, 0, 0, 0)[:3]
    low = Version((first, second, third), pre)
    named = low.numbers if pre else None
    after = _least(_next(numbers, len(numbers) - 1)) if len(numbers) < 3 else None
    match operator:
        case "^":
            return _Bound(low, _least(_next(numbers, _breaking(numbers))), named)
        case "~":
            return _Bound(low, _least(_next(numbers, min(1, len(numbers) - 1))), named)
        case ">=":
            return _Bound(low, None, named)
        case "<":
            return _Bound(None, low, named)
        case ">":
            return _Bound(after or _successor(low), None, named)
        case "<=":
            return _Bound(None, after or _successor(low), named)
    return _Bound(low, after or _successor(low), named)


def _breaking(numbers: list[int]) -> int:
    """The place of the number whose increase breaks: the first that is not zero."""
    return next((place for place, number in enumerate(numbers) if number), len(numbers) - 1)


def _next(numbers: list[int], place: int) -> tuple[int, int, int]:
    raised = [*numbers[:place], numbers[place] + 1, 0, 0, 0]
    return raised[0], raised[1], raised[2]


def _least(numbers: tuple[int, int, int]) -> Version:
    """The first pre-release there could be of a version: what comes before it is below every one of them."""
    return Version(numbers, ("0",))


def _successor(version: Version) -> Version:
    """The least version above `version`."""
    if version.pre:
        return Version(version.numbers, (*version.pre, "0"))
    major, minor, patch = version.numbers
    return Version((major, minor, patch + 1), ("0",))


def newest(range_: Range, names: Iterable[str]) -> str | None:
    """The name among `names` whose version is the newest inside; of two names of one version the first by its text."""
    found = [(version, name) for name in names if (version := parse(name)) is not None and version in range_]
    if not found:
        return None
    top = max(version for version, _name in found)
    return min(name for version, name in found if version == top)
