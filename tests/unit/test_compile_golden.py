"""Compiled forms, written down: a change of any of them is a change of behaviour for somebody and shows in review.

Each ``golden-*.yaml`` beside a kind is one or more manifests; ``golden-*.json`` has the artifact and interface of
those of that kind. After a wanted change write them anew: ``python -m tests.unit.test_compile_golden``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from agentos_engine import kind, kinds
from tests.support import tree

ROOT = Path(kinds.__path__[0])
CASES = sorted(ROOT.glob("*/testdata/golden-*.yaml"))


def compiled(path: Path) -> dict[str, Any]:
    """Artifact and interface of every manifest of the kind that `path` belongs to."""
    done = tree.compile_tree({"golden.yaml": path.read_text()})
    assert done.errors == [], [str(found) for found in done.diagnostics]
    folder = path.parent.parent.name
    return {
        name: {
            "artifact": {"type": one.artifact.type, "body": one.artifact.body} if one.artifact else None,
            "interface": one.interface,
        }
        for name, one in sorted(done.compiled.items())
        if one.ref.kind.lower() == folder
    }


def as_text(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_the_compiled_form_is_as_written_down(path: Path) -> None:
    assert as_text(compiled(path)).decode() == path.with_suffix(".json").read_text()


def test_every_kind_has_one() -> None:
    assert {path.parent.parent.name for path in CASES} == {name.lower() for name in kind.kinds()}


if __name__ == "__main__":
    for case in CASES:
        case.with_suffix(".json").write_bytes(as_text(compiled(case)))
