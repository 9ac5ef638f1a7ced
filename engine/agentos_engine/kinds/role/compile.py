"""A Role to an access artifact: who belongs to it, and what they may do."""

from __future__ import annotations

from typing import Any

from agentos_engine import artifacts, kind, model
from agentos_engine.kinds.role.spec import RoleSpec
from agentos_engine.lowering import extras
from agentos_engine.lowering.report import Report


def compile(manifest: model.Manifest, spec: RoleSpec, context: kind.Context) -> kind.Compiled:  # noqa: A001
    """The access artifact ``{form: role, name, description, rules, members}``."""
    report = Report(manifest, context.texts)
    body: dict[str, Any] = {
        "form": "role",
        "name": manifest.ref.name,
        "description": report.plain(spec.description, ("spec", "description")),
        "rules": {
            id_: {
                "permissions": sorted(set(grant.permissions)),
                "kinds": sorted(set(grant.kinds)),
                "names": sorted(set(grant.names)),
            }
            for id_, grant in sorted(spec.rules.items())
        },
        "members": sorted(set(spec.members)),
    }
    body.update(extras.of(manifest.spec))
    artifact = artifacts.Artifact("access", str(manifest.ref), body)
    return kind.Compiled(None if report.failed else artifact, {}, report.finish())
