"""Every registered code is made by the product and expected by a test; nothing else is registered.

Static on purpose: the suite runs in several processes, and a code that a test only happens to meet is not shown. What
counts is a word in an assertion (`problem` is one, of an answer), in what `pytest.raises` has to match, in a test's
parameters and tables, or in the expected diagnostics of a kind's testdata.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from agentos_engine import errors
from tests.support import hostile

ROOT = Path(__file__).resolve().parents[2]
_WORD = re.compile(r"\b[A-Z][A-Za-z0-9]+\b")


def _words(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield from _WORD.findall(inner.value)


def _expecting(tree: ast.Module) -> Iterator[ast.AST]:
    """The parts of a test module that say what has to come."""
    yield from (node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign))
    for node in ast.walk(tree):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Assert | ast.Return) or called in ("pytest.raises", "problem"):
            yield node
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from node.decorator_list


def expected() -> set[str]:
    """Every word that some test expects."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path != Path(__file__):
            for node in _expecting(ast.parse(path.read_text())):
                found.update(_words(node))
    for path in (ROOT / "engine/agentos_engine/kinds").rglob("testdata/*.expected.json"):
        found.update(one["code"] for one in json.loads(path.read_text()))
    for _, codes in hostile.FILES.values():
        found |= codes if len(codes) == 1 else set()
    return found


def made() -> set[str]:
    """Every word that stands as a string of its own in the product, outside the registry."""
    registry = ROOT / "engine/agentos_engine/errors.py"
    found: set[str] = set()
    for package in ("engine/agentos_engine", "controller/agentos_controller"):
        for path in (ROOT / package).rglob("*.py"):
            if path != registry:
                tree = ast.parse(path.read_text())
                constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
                found.update(value for value in constants if isinstance(value, str))
    return found


def test_every_code_is_made_somewhere() -> None:
    assert errors.REGISTRY.keys() - made() == set(), "remove them from the registry, or make them"


def test_every_code_is_expected_by_a_test() -> None:
    assert errors.REGISTRY.keys() - expected() == set(), "write a test that brings them about"


def test_every_code_says_what_it_is_and_what_to_do() -> None:
    for code in errors.REGISTRY.values():
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", code.name)
        assert code.summary
        assert not code.summary.endswith(".")
        assert code.fix.endswith(".")
