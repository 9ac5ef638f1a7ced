"""A Tenant to an access artifact: its sources, what it may use, and its variables."""

from __future__ import annotations

from typing import Any

from agentos_engine import artifacts, fields, kind, literals, model
from agentos_engine.kinds.tenant.spec import Source, SourceLimits, TenantLimits, TenantSpec
from agentos_engine.lowering import extras
from agentos_engine.lowering.report import Report


def compile(manifest: model.Manifest, spec: TenantSpec, context: kind.Context) -> kind.Compiled:  # noqa: A001
    """The access artifact ``{form: tenant, name, description, labels, sources, quota, prune, limits, vars}``."""
    report = Report(manifest, context.texts)
    body: dict[str, Any] = {
        "form": "tenant",
        "name": manifest.ref.name,
        "description": report.plain(spec.description, ("spec", "description")),
        "labels": dict(sorted(manifest.labels.items())),
        "sources": [_source(source) for source in spec.sources],
        "quota": spec.quota.model_dump(by_alias=True, exclude_none=True) if spec.quota is not None else {},
        "limits": _limits(spec.limits),
        "vars": spec.vars,
    }
    if spec.prune is not None:
        body["prune"] = _plain(spec.prune)
    body.update(extras.of(manifest.spec))
    artifact = artifacts.Artifact("access", str(manifest.ref), body)
    return kind.Compiled(None if report.failed else artifact, {}, report.finish())


def _source(spec: Source) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": spec.name or "main",
        "git": spec.git,
        "ref": spec.ref,
        "path": spec.path,
        "exclude": list(spec.exclude),
    }
    if spec.include is not None:
        body["include"] = list(spec.include)
    if spec.auth is not None:
        body["auth"] = {"secret": spec.auth.secret}
    if spec.interval is not None:
        body["intervalMs"] = literals.duration_ms(spec.interval)
    body.update(_plain(spec, include={"semver", "known_hosts", "ca", "webhook", "verify", "merged_into"}))
    if spec.history != "any":
        body["history"] = spec.history
    if spec.limits is not None:
        body["limits"] = _fetch_limits(spec.limits)
    return body


def _fetch_limits(spec: SourceLimits) -> dict[str, Any]:
    limits = _plain(spec, include={"objects", "files"})
    if spec.timeout is not None:
        limits["timeoutMs"] = literals.duration_ms(spec.timeout)
    for name, size in (("sizeBytes", spec.size), ("fileBytes", spec.file_size)):
        if size is not None:
            limits[name] = literals.size_bytes(size)
    return limits


def _plain(node: fields.Node, include: set[str] | None = None) -> dict[str, Any]:
    """What is written there, in the manifest's words; `x-` keys left out."""
    dumped = node.model_dump(mode="json", by_alias=True, exclude_none=True, include=include)
    return {key: value for key, value in dumped.items() if not key.startswith("x-")}


def _limits(spec: TenantLimits | None) -> dict[str, Any]:
    if spec is None:
        return {}
    limits = spec.model_dump(by_alias=True, exclude_none=True, exclude={"timeout"})
    if spec.timeout is not None:
        limits["timeoutMs"] = literals.duration_ms(spec.timeout)
    return limits
