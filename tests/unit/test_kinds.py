"""Every kind's testdata: `ok-*` loads without a word, `bad-*` says exactly what stands beside it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

import agentos_engine
from agentos_engine import errors, kind, load

FOLDER = Path(agentos_engine.__file__).parent / "kinds"
OK = sorted(FOLDER.glob("*/testdata/ok-*.yaml"))
BAD = sorted(FOLDER.glob("*/testdata/bad-*.yaml"))


def _id(path: Path) -> str:
    return f"{path.parent.parent.name}/{path.stem}"


def test_every_kind_has_good_and_bad_examples() -> None:
    folders = {name.lower() for name in kind.kinds()}
    assert {path.parent.parent.name for path in OK} == folders
    assert {path.parent.parent.name for path in BAD} == folders


@pytest.mark.parametrize("path", OK, ids=_id)
def test_ok(path: Path) -> None:
    file = load.load(path.read_bytes())
    assert file.diagnostics == ()
    assert file.manifests
    assert {manifest.ref.kind.lower() for manifest in file.manifests} == {path.parent.parent.name}


@pytest.mark.parametrize("path", BAD, ids=_id)
def test_bad(path: Path) -> None:
    file = load.load(path.read_bytes())
    expected = orjson.loads(path.with_suffix(".expected.json").read_bytes())
    assert [{key: one.as_json()[key] for key in _KEYS} for one in file.diagnostics] == expected
    assert all(one.code in errors.REGISTRY for one in file.diagnostics)
    assert not file.manifests


_KEYS = ("code", "line", "column", "message", "hint")
