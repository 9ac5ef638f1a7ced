"""From verdicts to rows: what a build decided about each resource, as it is stored, shown and told.

The only caller of `conditions.summarize` for resources. A row is written only when something but the observed revision
changed: readers take the later of the row's revision and its source's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentos_controller.reconcile import holding, values
from agentos_controller.reconcile.values import FILE, Place, Stored
from agentos_engine import compile as compiling
from agentos_engine import conditions, model, plan, policy
from agentos_engine.model import ResourceRef

_COMPARED = (
    "source_id",
    "path",
    "line",
    "document",
    "blob_id",
    "desired_digest",
    "applied_digest",
    "artifact_digest",
    "interface",
    "ready",
    "reason",
    "message",
    "drain_until",
    "quarantine_until",
    "quarantine_blob",
)


@dataclass(slots=True)
class Verdict:
    """What became of one resource. `manifest` is None where it cannot be read or is gone."""

    ref: ResourceRef
    places: list[Place] = field(default_factory=list)
    """The files that define it now, the one its row names first."""
    blob_id: str | None = None
    manifest: model.Manifest | None = None
    compiled: compiling.Compiled | None = None
    entry: plan.Entry | None = None
    stop: conditions.Stop | None = None
    removed: bool = False
    files: tuple[str, ...] = ()
    """Paths of its included files."""
    diagnostics: list[model.Diagnostic] = field(default_factory=list)
    findings: tuple[policy.Finding, ...] = ()
    """What policies warned of or recorded."""
    quarantine: int | None = None
    """Until when it is left alone (epoch microseconds), because building it ended a worker."""


def stop_of(condition: str, diagnostics: Sequence[model.Diagnostic]) -> conditions.Stop | None:
    """The stop that the errors among `diagnostics` make, naming the first; None without errors."""
    found = [diagnostic for diagnostic in diagnostics if diagnostic.is_error]
    if not found:
        return None
    first = min(found, key=lambda one: (one.path, one.line, one.column, one.code))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    text = f"{first.path}:{first.line}:{first.column}: {first.message}{more}"
    return conditions.Stop(condition, first.code, text)


class Summary:
    """Collects the rows of one build into `built`."""

    def __init__(self, job: values.Job, built: values.Built, decision: holding.Decision) -> None:
        self._job = job
        self._built = built
        self._decision = decision
        self._revisions = {origin.id: origin.revision for origin in job.origins.values()}
        self._any = next(iter(self._revisions.values()), "")

    def add(self, verdict: Verdict) -> None:
        """Write down one resource, and what was decided of it."""
        change, stop = self._decision.changes.get(verdict.ref), self._decision.stops.get(verdict.ref)
        stored = self._job.stored.get(verdict.ref)
        serving = change.new if change is not None else stored.entry if stored is not None else None
        revision = self._revisions.get(verdict.places[0].source_id, self._any) if verdict.places else self._any
        if verdict.removed and serving is None:
            if stored is not None:
                self._gone(verdict, stored, change, revision)
            return
        moved = change is not None and change.action in ("created", "changed")
        row = self._row(verdict, stored, serving, stop, revision, moved)
        self._diagnose(verdict, revision)
        self._link(verdict, stored, row)
        if moved:
            assert change is not None
            self._built.moved.add(verdict.ref)
            self._apply(verdict, change, revision)
        if stored is None or moved or self._differs(stored, row):
            self._built.resources.append(row)
            self._tell(verdict, stored, row, stop, moved)
        for finding in verdict.findings:
            self._event(row, "Warning" if finding.mode == "warn" else "Normal", "PolicyWarning", str(finding))

    def _row(
        self,
        verdict: Verdict,
        stored: Stored | None,
        serving: plan.Entry | None,
        stop: conditions.Stop | None,
        revision: str,
        moved: bool,
    ) -> values.Row:
        manifest = verdict.manifest
        applied_revision = revision if moved else stored.applied_revision if stored and serving else None
        now_conditions = conditions.summarize(
            previous=stored.conditions if stored else (),
            desired_revision=revision,
            applied_revision=applied_revision,
            stop=stop,
            now=self._job.now,
            note=self._decision.notes.get(verdict.ref),
        )
        ready = next(condition for condition in now_conditions if condition.type == "Ready")
        if moved and verdict.compiled is not None:
            interface: Mapping[str, Any] | None = verdict.compiled.interface
        else:
            interface = stored.interface if stored and serving else None
        place = verdict.places[0] if verdict.places else None
        if place is None and stored is not None and stored.source_id is not None:
            place = Place(stored.source_id, stored.path)
        diagnostic = verdict.diagnostics[0] if verdict.diagnostics else None
        if manifest is not None:
            line, document = manifest.line, manifest.document
        elif stored is not None and (diagnostic is None or stored.path == diagnostic.path):
            line, document = stored.line, stored.document
        else:
            line, document = (diagnostic.line if diagnostic else 1), 0
        return {
            "kind": verdict.ref.kind,
            "name": verdict.ref.name,
            "source_id": place.source_id if place else None,
            "path": place.path if place else "",
            "line": line,
            "document": document,
            "blob_id": verdict.blob_id,
            "labels": dict(manifest.labels if manifest else stored.labels if stored else {}),
            "annotations": dict(manifest.annotations if manifest else stored.annotations if stored else {}),
            "desired_digest": manifest.digest if manifest else None,
            "desired_revision": revision,
            "applied_digest": serving.digest if serving else None,
            "artifact_digest": serving.artifact_digest if serving else None,
            "applied_revision": applied_revision,
            "applied_seq": stored.applied_seq if stored and serving else None,
            "interface": dict(interface) if interface is not None else None,
            "files": sorted(verdict.files),
            "uses": {str(ref): digest for ref, digest in sorted(serving.deps.items())} if serving else {},
            "definitions": [list(place) for place in verdict.places] if len(verdict.places) > 1 else None,
            "ready": ready.status,
            "reason": ready.reason,
            "message": ready.message,
            "conditions": [condition.pack() for condition in now_conditions],
            "drain_until": self._decision.draining.get(verdict.ref),
            "quarantine_until": verdict.quarantine,
            "quarantine_blob": verdict.blob_id if verdict.quarantine is not None else None,
            "updated_at": self._job.now,
        }

    def _differs(self, stored: Stored, row: values.Row) -> bool:
        if any(getattr(stored, name) != row[name] for name in _COMPARED):
            return True
        if [list(one) for one in stored.definitions] != (row["definitions"] or []) or stored.uses != row["uses"]:
            return True
        if stored.labels != row["labels"] or stored.annotations != row["annotations"]:
            return True
        before = [replace(condition, observed_revision="").pack() for condition in stored.conditions]
        after = [[*packed[:4], "", packed[5]] for packed in row["conditions"]]
        return before != after

    def _link(self, verdict: Verdict, stored: Stored | None, row: values.Row) -> None:
        """What it depends on: at the head, and in the version that serves. Its further definitions are links too."""
        links = [(name.kind, name.name) for name in map(ResourceRef.parse, row["uses"])]
        manifest = verdict.manifest
        if manifest is not None:
            links += [(reference.to.kind, reference.to.name) for reference in manifest.references]
        elif stored is not None and not verdict.removed:
            # Unreadable now: what it named before is all there is to know, and it is looked at again with its file.
            links += [(ref.kind, ref.name) for ref in map(ResourceRef.parse, stored.uses)]
        links += [(FILE, path) for path in verdict.files]
        links += [(FILE, place.path) for place in verdict.places[1:]]
        self._built.links[verdict.ref] = links
        if stored is None or stored.labels != row["labels"]:
            self._built.labels[verdict.ref] = row["labels"]

    def _apply(self, verdict: Verdict, change: plan.Change, revision: str) -> None:
        compiled, manifest = verdict.compiled, verdict.manifest
        assert compiled is not None
        assert manifest is not None
        artifact = compiled.artifact
        self._built.applied.append(
            values.Applied(
                change,
                artifact.type if artifact else None,
                artifact.body if artifact else None,
                verdict.places[0].path,
                manifest.line,
                revision,
                verdict.places[0].source_id,
            )
        )

    def _gone(self, verdict: Verdict, stored: Stored, change: plan.Change | None, revision: str) -> None:
        self._built.deleted.append(verdict.ref)
        self._built.judged.add(verdict.ref)
        if change is not None and change.action == "deleted":
            self._built.applied.append(
                values.Applied(change, None, None, stored.path, stored.line, revision, stored.source_id)
            )
        row = {"kind": verdict.ref.kind, "name": verdict.ref.name, "path": stored.path, "line": stored.line}
        self._event(
            {**row, "desired_revision": revision}, "Normal", "Applied", "removed from its source, and from service"
        )
        self._built.changes.append(
            {
                **_identity(verdict.ref),
                "type": "removed",
                "ready": None,
                "reason": None,
                "digest": None,
                "revision": revision,
            }
        )

    def _tell(
        self, verdict: Verdict, stored: Stored | None, row: values.Row, stop: conditions.Stop | None, moved: bool
    ) -> None:
        """The entry of the watch log and the events, when something a reader can see has changed."""
        before = (stored.ready, stored.reason, stored.message) if stored else None
        after = (row["ready"], row["reason"], row["message"])
        if stored is not None and not moved and before == after and stored.path == row["path"]:
            return
        type_ = "added" if stored is None else "changed" if moved else "status"
        self._built.changes.append(
            {
                **_identity(verdict.ref),
                "type": type_,
                "ready": row["ready"],
                "reason": row["reason"],
                "digest": row["applied_digest"],
                "revision": row["desired_revision"],
            }
        )
        note = self._decision.notes.get(verdict.ref)
        if note is not None and before != after:
            self._event(row, "Normal", note.reason, note.message)
        elif stop is not None and before != after:
            self._event(row, "Warning", stop.reason, stop.message or stop.reason)
        elif moved:
            what = "created" if stored is None or stored.applied_digest is None else "changed"
            self._event(row, "Normal", "Applied", f"{what}; {row['applied_digest'][:19]} now serves")
        elif before is not None and before[0] != "True" and stop is None:
            self._event(row, "Normal", "Ready", "what serves is again what its source asks for")

    def _event(self, row: Mapping[str, Any], type_: str, reason: str, message: str) -> None:
        self._built.events.append(
            {
                "kind": row["kind"],
                "name": row["name"],
                "type": type_,
                "reason": reason,
                "message": message,
                "revision": row["desired_revision"],
                "path": row["path"],
                "line": row["line"],
            }
        )

    def _diagnose(self, verdict: Verdict, revision: str) -> None:
        self._built.judged.add(verdict.ref)
        if verdict.places:
            self.diagnostics(verdict.places, verdict.diagnostics, revision, verdict.ref)

    def diagnostics(
        self,
        places: Sequence[Place],
        found: Sequence[model.Diagnostic],
        revision: str,
        ref: ResourceRef | None = None,
    ) -> None:
        """Rows for `found`, each in the one of `places` whose path it names."""
        by_path = {place.path: place for place in reversed(places)}
        for diagnostic in dict.fromkeys(found):
            place = by_path.get(diagnostic.path, places[0])
            self._built.diagnostics.append(
                {
                    "source_id": place.source_id,
                    "path": diagnostic.path or place.path,
                    "code": diagnostic.code,
                    "severity": diagnostic.severity,
                    "line": diagnostic.line,
                    "col": diagnostic.column,
                    "message": diagnostic.message,
                    "hint": diagnostic.hint,
                    "kind": ref.kind if ref else None,
                    "name": ref.name if ref else None,
                    "revision": revision,
                }
            )


def _identity(ref: ResourceRef) -> dict[str, str]:
    return {"kind": ref.kind, "name": ref.name}
