"""What `pyproject.toml` says of the packages: what they need, and what is in the source distribution."""

from __future__ import annotations

import ast
import fnmatch
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [file for room in ("engine", "controller") for file in (ROOT / room).rglob("*.py")]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _imported(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module.partition(".")[0])
    return found


def test_every_package_that_is_imported_is_named(project: dict[str, Any]) -> None:
    named = {_canonical(re.split(r"[\[<>=;! ]", text)[0]) for text in project["project"]["dependencies"]}
    owners = metadata.packages_distributions() | {"psycopg_pool": ["psycopg"]}  # an extra of psycopg
    ours = {"agentos_engine", "agentos_controller"}
    imported = set().union(*map(_imported, SOURCES)) - ours - sys.stdlib_module_names
    assert {name for name in imported if not named & {_canonical(owner) for owner in owners.get(name, ())}} == set()


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_source_distribution_holds_what_its_tests_read(project: dict[str, Any]) -> None:
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    for path in ROOT.iterdir():
        if path.name.startswith(".") or any(fnmatch.fnmatch(path.name, pattern) for pattern in ignored):
            continue
        if path.name not in ("pyproject.toml", "PKG-INFO"):
            assert any(fnmatch.fnmatch(f"/{path.name}", pattern) for pattern in included), path.name
