"""A tree of manifests in memory, loaded and compiled by the engine, for tests that need no git and no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentos_engine import compile as compiler
from agentos_engine import load, model

HEAD = "apiVersion: agentos/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n"


def manifest(kind: str, name: str, spec: str) -> str:
    """The text of a manifest; `spec` is indented by two spaces or more, its first line stands in line 5."""
    return HEAD.format(kind=kind, name=name) + spec.strip("\n") + "\n"


@dataclass(slots=True)
class Tree:
    """`compiled` by ``Kind/name``; `diagnostics` of loading and compiling, in the order of files."""

    compiled: dict[str, compiler.Compiled] = field(default_factory=dict)
    diagnostics: list[model.Diagnostic] = field(default_factory=list)

    def body(self, name: str) -> dict[str, Any]:
        """The artifact body of ``Kind/name``, which has to have compiled."""
        compiled = self.compiled[name]
        assert compiled.artifact is not None, compiled.diagnostics
        return compiled.artifact.body

    def step(self, name: str, id_: str) -> dict[str, Any]:
        found: dict[str, Any] = next(step for step in self.body(name)["steps"] if step["id"] == id_)
        return found

    @property
    def errors(self) -> list[tuple[str, int, int]]:
        """Code, line and column of every error."""
        return [(found.code, found.line, found.column) for found in self.diagnostics if found.is_error]

    @property
    def warnings(self) -> list[tuple[str, int, int]]:
        return [(found.code, found.line, found.column) for found in self.diagnostics if not found.is_error]


def compile_tree(files: Mapping[str, str]) -> Tree:
    """Load and compile every manifest of `files`; other files are there to be included."""
    tree = Tree()
    manifests: dict[model.ResourceRef, model.Manifest] = {}
    for path, text in sorted(files.items()):
        if path.endswith(".yaml"):
            loaded = load.load(text.encode()).at(path)
            tree.diagnostics += loaded.diagnostics
            manifests |= {one.ref: one for one in loaded.manifests}

    def linked(ref: model.ResourceRef) -> compiler.Compiled | None:
        one = manifests.get(ref)
        if one is None or str(ref) in tree.compiled:
            return tree.compiled.get(str(ref))
        deps = {to: found.linked for to in {at.to for at in one.references} if (found := linked(to)) and found.ok}
        texts = {
            written: files[path] for written in one.files if (path := model.resolve_file(one.path, written)) in files
        }
        done = tree.compiled[str(ref)] = compiler.compile(one, deps, texts)
        tree.diagnostics += done.diagnostics
        return done

    for ref in sorted(manifests):
        linked(ref)
    return tree


def compile_text(*texts: str) -> Tree:
    """Load and compile the manifests in `texts`, one file each: ``a.yaml``, ``b.yaml``, …"""
    return compile_tree({f"{chr(ord('a') + index)}.yaml": text for index, text in enumerate(texts)})
