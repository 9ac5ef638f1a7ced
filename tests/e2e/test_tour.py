"""The README's tour, walked through as `make demo` does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.controller import environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(240)
def test_the_tour_does_what_it_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "tour.py")],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=220,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    broken = done.stdout.partition("$ sed -i 's/model: support-model/model: suport-model/'")[2].partition("\n\n")[0]
    # The mistake is told by file, line and column, and what served before it ran once more.
    assert re.search(r"agents/triage\.yaml:\d+:\d+: error UnknownReference", broken)
    assert re.search(r"run/[0-9a-f-]{36}", broken)
    assert "Traceback" not in done.stdout + done.stderr
