"""`agentos get --watch`: a list, and then each of its rows again whenever it changes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import typer

from agentos_controller.cli import output
from agentos_controller.cli.client import Client, tenant_path
from agentos_controller.cli.failures import Failure
from agentos_controller.cli.output import Column, Format

PAUSE = 1.0
"""Seconds between two looks at a list that has no log of its changes, and before a server is asked again."""
REMOVED = "removed"
Row = Mapping[str, Any]
Changes = Iterator[list[Row]]


class Follower:
    """Prints rows as they come: a table that keeps the widths of its first rows, or one JSON or YAML document a row."""

    def __init__(self, columns: Iterable[Column], format_: Format, name: Column) -> None:
        self._columns = [column for column in columns if format_ is Format.wide or not column.wide]
        self._format = format_
        self._name = name
        self._widths: list[int] = []

    def show(self, rows: Iterable[Row]) -> None:
        for row in (listed := list(rows)):
            if self._format is Format.json:
                typer.echo(json.dumps(row, ensure_ascii=False))
            elif self._format is Format.yaml:
                typer.echo("---")
                output.document(row, self._format)
            elif self._format is Format.name:
                typer.echo(self._name.value(row))
        if self._format in (Format.table, Format.wide):
            self._table(listed)

    def _table(self, rows: list[Row]) -> None:
        cells = [[" ".join(output.text(self._cell(column, row)).split()) for column in self._columns] for row in rows]
        if not self._widths:
            titles = [column.title for column in self._columns]
            self._widths = [max(map(len, each)) for each in zip(titles, *cells, strict=True)]
            typer.echo(output.paint(self._line(titles), bold=True))
        for line in cells:
            typer.echo(self._line(line))

    def _cell(self, column: Column, row: Row) -> Any:
        if row.get("type") == REMOVED and column is not self._name:
            return REMOVED if column.title == "READY" else None
        return column.value(row)

    def _line(self, cells: list[str]) -> str:
        return "   ".join(cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True)).rstrip()


def resources(client: Client, tenant: str, shown: Callable[[], list[Row]], wanted: Callable[[Row], bool]) -> Changes:
    """What `shown` lists, then every resource that `wanted` takes as it changes. Goes on when the server comes back."""
    place: int | None = None
    first, lost = True, False
    while True:
        try:
            for id_, event, data in client.events(tenant_path(tenant, "watch"), place):
                place, lost = int(id_) if id_ else place, False
                if (first and event == "bookmark") or event == "gap":
                    # The place in the log is known before the list is made: nothing can be missed in between.
                    first = False
                    yield shown()
                elif event == "change":
                    change = json.loads(data)
                    row = _now(client, tenant, change)
                    if wanted(row):
                        yield [row]
        except Failure as failure:
            if first or failure.status is not None:
                raise
        if not lost:
            output.note("the server ended the watch; asking it again")
        lost = True
        time.sleep(PAUSE)


def _now(client: Client, tenant: str, change: Row) -> Row:
    """The resource a change tells of as it is now; it may be gone."""
    try:
        found: Row = client.get(tenant_path(tenant, "resources", change["kind"], change["name"]))
    except Failure as failure:
        if failure.status != 404:
            raise
        return {"type": REMOVED, "kind": change["kind"], "name": change["name"], "path": "", "labels": {}}
    return found


def listing(shown: Callable[[], list[Row]], key: Callable[[Row], Any], moment: str | None = None) -> Changes:
    """What `shown` lists, then each row that is new or another one; `moment` is a key that does not count."""
    before: Mapping[Any, Row] = {}
    first = True
    while True:
        rows = shown()
        now = {key(row): {name: value for name, value in row.items() if name != moment} for row in rows}
        changed = [row for row in rows if before.get(key(row)) != now[key(row)]]
        if first or changed:
            yield changed
        before, first = now, False
        time.sleep(PAUSE)
