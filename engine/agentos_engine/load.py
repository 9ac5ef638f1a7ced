"""From the bytes of a file to its manifests, each valid by itself; what is wrong becomes diagnostics, not exceptions.

The result depends on the bytes alone, not on the path, so it is kept under the id of the blob (`File.pack`). The fast
way is the good one: parse, one schema check, one model, one hash; explanations are only computed for what failed. What
one manifest cannot know of others is looked at by `resolve`, typed expressions by `compile`.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgpack
from pydantic import ValidationError

from agentos_engine import artifacts, explain, fields, kind, model, positions, schemas, secretscan, suggest, yamltext

MAX_TOLD: Final = 100
"""Problems told of one file, and of one document of it."""

_NAME: Final = re.compile(fields.NAME_PATTERN.removesuffix("$")).fullmatch
_ORDERED: Final = ("steps", "rules")
"""Keys of a spec whose order has a meaning; canonical JSON forgets order, so a digest takes it in by itself."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A document that says which resource it is, and is not valid.

    Whoever serves this resource keeps serving what was good last. `manifest` is there where the document matches its
    schema and only fails a rule of its kind: enough to look for what else is wrong.
    """

    ref: model.ResourceRef
    document: int
    line: int
    diagnostics: tuple[model.Diagnostic, ...]
    manifest: model.Manifest | None = None


@dataclass(frozen=True, slots=True)
class File:
    """What one file holds.

    `diagnostics` is everything wrong with it, those of `broken` included. `lost` tells that some document could not be
    told apart (broken syntax, no kind, no name): what this path held before may still be meant, so none of it may be
    taken as deleted.
    """

    manifests: tuple[model.Manifest, ...] = ()
    diagnostics: tuple[model.Diagnostic, ...] = ()
    broken: tuple[Broken, ...] = ()
    lost: bool = False

    @property
    def ok(self) -> bool:
        return not any(diagnostic.is_error for diagnostic in self.diagnostics)

    def at(self, path: str) -> File:
        """The same file, placed at `path` of its source."""
        if not self.diagnostics:
            return replace(self, manifests=tuple([manifest.at(path) for manifest in self.manifests]))
        return File(
            tuple(manifest.at(path) for manifest in self.manifests),
            tuple(diagnostic.at(path) for diagnostic in self.diagnostics),
            tuple(
                replace(
                    broken,
                    diagnostics=tuple(diagnostic.at(path) for diagnostic in broken.diagnostics),
                    manifest=broken.manifest.at(path) if broken.manifest else None,
                )
                for broken in self.broken
            ),
            self.lost,
        )

    def pack(self) -> bytes:
        """Bytes to store under the blob's id and `schemas.VERSION`."""
        packed: bytes = msgpack.packb(
            (
                [_pack_manifest(manifest) for manifest in self.manifests],
                [_pack_diagnostic(diagnostic) for diagnostic in self.diagnostics],
                [
                    (
                        str(broken.ref),
                        broken.document,
                        broken.line,
                        [_pack_diagnostic(diagnostic) for diagnostic in broken.diagnostics],
                        _pack_manifest(broken.manifest) if broken.manifest else None,
                    )
                    for broken in self.broken
                ],
                self.lost,
            )
        )
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> File:
        """The file that `pack` made these bytes of."""
        manifests, diagnostics, broken, lost = msgpack.unpackb(packed, strict_map_key=False)
        return cls(
            tuple([_unpack_manifest(*item) for item in manifests]),
            tuple([model.Diagnostic(*item) for item in diagnostics]),
            tuple(
                [
                    Broken(
                        model.ResourceRef.parse(ref),
                        document,
                        line,
                        tuple([model.Diagnostic(*item) for item in inner]),
                        _unpack_manifest(*manifest) if manifest else None,
                    )
                    for ref, document, line, inner, manifest in broken
                ]
            ),
            lost,
        )


def _pack_manifest(manifest: model.Manifest) -> tuple[Any, ...]:
    source, start = positions.source(manifest.positions), manifest.positions.start
    marks = source.marks if isinstance(source.marks, bytes) else msgpack.packb(source.marks)
    return (
        manifest.ref.kind,
        manifest.ref.name,
        source.data,
        marks,
        start.line,
        start.column,
        manifest.digest,
        manifest.document,
        [(reference.to.kind, reference.to.name, reference.at, reference.part) for reference in manifest.references],
        manifest.files,
    )


