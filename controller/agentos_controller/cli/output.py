"""Printing answers: tables for people, JSON, YAML and names for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import typer


class Format(StrEnum):
    """Values of `-o`."""

    table = "table"
    wide = "wide"
    json = "json"
    yaml = "yaml"
    name = "name"


class Column(NamedTuple):
    """A column of a table; `wide` ones stand only in `-o wide`."""

    title: str
    value: Callable[[Mapping[str, Any]], Any]
    wide: bool = False


def show(items: Iterable[Mapping[str, Any]], columns: Sequence[Column], format_: Format, name: Column) -> None:
    """Print a list in the format asked for."""
    rows = list(items)
    if format_ in (Format.json, Format.yaml):
        document({"items": rows}, format_)
    elif format_ is Format.name:
        for row in rows:
            typer.echo(name.value(row))
    else:
        chosen = [column for column in columns if format_ is Format.wide or not column.wide]
        table([column.title for column in chosen], [[text(column.value(row)) for column in chosen] for row in rows])
        if not rows:
            note("Nothing found.")


def document(value: Any, format_: Format) -> None:
    """Print one JSON value as JSON or YAML."""
    if format_ is Format.yaml:
        import yaml

        typer.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
    else:
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns padded to their widest cell, three spaces apart. Cells stay on one line."""
    if not rows:
        return
    flat = [[" ".join(cell.split()) for cell in row] for row in rows]
    widths = [max(len(title), *(len(row[index]) for row in flat)) for index, title in enumerate(titles)]
    for number, row in enumerate([list(titles), *flat]):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        line = "   ".join(cells).rstrip()
        typer.echo(paint(line, bold=True) if number == 0 else line)


def text(value: Any) -> str:
    """A cell: nothing for None, words for booleans."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def age(moment: str | None, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was: ``12s``, ``5m``, ``3h``, ``2d``."""
    if not moment:
        return ""
    seconds = int(((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(seconds, 0)}s"


def paint(line: str, **style: Any) -> str:
    """`line` in colour where a person reads it and NO_COLOR is not set."""
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return line
    return typer.style(line, **style)


def note(message: str) -> None:
    """A remark for the person, on standard error."""
    typer.echo(message, err=True)
