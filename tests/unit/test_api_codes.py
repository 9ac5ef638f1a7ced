"""The page of codes says what the registry says."""

from __future__ import annotations

from pathlib import Path

from agentos_controller.api import codes
from agentos_engine import errors
from agentos_engine.runtime import errors as run_errors

PAGE = Path(__file__).parents[2] / "docs" / "codes.md"


def test_the_page_is_what_the_registry_gives() -> None:
    assert PAGE.read_text() == codes.page(), "run: python -m agentos_controller.api.codes > docs/codes.md"


def test_every_code_stands_on_it_once_per_use() -> None:
    lines = codes.page().splitlines()
    for code in errors.REGISTRY.values():
        rows = [line for line in lines if line.startswith(f"| `{code.name}` |")]
        assert len(rows) == bool({"diagnostic", "reason"} & code.uses) + len({"problem", "run"} & code.uses)


def test_every_way_a_run_ends_is_registered() -> None:
    ends = {code.name for code in errors.REGISTRY.values() if "run" in code.uses}
    assert ends == {*run_errors.CLASSES, "Cancelled", "AttemptsExhausted"} - {"CodeFailed"}, "nothing makes that yet"
