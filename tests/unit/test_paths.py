"""Which files are manifests; git itself is the oracle for ignore patterns."""

from __future__ import annotations

import subprocess
from pathlib import Path

from agentos_engine import paths

PATTERNS = """\
# a comment
*.draft.yaml
/agents/old/
drafts/
!agents/drafts/keep.yaml
workflows/**/tmp/*.yaml
**/gen
a*b*c.yaml
x?[0-9].yaml
y[!a-c].yaml
agents/**
!agents/
!agents/keep*
\\#hash.yaml
trailing.yaml   \n\
doc/**/end.yaml
"""
PATHS = [
    "agents/a.yaml", "agents/keep.yaml", "agents/keepers/b.yaml", "agents/old/a.yaml", "agents/drafts/keep.yaml",
    "drafts/x.yaml", "workflows/tmp/a.yaml", "workflows/x/y/tmp/a.yaml", "workflows/x/tmp/y/a.yaml", "b/gen/a.yaml",
    "gen", "axxbyyc.yaml", "abc.yaml", "acb.yaml", "xq1.yaml", "xqq.yaml", "yd.yaml", "ya.yaml", "#hash.yaml",
    "trailing.yaml", "doc/end.yaml", "doc/a/b/end.yaml", "workflows/w.draft.yaml", "deep/er/x.draft.yaml",
]  # fmt: skip


def test_ignore_patterns_mean_what_they_mean_to_git(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text(PATTERNS)
    asked = subprocess.run(
        ["git", "-C", str(tmp_path), "check-ignore", "--no-index", "-z", "--stdin"],
        input="\0".join(PATHS), capture_output=True, text=True, check=False,
    )  # fmt: skip
    rules = paths.Selection.of(["."]).rules(PATTERNS.encode())
    assert {path for path in PATHS if rules.ignores(path)} == set(filter(None, asked.stdout.split("\0")))


def test_default_include() -> None:
    rules = paths.Selection.of().rules()
    chosen = ["agents/a.yaml", "workflows/x/y.yml", "connectors/c.yaml", "agentos.yaml"]
    others = [
        "docs/a.yaml", "a.yaml", "agents/a.md", "agents/_parts/a.yaml", "agents/.hidden.yaml", "agentsx/a.yaml",
        ".agents/a.yaml", "sub/agentos.yaml",
    ]  # fmt: skip
    assert [path for path in chosen + others if rules.selects(path)] == chosen


def test_include_of_a_source_and_its_excludes() -> None:
    rules = paths.Selection.of(["./teams/", "one.yaml"], ["*.draft.yaml", "teams/old"]).rules(b"teams/ignored/\n")
    assert rules.selects("teams/a/x.yaml")
    assert rules.selects("one.yaml")
    assert not rules.selects("teams/x.draft.yaml")
    assert not rules.selects("teams/old/x.yaml")
    assert not rules.selects("teams/ignored/x.yaml")
    assert not rules.selects("agents/x.yaml")


def test_links_that_could_hide_manifests_are_concerned() -> None:
    rules = paths.Selection.of().rules()
    assert rules.concerns("agents/link.yaml")
    assert rules.concerns("agents/folder")
    assert not rules.concerns("agents/notes.md")
    assert not rules.concerns("docs/folder")


def test_hostile_patterns_cost_no_time() -> None:
    pattern = "*a" * 200 + "b.yaml\n" + "**/a" * 100 + "/b\n" + "[" * 500 + "\n"
    rules = paths.Selection.of(["."]).rules(pattern.encode())
    assert rules.selects("a" * 2_000 + ".yaml")
    assert rules.selects("a/" * 500 + "c.yaml")
