"""Which file defines which resource: the first part of a build, from blobs to one verdict per affected resource.

A file that cannot be read whole deletes nothing: what it defined before is kept, because it may still be meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agentos_controller import clock
from agentos_controller.reconcile import marks, summary, values
from agentos_controller.reconcile.summary import Verdict
from agentos_controller.reconcile.values import Place
from agentos_controller.source import snapshot
from agentos_engine import load, model
from agentos_engine.model import Diagnostic, ResourceRef

FORBIDDEN = "forbidden:"
"""Stands before what a path is that is no plain file, in the place of a blob id."""

_UNREADABLE = {
    "InvalidUtf8",
    "YamlSyntax",
    "YamlForbidden",
    "DuplicateKey",
    "FileTooLarge",
    "TooDeep",
    "TooManyNodes",
    "FileForbidden",
    "Quarantined",
}
"""Errors of the condition Loaded; the others of a file are of Valid."""


@dataclass(slots=True)
class Found:
    """Every affected resource with what defines it, and the files that hold errors of no resource."""

    verdicts: dict[ResourceRef, Verdict] = field(default_factory=dict)
    manifests: dict[ResourceRef, list[tuple[Place, model.Manifest]]] = field(default_factory=dict)
    """All manifests of each ref, in the order of their places."""
    unanswered: dict[Place, list[Diagnostic]] = field(default_factory=dict)
    """Diagnostics that no resource answers for, of the files looked at anew."""


def read(place: Place, blob_id: str, reader: snapshot.Reader | None) -> load.File:
    """Load one manifest file. A file that cannot be read is a diagnostic."""
    if blob_id.startswith(FORBIDDEN):
        what = blob_id.removeprefix(FORBIDDEN)
        return _unreadable("FileForbidden", f"this is {what}, not a plain file", "Commit a plain file.")
    if reader is None:
        raise KeyError(blob_id)
    try:
        return load.load(reader.read(blob_id))
    except snapshot.FileTooLarge as error:
        text = f"the file has {error.size} bytes, more than the {error.limit} that are read"
        return _unreadable("FileTooLarge", text, "Split the file, or move data out of it.")


def _unreadable(code: str, message: str, hint: str) -> load.File:
    return load.File(diagnostics=(Diagnostic(code, "", 1, 1, message, hint),), lost=True)


def quarantined(how: str, until: int) -> load.File:
    """What stands for a file that nobody reads until `until` (epoch microseconds)."""
    text = f"reading the file {how}; it is left alone until {clock.rfc3339(until)} or until it changes"
    return _unreadable("Quarantined", text, "Look for what is unusual in it, and report it: no file should do that.")


def defined(parsed: load.File) -> set[ResourceRef]:
    """The refs a parsed file defines, broken ones included."""
    return {manifest.ref for manifest in parsed.manifests} | {broken.ref for broken in parsed.broken}


def find(
    job: values.Job, readers: Mapping[str, snapshot.Reader], built: values.Built, at: marks.At = marks.nowhere
) -> Found:
    """Load the files of `job` and give every affected resource its verdict so far."""
    found = Found()
    broken: dict[ResourceRef, list[tuple[Place, load.Broken]]] = {}
    lost: dict[Place, tuple[str, load.File]] = {}
    blobs: dict[Place, str] = {}
    affected = set(job.affected) if job.affected is not None else set(job.stored)
    order = {origin.id: origin.position for origin in job.origins.values()}
    files = sorted(job.files, key=lambda file: (order.get(file.place.source_id, 0), file.place.path))
    for file in files:
        parsed = _parsed(file, readers, built, at)
        blobs[file.place] = file.blob_id
        for manifest in parsed.manifests:
            found.manifests.setdefault(manifest.ref, []).append((file.place, manifest))
        for one in parsed.broken:
            broken.setdefault(one.ref, []).append((file.place, one))
        if parsed.lost:
            lost[file.place] = (file.blob_id, parsed)
        if file.changed:
            affected |= defined(parsed)
            answered = {diagnostic for one in parsed.broken for diagnostic in one.diagnostics}
            found.unanswered[file.place] = [one for one in parsed.diagnostics if one not in answered]
            built.reviewed.add(file.place)
    built.reviewed |= job.gone
    for ref in affected:
        verdict = found.verdicts[ref] = Verdict(ref)
        places = [place for place, _ in found.manifests.get(ref, ())] + [place for place, _ in broken.get(ref, ())]
        verdict.places = sorted(set(places), key=lambda place: (order.get(place.source_id, 0), place.path))
        if verdict.places:
            verdict.blob_id = blobs[verdict.places[0]]
        if ref in broken:
            verdict.diagnostics = [error for _place, one in broken[ref] for error in one.diagnostics]
            verdict.manifest = next((one.manifest for _place, one in broken[ref] if one.manifest is not None), None)
            verdict.stop = summary.stop_of(_condition(verdict.diagnostics), verdict.diagnostics)
        elif ref in found.manifests:
            verdict.manifest = found.manifests[ref][0][1]
        else:
            _absent(job, verdict, lost)
    return found


def _absent(job: values.Job, verdict: Verdict, lost: Mapping[Place, tuple[str, load.File]]) -> None:
    stored = job.stored.get(verdict.ref)
    for place in stored.places or [Place(stored.source_id or "", stored.path)] if stored is not None else ():
        if place in lost:
            verdict.places, verdict.blob_id = [place], lost[place][0]
            errors = lost[place][1].diagnostics
            verdict.stop = summary.stop_of(_condition(errors), errors)
            return
    verdict.removed = True


def _condition(diagnostics: list[Diagnostic] | tuple[Diagnostic, ...]) -> str:
    return "Loaded" if any(one.code in _UNREADABLE for one in diagnostics if one.is_error) else "Valid"


def _parsed(file: values.File, readers: Mapping[str, snapshot.Reader], built: values.Built, at: marks.At) -> load.File:
    parsed: load.File | None = file.parsed
    if parsed is None and file.packed is not None:
        parsed = load.File.unpack(file.packed)
    if parsed is None:
        at(marks.Reading(*file.place))
        parsed = read(file.place, file.blob_id, readers.get(file.place.source_id))
        at(None)
    if (file.fresh or file.packed is None) and _holds_everywhere(file, parsed):
        built.parsed.append(values.Parsed(file.blob_id, file.packed or parsed.pack(), file.until))
    return parsed.at(file.place.path)


def _holds_everywhere(file: values.File, parsed: load.File) -> bool:
    """Whether the blob is the same file for every source: one that is too large is so by the limits of one of them."""
    return not file.blob_id.startswith(FORBIDDEN) and all(one.code != "FileTooLarge" for one in parsed.diagnostics)