def _unpack_manifest(
    kind_name: str,
    name: str,
    data: dict[str, Any],
    marks: bytes,
    line: int,
    column: int,
    digest: str,
    document: int,
    references: list[tuple[str, str, list[str | int], str | None]],
    files: list[str],
) -> model.Manifest:
    metadata = data["metadata"]
    return model.Manifest(
        model.ResourceRef(kind_name, name),
        data["spec"],
        digest,
        document,
        positions.of(data, marks, model.Position(line, column)),
        "",
        metadata.get("labels", {}),
        metadata.get("annotations", {}),
        tuple([model.Reference(model.ResourceRef(to, of), tuple(at), part) for to, of, at, part in references]),
        tuple(files),
    )


def _pack_diagnostic(diagnostic: model.Diagnostic) -> tuple[Any, ...]:
    return (
        diagnostic.code,
        diagnostic.path,
        diagnostic.line,
        diagnostic.column,
        diagnostic.message,
        diagnostic.hint,
        diagnostic.severity,
    )


def load(data: bytes) -> File:
    """Every manifest of a file and everything wrong with it. Path independent; never raises for what `data` holds."""
    text = yamltext.parse(data)
    if len(text.documents) == 1 and not text.problems:
        document = text.documents[0]
        if not document.problems and (manifest := _fast(document, 0)) is not None:
            return File((manifest,))
    manifests: list[model.Manifest] = []
    broken: list[Broken] = []
    diagnostics = [_problem(problem) for problem in text.problems]
    lost = bool(text.problems)
    for number, document in enumerate(text.documents):
        if document.data is None and not document.problems:
            continue
        manifest = _fast(document, number) if not document.problems else None
        if manifest is not None:
            manifests.append(manifest)
            continue
        found, manifest = _explain(document, number)
        diagnostics += found
        ref = _ref(document.data)
        if not any(diagnostic.is_error for diagnostic in found) and manifest is not None:
            manifests.append(manifest)
        elif ref is None:
            lost = True
        else:
            broken.append(Broken(ref, number, document.positions.start.line, tuple(found), manifest))
            lost = lost or not document.complete
    diagnostics = _cut(diagnostics)
    return File(tuple(manifests), tuple(diagnostics), tuple(broken), lost)


def _cut(found: list[model.Diagnostic]) -> list[model.Diagnostic]:
    """The first of many problems, and that there are more."""
    if len(found) <= MAX_TOLD:
        return found
    last = found[MAX_TOLD - 1]
    message = f"more than {MAX_TOLD} problems here; the others are not told"
    more = model.Diagnostic("TooManyProblems", last.path, last.line, last.column, message, "Mend these first.")
    return [*found[:MAX_TOLD], more]


def with_files(manifest: model.Manifest, texts: Mapping[str, str]) -> model.Manifest:
    """The manifest with the content of its included files in its digest; `texts` by path as written."""
    if not manifest.files:
        return manifest
    hashes = {path: hashlib.sha256(texts[path].encode()).hexdigest() for path in manifest.files}
    return replace(manifest, digest=artifacts.digest_of([manifest.digest, hashes]))


def _fast(document: yamltext.Document, number: int) -> model.Manifest | None:
    """The manifest of a document that is right in every respect, else None."""
    data = document.data
    if data.__class__ is not dict or data.get("apiVersion") != kind.API_VERSION:
        return None
    name = data.get("kind")
    if name.__class__ is not str or name not in kind.kinds():
        return None
    one = kind.kinds()[name]
    if not schemas.validator(name).is_valid(data):
        return None
    try:
        spec = one.spec.model_validate(data["spec"])
    except ValidationError:
        return None
    manifest, canonical = _manifest(data, document, number, one, spec)
    if next(iter(one.validate(manifest, spec)), None) or next(secretscan.scan(data["spec"], canonical), None):
        return None
    return manifest


def _manifest(
    data: dict[str, Any], document: yamltext.Document, number: int, one: kind.Kind[Any], spec: kind.Spec
) -> tuple[model.Manifest, bytes]:
    """The manifest, and the canonical JSON that its digest is made of."""
    written = data["spec"]
    metadata = data["metadata"]
    order = [list(written[key]) for key in _ORDERED if written.get(key).__class__ is dict]
    canonical = artifacts.canonical([data, order])
    manifest = model.Manifest(
        model.ResourceRef(one.name, metadata["name"]),
        written,
        artifacts.digest_of_canonical(canonical),
        number,
        positions.of(data, document.marks),
        "",
        metadata.get("labels", {}),
        metadata.get("annotations", {}),
        tuple(one.references(spec)),
        tuple(dict.fromkeys([path for path, _ in one.files(spec)])),
        spec,
    )
    return manifest, canonical


