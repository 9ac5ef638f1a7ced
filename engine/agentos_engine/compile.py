"""One valid manifest to its artifact and interface.

What a kind knows about itself stands with the kind; here is only the way there. A mistake of the author is a
diagnostic; an exception out of here is a bug, which the caller isolates to the one object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentos_engine import artifacts, conditions, kind, model
from agentos_engine.kind import Linked
from agentos_engine.model import Diagnostic, ResourceRef


@dataclass(frozen=True, slots=True)
class Compiled:
    """Outcome for one resource. Without errors `artifact` (if its kind emits one) and `interface` hold.

    `interface` is what dependants may know; its shape is each kind's, see `docs/architecture.md`.
    """

    ref: ResourceRef
    artifact: artifacts.Artifact | None
    interface: Mapping[str, Any]
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def ok(self) -> bool:
        return not any(diagnostic.is_error for diagnostic in self.diagnostics)

    @property
    def digest(self) -> str:
        """What dependants are pinned to: the artifact's digest, of the interface where the kind emits none."""
        return self.artifact.digest if self.artifact is not None else artifacts.digest_of(dict(self.interface))

    @property
    def linked(self) -> Linked:
        """This resource as its dependants see it."""
        return Linked(self.ref, self.interface, self.digest if self.artifact is not None else None)

    @property
    def stop(self) -> conditions.Stop | None:
        """The stop of a resource that does not compile, naming its first error."""
        errors = [diagnostic for diagnostic in self.diagnostics if diagnostic.is_error]
        if not errors:
            return None
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        place = f"{first.path}:{first.line}:{first.column}"
        return conditions.Stop("Compiled", first.code, f"{place}: {first.message}{more}")


def compile(  # noqa: A001
    manifest: model.Manifest, deps: Mapping[ResourceRef, Linked], texts: Mapping[str, str]
) -> Compiled:
    """Compile `manifest` against its direct dependencies `deps` and the files it includes, `texts` by path as written.

    `manifest` has passed its schema and its kind's validation. A dependency or text that is missing is a diagnostic.
    """
    of_kind = kind.kinds()[manifest.ref.kind]
    spec = manifest.parsed if manifest.parsed is not None else of_kind.spec.model_validate(manifest.spec)
    compiled = of_kind.compile(manifest, spec, kind.Context(deps, texts))
    return Compiled(manifest.ref, compiled.artifact, compiled.interface, compiled.diagnostics)
