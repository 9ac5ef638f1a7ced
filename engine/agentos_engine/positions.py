"""Positions of a document, packed to one integer each and spread out into maps only when somebody asks.

A valid manifest is read ten thousand times for once that anyone wants to know where its parts stand; so reading keeps
a flat list of marks in document order, which is also what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgpack

from agentos_engine import model

QUOTED, FOLDED, BLOCK = 1, 2, 3
"""Style of a string in its mark: text one character behind, text at no certain place, text exactly here."""


def pack(line: int, column: int, style: int = 0) -> int:
    """One mark: line and column from 0, and the style."""
    return line << 20 | (column if column < 0x3FFFF else 0x3FFFF) << 2 | style


def unpack(mark: int) -> model.Position:
    return model.Position((mark >> 20) + 1, ((mark >> 2) & 0x3FFFF) + 1)


def _content(mark: int) -> model.Position | None:
    """Where the text of a string begins, None where its characters map to no places."""
    position = unpack(mark)
    style = mark & 3
    if style == QUOTED:
        return model.Position(position.line, position.column + 1)
    return position if style == BLOCK else None


class Lazy:
    """The packed marks of one document, and the maps once somebody asks for them."""

    __slots__ = ("_maps", "data", "marks")

    def __init__(self, data: Any, marks: list[int] | bytes) -> None:
        self.data = data
        self.marks = marks
        self._maps: tuple[dict[model.Location, int], dict[model.Location, int]] | None = None

    def map(self, which: int) -> dict[model.Location, int]:
        if self._maps is None:
            marks = msgpack.unpackb(self.marks) if isinstance(self.marks, bytes) else self.marks
            self._maps = spread(self.data, marks)
        return self._maps[which]


class _Map(Mapping[model.Location, model.Position]):
    """Positions of keys (0) or of values (1) by location."""

    __slots__ = ("_which", "lazy")

    def __init__(self, lazy: Lazy, which: int) -> None:
        self.lazy = lazy
        self._which = which

    def __getitem__(self, location: model.Location) -> model.Position:
        return unpack(self.lazy.map(self._which)[location])

    def __iter__(self) -> Iterator[model.Location]:
        return iter(self.lazy.map(self._which))

    def __len__(self) -> int:
        return len(self.lazy.map(self._which))


class _Contents(Mapping[model.Location, model.Position | None]):
    """Where the text of quoted, folded and block strings begins."""

    __slots__ = ("lazy",)

    def __init__(self, lazy: Lazy) -> None:
        self.lazy = lazy

    def __getitem__(self, location: model.Location) -> model.Position | None:
        mark = self.lazy.map(1)[location]
        if not mark & 3:
            raise KeyError(location)
        return _content(mark)

    def __iter__(self) -> Iterator[model.Location]:
        return (location for location, mark in self.lazy.map(1).items() if mark & 3)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def of(data: Any, marks: list[int] | bytes, start: model.Position | None = None) -> model.Positions:
    """Positions of a document from its marks (a list, or msgpack of one), spread out lazily.

    `start` is where the document begins; it has to be given with packed marks.
    """
    if start is None:
        start = unpack(marks[0]) if marks else model.Position(1, 1)
    lazy = Lazy(data, marks)
    return model.Positions(_Map(lazy, 0), _Map(lazy, 1), start, _Contents(lazy))


def spread(data: Any, marks: list[int]) -> tuple[dict[model.Location, int], dict[model.Location, int]]:
    """Packed marks of keys and of values by location.

    `marks` stand in document order: of a value first, then of what is inside it; in a mapping each key before its
    value. Every mark has its place in `data`; where the text broke off, the last places have none.
    """
    keys: dict[model.Location, int] = {}
    values: dict[model.Location, int] = {}
    following = iter(marks)
    values[()] = next(following, 0)
    stack: list[tuple[model.Location, Iterator[Any], bool]] = []
    if isinstance(data, dict):
        stack.append(((), iter(data.items()), True))
    elif isinstance(data, list):
        stack.append(((), iter(enumerate(data)), False))
    while stack:
        location, items, mapping = stack[-1]
        for part, value in items:
            at = (*location, part)
            if mapping:
                mark = next(following, None)
                if mark is None:
                    return keys, values
                keys[at] = mark
            mark = next(following, None)
            if mark is None:
                return keys, values
            values[at] = mark
            if value.__class__ is dict:
                stack.append((at, iter(value.items()), True))
                break
            if value.__class__ is list:
                stack.append((at, iter(enumerate(value)), False))
                break
        else:
            stack.pop()
    return keys, values


def source(places: model.Positions) -> Lazy:
    """The document and marks that `of` made `places` from."""
    assert isinstance(places.keys, _Map)
    return places.keys.lazy
