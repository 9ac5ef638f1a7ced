"""The generated pages are up to date and leave nothing out; every manifest in the documentation is valid."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from agentos_engine import blocks, kind, load, validate, yamltext
from agentos_engine.kinds.workflow import actions
from agentos_engine.runtime import errors, providers
from scripts import docs, prose, shapes
from tests.support import markdown

KINDS = list(kind.kinds())


@pytest.mark.parametrize("path", docs.pages(), ids=lambda path: path.name)
def test_a_generated_page_is_what_the_code_gives(path: Path) -> None:
    assert path.read_text() == docs.pages()[path], "run: make docs"


@pytest.mark.parametrize("shape", shapes.definitions())
def test_every_key_is_described(shape: str) -> None:
    silent = [key for key, value in shapes.definitions()[shape]["properties"].items() if not shapes.about(value)]
    assert not silent, f"write a docstring under these fields of {shape}"


def test_every_shape_has_its_section_once() -> None:
    headings = [heading.lower() for heading in markdown.headings(docs.manifests())]
    for shape in shapes.definitions():
        assert headings.count(shapes.anchor(shape)) == 1, shape


def test_the_examples_are_one_repository_without_a_flaw() -> None:
    files = {f"agents/{name.lower()}.yaml": docs.example(name).encode() for name in KINDS}
    report = validate.validate_tree(files)
    assert report.diagnostics == ()
    assert report.manifests == len(KINDS)


@pytest.mark.parametrize("page", markdown.PAGES, ids=lambda page: page.name)
def test_manifests_in_the_documentation_are_valid(page: Path) -> None:
    for block in markdown.blocks(page.read_text(), "yaml"):
        parsed = yamltext.parse(block.encode())
        assert not parsed.problems, block
        if "apiVersion:" in block:
            assert load.load(block.encode()).diagnostics == (), block


def test_every_sentence_is_about_something_that_is_there() -> None:
    assert set(prose.KINDS) <= set(KINDS)
    assert set(prose.SHAPES) <= set(shapes.definitions())
    assert set(prose.OUTPUTS) == set(actions.SHAPES)
    assert set(prose.OUTCOMES) <= set(actions.SHAPES)
    assert set(prose.ERROR_CLASSES) == set(errors.CLASSES)
    assert set(prose.PROVIDERS) <= set(get_args(blocks.Provider))


def test_the_providers_that_validate_are_those_that_run() -> None:
    assert set(get_args(blocks.Provider)) - {"scripted", "replay"} == set(providers.BASE_URLS)
