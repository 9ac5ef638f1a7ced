"""What the documentation names exists: commands with their options, settings, files, targets, and pages linked to."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from agentos_controller import settings
from agentos_controller.cli import app
from tests.support import markdown

ROOT = markdown.ROOT
PACKAGES = (
    ROOT,
    ROOT / "controller" / "agentos_controller",
    ROOT / "engine" / "agentos_engine",
    ROOT / "engine" / "agentos_engine" / "kinds" / "workflow",
)
_OPTION = re.compile(r"-{1,2}[a-z][a-z-]*")
_PATH = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*(/|\.py|\.md|\.toml|\.lock|\.yaml)")
_VERBS = {verb.name for verb in app.VERBS}


@cache
def _command(verb: str) -> Any:
    """The command behind a verb; a group has `commands`, each has `params`."""
    group: Any = typer.main.get_command(app.build([verb]))
    return group.commands[verb]


def _calls(page: Path) -> Iterator[list[str]]:
    """The words after every ``agentos`` that stands in code on a page."""
    text = page.read_text()
    for code in (*markdown.blocks(text, "sh"), *markdown.spans(text)):
        for line in code.replace("\\\n", " ").splitlines():
            for match in re.finditer(r"(?:^|[\s(|=&])agentos ([^|)&;#]+)", line):
                if words := re.sub(r"'[^']*'|\"[^\"]*\"", "TEXT", match[1]).split():
                    yield words


@pytest.mark.parametrize("page", markdown.PAGES, ids=lambda page: page.name)
def test_commands_exist_with_the_options_given(page: Path) -> None:
    for words in _calls(page):
        if words[0].startswith("-"):
            continue
        assert words[0] in _VERBS, words
        command = _command(words[0])
        if len(words) > 1:
            command = getattr(command, "commands", {}).get(words[1], command)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        known |= {"-h", "--help"}
        for word in words[1:]:
            if _OPTION.match(word):
                assert word.partition("=")[0] in known, f"{' '.join(words)}: no option {word}"


def test_commands_are_found_at_all() -> None:
    assert sum(1 for _ in _calls(ROOT / "README.md")) > 15


@pytest.mark.parametrize("page", markdown.PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in markdown.links(page.read_text()):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in markdown.anchors(file.read_text()), target


@pytest.mark.parametrize("name", ["architecture.md", "evidence.md", "operations.md", "security.md", "../SECURITY.md"])
def test_files_that_are_named_exist(name: str) -> None:
    page = ROOT / "docs" / name
    for span in markdown.spans(page.read_text()):
        for word in span.split():
            if _PATH.fullmatch(word) and not word.startswith(("prompts/", "config.toml")):
                assert any((root / word).exists() for root in PACKAGES), word


def test_benchmarks_that_are_named_exist() -> None:
    known = (ROOT / "benchmarks" / "__main__.py").read_text()
    for name in re.findall(r"make bench ARGS=(\w+)", (ROOT / "docs" / "evidence.md").read_text()):
        assert f'"{name}":' in known, name


@pytest.mark.parametrize("page", markdown.PAGES, ids=lambda page: page.name)
def test_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    for code in (*markdown.blocks(text, "sh", ""), *markdown.spans(text)):
        for match in re.finditer(r"(?:^|\s)make ([a-z-]+)", code):
            assert match[1] in targets, match[0]


def test_the_table_of_settings_is_that_of_the_code() -> None:
    table = (ROOT / "docs" / "operations.md").read_text()
    known = {field.name for field in dataclasses.fields(settings.Settings)} | {"config", "tenant"}
    assert {name.lower() for name in re.findall(r"`AGENTOS_([A-Z_]+)`", table)} <= known
    for parameter in _command("serve").params:
        if parameter.name in known:
            assert f"`AGENTOS_{parameter.name.upper()}`" in table, parameter.name
            assert f"`{parameter.opts[0]}`" in table, parameter.name


def test_the_table_of_dependencies_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[\[<>=;~! ]", line)[0] for line in project["dependencies"]}
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| ([a-z0-9*, -]+) \|", page[page.index("## Dependencies") :], re.MULTILINE)
    named = {name for row in rows for name in row.split(", ")} - {"package"}
    assert {name for name in declared if not any(fnmatch.fnmatch(name, pattern) for pattern in named)} == set()
    assert {pattern for pattern in named if not fnmatch.filter(declared, pattern)} == set()
