"""What one tree would change against another, without a controller: the plan of a working copy.

Both trees go through the same front and the same compiler as a reconcile; their artifacts are compared. What serves
somewhere, policies that live elsewhere and holds are not known here: for those the controller makes the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agentos_engine import compile as compiling
from agentos_engine import diff, kind, load, model, resolve, survey

Key = tuple[str | None, model.ResourceRef]
"""Tenant (None: the platform's) and resource."""


@dataclass(frozen=True, slots=True)
class Built:
    """A resource of a tree that compiles. `digest` is that of its manifest, `compiled` of what would run."""

    path: str
    line: int
    digest: str
    compiled: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two trees. `fields` is empty for what is created or deleted."""

    action: Literal["created", "changed", "deleted"]
    tenant: str | None
    ref: model.ResourceRef
    path: str
    line: int
    before: str | None
    after: str | None
    fields: tuple[diff.FieldChange, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        return {
            "action": self.action,
            "tenant": self.tenant,
            "kind": self.ref.kind,
            "name": self.ref.name,
            "path": self.path,
            "line": self.line,
            "before": self.before,
            "after": self.after,
            "fields": [change.as_json() for change in self.fields],
        }


def build(tree: Iterable[str], read: survey.Read, *, platform: bool = True) -> dict[Key, Built]:
    """Everything in a tree that compiles; what does not is left out, `validate` says why."""
    built: dict[Key, Built] = {}
    for unit, resolution in survey.survey(tree, read, platform=platform).work:
        roots = {manifest.ref: at[0] for at, manifest in unit.manifests}
        linked: dict[model.ResourceRef, kind.Linked] = {}
        for manifest in resolution.order:
            texts, wrong = resolve.read_files(manifest, read, roots[manifest.ref])
            deps = {one.to: linked[one.to] for one in manifest.references if one.to in linked}
            if wrong or any(one.to not in deps for one in manifest.references):
                continue
            compiled = compiling.compile(manifest, deps, texts)
            if not compiled.ok:
                continue
            linked[manifest.ref] = compiled.linked
            body = compiled.artifact.body if compiled.artifact is not None else compiled.interface
            whole = load.with_files(manifest, texts)
            digest = compiled.artifact.digest if compiled.artifact is not None else whole.digest
            key = (unit.tenant, manifest.ref)
            built[key] = Built(manifest.path, manifest.line, whole.digest, digest, body)
    return built


def changes(before: Mapping[Key, Built], after: Mapping[Key, Built]) -> list[Change]:
    """What applying `after` where `before` serves would change, in the order of tenants, kinds and names."""
    found = []
    for key in sorted(before.keys() | after.keys(), key=lambda key: (key[0] or "", key[1])):
        old, new = before.get(key), after.get(key)
        shown = new or old
        assert shown is not None
        where = (*key, shown.path, shown.line, old.digest if old else None, new.digest if new else None)
        if old is None:
            found.append(Change("created", *where))
        elif new is None:
            found.append(Change("deleted", *where))
        elif (old.digest, old.compiled) != (new.digest, new.compiled):
            found.append(Change("changed", *where, tuple(diff.diff(old.body, new.body))))
    return found
