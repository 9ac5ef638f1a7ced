"""The documentation as data: its pages, and the blocks, code spans, headings and links in one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str, *languages: str) -> Iterator[str]:
    """What stands in the fenced blocks of these languages."""
    for match in _FENCE.finditer(text):
        if match[1] in languages:
            yield match[2]


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text)


def spans(text: str) -> Iterator[str]:
    """The code spans outside of fenced blocks."""
    for match in re.finditer(r"`([^`]+)`", prose(text)):
        yield " ".join(match[1].split())


def headings(text: str) -> list[str]:
    """Every heading, without its number signs."""
    return [match[1].strip() for match in re.finditer(r"^#{1,6} (.+)$", prose(text), re.MULTILINE)]


def anchors(text: str) -> set[str]:
    """What a link may name after ``#``, as the usual hosts make it of headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(text)}


def links(text: str) -> Iterator[str]:
    """The targets of all links."""
    for match in re.finditer(r"\]\(([^)\s]+)\)", prose(text)):
        yield match[1]
