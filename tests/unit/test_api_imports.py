"""What the API must not pull in: it answers before any of it is there."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("alembic", "apscheduler", "dbos", "git", "langchain", "langchain_core", "langgraph", "openai", "pygit2")


def test_the_api_imports_neither_graphs_nor_queues_nor_git() -> None:
    code = f"import sys, agentos_controller.api.app; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
