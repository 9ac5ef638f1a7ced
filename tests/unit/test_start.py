"""What the API does not load before it answers, and what verbs of the command line never do."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATER = {
    "langgraph", "langchain", "langchain_core", "dbos",  # executes runs
    "pygit2", "yaml", "agentos_controller.reconcile",  # reconciles
    "httpx", "httpcore", "rich", "websockets",  # goes out
    "psycopg", "asyncpg", "sqlalchemy.dialects.postgresql",  # belongs to the other database
    "alembic", "mako",  # changes the schema
}  # fmt: skip
RUNTIME = {"langgraph", "langchain", "langchain_core", "dbos", "fastapi", "sqlalchemy"}


def loaded(program: str) -> set[str]:
    """The modules there are after `program`, in a process of its own."""
    told = f"{program}\nimport sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True).stdout.split())


def test_the_api_answers_before_what_is_slow_is_loaded() -> None:
    assert loaded("import agentos_controller.wiring") & LATER == set()


@pytest.mark.parametrize("verb", ["--help", "get", "validate", "init", "serve"])
def test_a_verb_is_light(verb: str) -> None:
    assert loaded(f"from agentos_controller.cli import app; app.build([{verb!r}])") & RUNTIME == set()
