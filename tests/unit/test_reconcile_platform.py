"""The platform's source from a file: what is taken from it, and how mistakes in it are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentos_controller.reconcile import platform
from agentos_engine import errors

GOOD = """\
apiVersion: agentos/v1
kind: Tenant
metadata: {name: platform}
spec:
  sources:
    - {git: "https://git.example.com/platform.git", ref: main, history: forward}
  prune: {maxCount: 5}
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "platform.yaml"
    path.write_text(text)
    return path


def test_a_file_says_how_the_platforms_source_is_trusted(tmp_path: Path) -> None:
    body = platform.read(_write(tmp_path, GOOD))
    assert body["sources"][0]["history"] == "forward"
    assert body["prune"] == {"maxCount": 5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("forward", "onward"), ":6:73: 'onward' is not a value this key has"),
        (GOOD.replace("kind: Tenant", "kind: Model"), ":4:1: `spec` needs the key `provider`"),
        (GOOD + "---\n" + GOOD.replace("name: platform", "name: other"), "one Tenant manifest and nothing else"),
        (GOOD.replace('git: "https://git.example.com/platform.git", ', ""), "its `git` says where"),
        (GOOD.replace("  prune", '    - {name: two, git: "https://git.example.com/b.git"}\n  prune'), "has one source"),
        ("spec: [", ":2:1: did not find expected node content"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(errors.Stall) as refused:
        platform.read(_write(tmp_path, text))
    assert said in refused.value.message
    assert str(tmp_path) in refused.value.message


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(errors.Stall, match="cannot be read"):
        platform.read(tmp_path / "missing.yaml")
