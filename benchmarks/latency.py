"""What a durable, recorded, authorised run over HTTP costs beyond the same step on bare LangGraph with the same saver.

One client, one step that only computes, one run after the other. Bare: a compiled graph, `ainvoke`, durability "sync",
a new thread per run, LangGraph's own saver on the same kind of database. Also what an idle controller costs.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from agentos_controller import sqlite_library
from benchmarks import report, tree
from benchmarks.server import Server
from tests.support import postgres

WORKFLOW = """\
apiVersion: agentos/v1
kind: Workflow
metadata: {name: one}
spec:
  input: {type: object, required: [n], properties: {n: {type: integer}}}
  state: {twice: {type: integer, default: 0}}
  steps:
    only: {set: {twice: "${input.n * 2}"}}
  output: {twice: "${state.twice}"}
"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks latency", description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--idle", type=float, default=10.0, help="seconds to watch the idle controller")
    chosen = parser.parse_args(arguments)
    sqlite_library.install()
    with tempfile.TemporaryDirectory(prefix="agentos-latency-") as scratch, postgres.server() as server:
        root = Path(scratch)
        (root / "repository/workflows").mkdir(parents=True)
        (root / "repository/workflows/one.yaml").write_text(WORKFLOW)
        tree.git(root / "repository", "init", "-q", "-b", "main")
        tree.commit(root / "repository", "one step")
        server.create("bare")
        server.create("ours")
        for name, bare, database in (
            ("SQLite", lambda runs: asyncio.run(_bare_sqlite(root / "bare.db", runs)), None),
            ("PostgreSQL", lambda runs: asyncio.run(_bare_postgres(server.url("bare"), runs)), server.url("ours")),
        ):
            _compare(name, bare, root, database, chosen.runs, chosen.idle)


def _compare(
    name: str, bare: Callable[[int], list[float]], root: Path, database: str | None, runs: int, idle: float
) -> None:
    with Server(str(root / "repository"), root / f"state-{name}", database=database) as server:
        while not any(tenant["counts"]["ready"] for tenant in server.get("/v1/tenants")["items"]):
            time.sleep(0.02)
        for _ in range(20):
            _run(server)
        ours = sorted(_run(server) for _ in range(runs))
        theirs = sorted(bare(runs))
        time.sleep(2)
        before = server.cpu_seconds()
        time.sleep(idle)
        busy = (server.cpu_seconds() - before) / idle * 100
    report.title(f"{name}: a 1-step run, one client, {runs} runs")
    for label, bar, at in (("p50", 10, 0.5), ("p99", 25, 0.99)):
        mine, bare_ = ours[int(len(ours) * at) - 1], theirs[int(len(theirs) * at) - 1]
        report.line(
            f"{label}: over HTTP / bare LangGraph",
            f"{mine:.1f} / {bare_:.1f} ms",
            f"+{mine - bare_:.1f} ms; bar ≤ +{bar}",
        )
    report.line("mean: over HTTP / bare", f"{statistics.mean(ours):.1f} / {statistics.mean(theirs):.1f} ms", "")
    report.line("idle controller", f"{busy:.1f} % of a core", "bar ≤ 3 %")


def _run(server: Server) -> float:
    """Milliseconds of one run, waited for over HTTP."""
    began = time.perf_counter()
    done = server.post("/v1/tenants/default/runs", {"kind": "Workflow", "name": "one", "input": {"n": 21}}, wait=60)
    took = (time.perf_counter() - began) * 1000
    if done["state"] != "succeeded" or done["output"] != {"twice": 42}:
        raise SystemExit(f"the run did not succeed: {done}")
    return took


class _State(TypedDict):
    n: int
    twice: int


async def _timed(saver: Any, runs: int) -> list[float]:
    from langgraph.graph import END, START, StateGraph

    async def only(state: _State) -> dict[str, int]:
        return {"twice": state["n"] * 2}

    builder = StateGraph(_State)
    builder.add_node("only", only)
    builder.add_edge(START, "only")
    builder.add_edge("only", END)
    graph: Any = builder.compile(checkpointer=saver)
    took = []
    for number in range(runs + 20):
        began = time.perf_counter()
        done = await graph.ainvoke({"n": 21}, {"configurable": {"thread_id": str(uuid.uuid4())}}, durability="sync")
        if number >= 20:
            took.append((time.perf_counter() - began) * 1000)
        if done["twice"] != 42:
            raise SystemExit("the bare graph is wrong")
    return took


async def _bare_sqlite(path: Path, runs: int) -> list[float]:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        await saver.setup()
        return await _timed(saver, runs)


async def _bare_postgres(url: str, runs: int) -> list[float]:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    async with AsyncPostgresSaver.from_conn_string(url) as saver:
        await saver.setup()
        return await _timed(saver, runs)
