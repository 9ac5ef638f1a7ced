"""A Model to the folded form that graphs carry; it emits no artifact of its own."""

from __future__ import annotations

from agentos_engine import kind, model
from agentos_engine.kinds.model.spec import ModelSpec
from agentos_engine.lowering import models
from agentos_engine.lowering.report import Report


def compile(manifest: model.Manifest, spec: ModelSpec, context: kind.Context) -> kind.Compiled:  # noqa: A001
    """The interface ``{model}``: everything a graph needs to call it."""
    report = Report(manifest, context.texts)
    folded = models.fold(report, context, spec, manifest.ref.name, ("spec",))
    return kind.Compiled(None, {"model": folded}, report.finish())
