"""What starting the command line costs, beside a bare typer app that does nothing."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report

BARE = '''
import typer
app = typer.Typer(help="bare")
@app.command()
def one() -> None:
    """One."""
@app.command()
def two() -> None:
    """Two."""
app()
'''


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks commandline", description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    chosen = parser.parse_args(arguments)
    agentos = str(Path(sys.executable).parent / "agentos")
    with tempfile.TemporaryDirectory() as scratch:
        bare = Path(scratch) / "bare.py"
        bare.write_text(BARE)
        commands = {"bare": [sys.executable, str(bare), "--help"], "ours": [agentos, "--help"]}
        took: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(chosen.runs + 1):
            for name, command in commands.items():
                began = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                took[name].append(time.perf_counter() - began)
    report.title("the command line")
    report.ratio(
        "agentos --help beside a bare typer app",
        statistics.median(took["ours"][1:]),
        statistics.median(took["bare"][1:]),
        "≤ 3",
    )
    for words in (["--help"], ["get", "--help"], ["validate", str(Path(__file__).parent)]):
        seen = subprocess.run([sys.executable, "-X", "importtime", agentos, *words], capture_output=True, text=True)
        heavy = [name for name in ("langgraph", "langchain", "dbos") if f" {name}" in seen.stderr]
        report.line(f"agentos {words[0]} imports", ", ".join(heavy) or "none of them", "bar: no langgraph")
