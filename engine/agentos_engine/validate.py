"""The whole front over a tree of files: load, resolve and compile everything, and say all that is wrong.

    validate(paths, read, run=…) -> Report        a repository: the platform's source and those of its tenants inside it
    validate_tree(files) -> Report                the same for files in memory

This is what `agentos validate` runs; nothing is applied. The work is cut into independent pieces (a tenant; or some
files to load, then some manifests to compile), which `run` may spread over processes: pieces and answers are picklable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agentos_engine import compile as compiling
from agentos_engine import kind, load, model, paths, resolve, survey
from agentos_engine.survey import Read, Run

_INDEPENDENT: Final = frozenset(
    {"ExpressionSyntax", "TemplateSyntax", "UnknownName", "UnknownFunction", "ExpressionTooComplex"}
)
"""Errors of compiling that are true whatever is missing."""


@dataclass(frozen=True, slots=True)
class Report:
    """`diagnostics` in the order of paths and lines; how many files and manifests were looked at."""

    diagnostics: tuple[model.Diagnostic, ...]
    files: int
    manifests: int

    @property
    def ok(self) -> bool:
        return not any(diagnostic.is_error for diagnostic in self.diagnostics)


@dataclass(frozen=True, slots=True)
class TenantPiece:
    """One tenant: its sources with their paths."""

    read: Read
    sources: tuple[tuple[survey.Source, survey.Chosen], ...]


@dataclass(frozen=True, slots=True)
class CompilePiece:
    """Manifests to compile, with all they depend on.

    `files` holds packed files with the root of their source and their path in the repository; `order` names manifests
    of them (index of the file, number of the document) with dependencies first, and whether their diagnostics are
    wanted; `extra` those that are already known to be wrong, to see what else is.
    """

    read: Read
    files: tuple[tuple[str, str, bytes], ...]
    order: tuple[tuple[int, int, bool], ...]
    extra: tuple[tuple[int, int], ...]


def validate_tree(files: Mapping[str, bytes], selection: paths.Selection | None = None) -> Report:
    """Everything wrong with a repository held in memory, by path."""
    return validate(files, files.get, selection=selection)


def validate(
    tree: Iterable[str],
    read: Read,
    *,
    selection: paths.Selection | None = None,
    run: Run = map,
    pieces: int = 1,
    platform: bool = True,
    forbidden: Iterable[str] = (),
) -> Report:
    """Everything wrong with a repository.

    Args:
        tree: paths of all its files.
        read: gives their bytes.
        selection: what the repository's own source includes.
        run: `map`, or the like of a process pool.
        pieces: into how many pieces each round of work is cut.
        platform: whether Tenant and Role may stand here; tenants found here are validated with the sources they have
            in this repository.
        forbidden: paths of what is there but is no plain file: symlinks, submodules.
    """
    own, inner, every, barred, known = survey.sources(tree, read, selection, run, pieces, platform, forbidden)
    tenants: dict[str | None, list[survey.Source]] = {}
    for source in inner:
        tenants.setdefault(source.tenant, []).append(source)
    if pieces > 1 and len(tenants) >= pieces:
        # Tenants do not know each other: each is one piece from its bytes to its diagnostics.
        work = [
            TenantPiece(read, tuple((one, survey.chosen_of(one, every, barred, read)) for one in of))
            for of in tenants.values()
        ]
        parts = list(run(tenant_piece, work))
        seen = survey.of_sources([own], every, barred, known, read, run, pieces, platform)
    else:
        parts = []
        seen = survey.of_sources([own, *inner], every, barred, known, read, run, pieces, platform)
    if pieces == 1:
        found = _whole(seen, read)
    else:
        found = list(seen.diagnostics)
        told = {(one.path, one.line, one.column) for one in found}
        for answer in run(compile_piece, _cut(read, seen.work, pieces)):
            found += [one for one in answer if (one.path, one.line, one.column) not in told]
    found += [diagnostic for part in parts for diagnostic in part.diagnostics]
    unique = {(one.path, one.line, one.column, one.code): one for one in reversed(found)}
    ordered = sorted(unique.values(), key=lambda one: (one.path, one.line, one.column, one.code))
    return Report(
        tuple(ordered),
        seen.files + sum(part.files for part in parts),
        seen.manifests + sum(part.manifests for part in parts),
    )


def tenant_piece(piece: TenantPiece) -> Report:
    """Everything wrong with one tenant."""
    seen = survey.resolved(piece.sources, {}, piece.read, map, 1, False)
    return Report(tuple(_whole(seen, piece.read)), seen.files, seen.manifests)


def _whole(seen: survey.Survey, read: Read) -> list[model.Diagnostic]:
    """All diagnostics of a survey, compiled here."""
    found = list(seen.diagnostics)
    told = {(one.path, one.line, one.column) for one in found}
    for unit, resolution in seen.work:
        roots = {manifest.ref: at[0] for at, manifest in unit.manifests}
        order = [(roots[manifest.ref], manifest, True) for manifest in resolution.order]
        extra = [(at[0], manifest) for at, manifest in _extra(unit, resolution)]
        compiled = _compile_all(order, extra, read)
        found += [one for one in compiled if (one.path, one.line, one.column) not in told]
    return found


def _cut(read: Read, work: Sequence[tuple[survey.Unit, resolve.Resolution]], pieces: int) -> list[CompilePiece]:
    """Pieces of about equal size. A dependency that several pieces need is compiled in each, and told of in one."""
    total = sum(len(resolution.order) for _, resolution in work)
    size = max(1, -(-total // pieces))
    out = []
    for unit, resolution in work:
        where = {manifest.ref: at for at, manifest in unit.manifests}
        by_ref = {manifest.ref: manifest for manifest in resolution.order}
        rank = {manifest.ref: index for index, manifest in enumerate(resolution.order)}
        extra = _extra(unit, resolution)
        mine = sorted(resolution.order, key=lambda manifest: (manifest.path, manifest.document))
        parts = list(survey.chunks(mine, size)) or [[]]
        for index, part in enumerate(parts):
            wanted = {manifest.ref for manifest in part}
            more = extra if index == 0 else []
            needed = _closure([*part, *(manifest for _, manifest in more)], by_ref)
            places: dict[tuple[str, str], int] = {}
            order = tuple(
                (places.setdefault(where[ref], len(places)), by_ref[ref].document, ref in wanted)
                for ref in sorted(needed, key=lambda ref: rank[ref])
            )
            extras = tuple((places.setdefault(at, len(places)), manifest.document) for at, manifest in more)
            files = tuple((root, path, unit.packed[root, path]) for root, path in places)
            if order or extras:
                out.append(CompilePiece(read, files, order, extras))
    return out


def _extra(unit: survey.Unit, resolution: resolve.Resolution) -> list[tuple[tuple[str, str], model.Manifest]]:
    """Manifests that are wrong or blocked already, where there is enough of them to look for more."""
    out = [(at, broken.manifest) for at, broken in unit.broken if broken.manifest is not None]
    stopped = {*resolution.wrong, *resolution.blocked}
    return out + [(at, manifest) for at, manifest in unit.manifests if manifest.ref in stopped]


def _closure(
    start: Iterable[model.Manifest], by_ref: Mapping[model.ResourceRef, model.Manifest]
) -> set[model.ResourceRef]:
    """Refs of `start` and of all they depend on, as far as they compile."""
    waiting = list(start)
    seen = {manifest.ref for manifest in waiting if manifest.ref in by_ref}
    while waiting:
        for reference in waiting.pop().references:
            if reference.to in by_ref and reference.to not in seen:
                seen.add(reference.to)
                waiting.append(by_ref[reference.to])
    return seen


def compile_piece(piece: CompilePiece) -> list[model.Diagnostic]:
    """Compile the manifests of a piece; the diagnostics wanted, placed in the repository."""
    manifests: dict[tuple[int, int], model.Manifest] = {}
    for index, (_, path, packed) in enumerate(piece.files):
        file = load.File.unpack(packed).at(path)
        for manifest in file.manifests:
            manifests[index, manifest.document] = manifest
        for broken in file.broken:
            if broken.manifest is not None:
                manifests[index, broken.document] = broken.manifest
    order = [(piece.files[at][0], manifests[at, document], wanted) for at, document, wanted in piece.order]
    extra = [(piece.files[at][0], manifests[at, document]) for at, document in piece.extra]
    return _compile_all(order, extra, piece.read)


def _compile_all(
    order: Iterable[tuple[str, model.Manifest, bool]], extra: Iterable[tuple[str, model.Manifest]], read: Read
) -> list[model.Diagnostic]:
    linked: dict[model.ResourceRef, kind.Linked] = {}
    found: list[model.Diagnostic] = []
    for root, manifest, wanted in order:
        texts, wrong = resolve.read_files(manifest, read, root)
        deps = {reference.to: linked[reference.to] for reference in manifest.references if reference.to in linked}
        compiled = None
        if not wrong and len(deps) == len({reference.to for reference in manifest.references}):
            compiled = compiling.compile(manifest, deps, texts)
            if compiled.ok:
                linked[manifest.ref] = compiled.linked
        if wanted:
            found += compiled.diagnostics if compiled else (*wrong, *further(manifest, deps, texts))
    for root, manifest in extra:
        texts, wrong = resolve.read_files(manifest, read, root)
        deps = {reference.to: linked[reference.to] for reference in manifest.references if reference.to in linked}
        found += (*wrong, *further(manifest, deps, texts))
    return found


def further(
    manifest: model.Manifest, deps: Mapping[model.ResourceRef, kind.Linked], texts: Mapping[str, str]
) -> list[model.Diagnostic]:
    """What else is wrong with a manifest that already stopped before compiling.

    With all it names at hand that is every error; with something missing only what would be wrong anyway.
    """
    complete = all(reference.to in deps for reference in manifest.references) and set(manifest.files) <= set(texts)
    said = [diagnostic for diagnostic in compiling.compile(manifest, deps, texts).diagnostics if diagnostic.is_error]
    return said if complete else [diagnostic for diagnostic in said if diagnostic.code in _INDEPENDENT]
