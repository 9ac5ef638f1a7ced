"""`/metrics`: what this process counted, and what the database says now, in Prometheus' text format.

No label names a tenant or anything in it: the page needs no key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller import tables
from agentos_controller.api import parts

CONTENT_TYPE = CONTENT_TYPE_LATEST
_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


class Metrics:
    """The counters of the HTTP side, and the page."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "agentos_http_requests", "Requests answered", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "agentos_http_request_seconds",
            "Seconds until an answer was complete",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self._registry,
        )

        self._deliveries = Counter(
            "agentos_webhook_deliveries",
            "Webhook deliveries by what became of them",
            ["outcome"],
            registry=self._registry,
        )

    def delivered(self, outcome: str) -> None:
        """Count one delivery of a forge."""
        self._deliveries.labels(outcome).inc()

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; `route` is its template, so that the number of series is bounded."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    async def page(self, parts_: parts.Parts) -> bytes:
        """The whole page."""
        async with parts_.database.read() as conn:
            families = await _from_rows(conn)
        for loop, counters in parts_.counters.items():
            for name, value in sorted(counters().items()):
                snake = _HUMP.sub(r"_\1", name).lower()
                counter = CounterMetricFamily(f"agentos_{loop}_{snake}", f"{loop}: {snake.replace('_', ' ')}")
                counter.add_metric([], value)
                families.append(counter)
        now = CollectorRegistry()
        now.register(_Fixed(families))
        return generate_latest(self._registry) + generate_latest(now)


class _Fixed(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


async def _from_rows(conn: AsyncConnection) -> list[Metric]:
    run, resource, source, command = tables.run, tables.resource, tables.source, tables.command
    runs = await _grouped(conn, run.c.state, run.c.state.in_(tables.LIVE))
    resources = await _grouped(conn, resource.c.ready)
    sources = await _grouped(conn, source.c.ready)
    commands = await _grouped(conn, command.c.state, command.c.state.in_(("pending", "running")))
    depth = GaugeMetricFamily("agentos_run_queue_depth", "Runs that wait for a worker")
    depth.add_metric([], runs.get("pending", 0))
    return [
        _gauge(
            "agentos_runs", "Runs that have not ended", "state", {state: runs.get(state, 0) for state in tables.LIVE}
        ),
        depth,
        _gauge("agentos_resources", "Resources by Ready", "ready", resources),
        _gauge("agentos_sources", "Sources by Ready", "ready", sources),
        _gauge("agentos_commands", "Commands that are not done", "state", commands),
    ]


async def _grouped(
    conn: AsyncConnection, column: sa.Column[str], where: sa.ColumnElement[bool] | None = None
) -> dict[str, int]:
    query = sa.select(column, sa.func.count()).group_by(column).order_by(column)
    rows = await conn.execute(query if where is None else query.where(where))
    return {row[0]: row[1] for row in rows}


def _gauge(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        gauge.add_metric([value], number)
    return gauge
