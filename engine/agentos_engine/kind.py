"""The plug-in protocol of a kind, and discovery of the kinds that exist.

A kind is one folder under `kinds/` with `spec.py` (pydantic), `kind.py` (a module-level ``KIND``) and `testdata/`.
Adding a kind touches nothing else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel

from agentos_engine import artifacts, model

API_VERSION = "agentos/v1"
Scope = Literal["tenant", "platform"]


class Spec(BaseModel):
    """Base of every spec model of every kind."""


S = TypeVar("S", bound=Spec)


@dataclass(frozen=True, slots=True)
class Linked:
    """A resource as those who refer to it see it.

    `interface` is the JSON described in `docs/architecture.md`; `digest` that of its artifact, None for kinds that
    emit none (a Model folds into its users).
    """

    ref: model.ResourceRef
    interface: Mapping[str, Any]
    digest: str | None


@dataclass(frozen=True, slots=True)
class Context:
    """What compiling one manifest may look at: its direct dependencies and the texts it includes (path as written)."""

    deps: Mapping[model.ResourceRef, Linked]
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Compiled:
    """Outcome of compiling: without errors in `diagnostics`, `artifact` (if the kind has one) and `interface` hold."""

    artifact: artifacts.Artifact | None
    interface: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: tuple[model.Diagnostic, ...] = ()

    @property
    def ok(self) -> bool:
        return not any(diagnostic.is_error for diagnostic in self.diagnostics)


class Kind(Protocol[S]):
    """What the pipeline needs to know of a kind.

    All functions are pure. `references`, `files` and `validate` look at one manifest alone; `compile` also sees the
    interfaces of its direct dependencies, all of them present.
    """

    name: str
    """As in ``kind:``, e.g. ``Workflow``; the schema's file is its lower case."""
    scope: Scope
    """``platform``: allowed in the platform source only."""
    spec: type[S]

    def references(self, spec: S) -> Iterable[model.Reference]:
        """Every resource named, with the location (from the document's root) of the name."""
        ...

    def files(self, spec: S) -> Iterable[tuple[str, model.Location]]:
        """Every included file, as written, with its location."""
        ...

    def validate(self, manifest: model.Manifest, spec: S) -> Iterable[model.Diagnostic]:
        """What is wrong with it by itself, beyond its schema."""
        ...

    def compile(self, manifest: model.Manifest, spec: S, context: Context) -> Compiled:
        """Its artifact and interface, or diagnostics."""
        ...


@cache
def kinds() -> Mapping[str, Kind[Any]]:
    """Every kind by name, found by walking `agentos_engine.kinds`."""
    package = importlib.import_module("agentos_engine.kinds")
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:
            kind: Kind[Any] = importlib.import_module(f"{package.__name__}.{module.name}.kind").KIND
            found[kind.name] = kind
    return dict(sorted(found.items()))