def _problem(problem: yamltext.Problem) -> model.Diagnostic:
    at = problem.position
    return model.Diagnostic(problem.code, "", at.line, at.column, problem.message, problem.hint)


def _ref(data: Any) -> model.ResourceRef | None:
    """The resource a document says it is, however wrong the rest; None if no resource can be called so."""
    if not isinstance(data, dict) or data.get("apiVersion") != kind.API_VERSION:
        return None
    of, metadata = data.get("kind"), data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(of, str) or of not in kind.kinds() or not isinstance(name, str) or not _NAME(name):
        return None
    return model.ResourceRef(of, name)


def _explain(document: yamltext.Document, number: int) -> tuple[list[model.Diagnostic], model.Manifest | None]:
    """Everything wrong with a document, in the order of its text; its manifest if it matches its schema."""
    found = [_problem(problem) for problem in document.problems]
    places = document.positions
    data = document.data
    manifest = None
    said = _not_a_manifest(data) if document.complete else []
    if not said and document.complete:
        one = kind.kinds()[data["kind"]]
        wrong = explain.errors(schemas.shipped(one.name), schemas.validator(one.name), data)
        said = list(itertools.islice(wrong, MAX_TOLD + 1))  # explaining costs more than finding
        if not said:
            spec, said = _model(one, data)
            if spec is not None:
                manifest, _canonical = _manifest(data, document, number, one, spec)
                found += one.validate(manifest, spec)
        spec_ = data.get("spec")
        said += [explain.Found(*secret) for secret in secretscan.scan(spec_, artifacts.canonical(spec_))]
    for one_found in said:
        if one_found.location not in document.damaged:
            at = places.of_key(one_found.location) if one_found.key else places.of(one_found.location)
            found.append(model.Diagnostic(one_found.code, "", at.line, at.column, one_found.message, one_found.hint))
    unique = dict.fromkeys(found)
    return _cut(sorted(unique, key=lambda diagnostic: (diagnostic.line, diagnostic.column, diagnostic.code))), manifest


def _model(one: kind.Kind[Any], data: dict[str, Any]) -> tuple[kind.Spec | None, list[explain.Found]]:
    """The spec; where the model is stricter than the schema, its errors."""
    try:
        return one.spec.model_validate(data["spec"]), []
    except ValidationError as error:
        return None, [
            explain.Found("SchemaViolation", ("spec", *detail["loc"]), detail["msg"])
            for detail in error.errors(include_url=False, include_input=False)
        ]


def _not_a_manifest(data: Any) -> list[explain.Found]:
    """Why a document is no manifest at all: nothing more can then be said about it."""
    kinds = kind.kinds()
    hint = f"Every document needs apiVersion: {kind.API_VERSION} and a kind. Move or exclude what is no manifest."
    if not isinstance(data, dict):
        return [explain.Found("NotAManifest", (), "this document is no mapping", hint)]
    found = []
    version, name = data.get("apiVersion"), data.get("kind")
    if "apiVersion" not in data and "kind" not in data:
        near = [key for key in data if suggest.closest(str(key), ("apiVersion", "kind"))]
        meant = (
            f"Did you mean `{suggest.closest(near[0], ('apiVersion', 'kind'))}` instead of `{near[0]}`?"
            if near
            else hint
        )
        return [explain.Found("NotAManifest", (), "this document has no apiVersion and no kind", meant)]
    if version != kind.API_VERSION:
        said = f"apiVersion is {version!r}" if "apiVersion" in data else "this document has no apiVersion"
        found.append(explain.Found("NotAManifest", ("apiVersion",), said, f"Write `apiVersion: {kind.API_VERSION}`."))
    if not isinstance(name, str) or name not in kinds:
        said = f"there is no kind {name!r}" if "kind" in data else "this document has no kind"
        meant = suggest.did_you_mean(str(name), kinds, f"The kinds are {suggest.one_of(kinds)}.") or hint
        found.append(explain.Found("NotAManifest", ("kind",), said, meant))
    return found
