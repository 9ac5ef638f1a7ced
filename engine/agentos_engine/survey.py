"""A tree of files as what stands in it: sources, tenants, manifests, and the order to compile them in.

    survey(paths, read, run=…) -> Survey        the platform's source, and those of its tenants inside the repository

Nothing is compiled here. `validate` says all that is wrong with a tree, `preview` what one changes against another.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agentos_engine import load, model, paths, resolve

Read = Callable[[str], bytes | None]
"""The bytes of the file at a path of the repository, None if there is none. Picklable, to be used in processes."""
Loaded = Mapping[str, tuple[bytes, load.File]]
"""Files by path, packed (empty where no other process is going to see them) and as they are."""


class Run(Protocol):
    """Runs a function over pieces, in any order and any process; answers come in the order of the pieces."""

    def __call__(self, function: Callable[[Any], Any], pieces: Sequence[Any], /) -> Iterable[Any]: ...


@dataclass(frozen=True, slots=True)
class Source:
    """Manifests that stand below `root` (clean path, empty for the repository's), and the tenant they belong to.

    `tenant` is None for the platform's own source.
    """

    root: str
    tenant: str | None
    selection: paths.Selection


@dataclass(frozen=True, slots=True)
class Chosen:
    """Paths of one source: of its manifests, and of what stands in their place and is no plain file."""

    plain: tuple[str, ...]
    barred: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadPiece:
    """Files to load, as paths of the repository."""

    read: Read
    paths: tuple[str, ...]


@dataclass(slots=True)
class Unit:
    """One tenant while it is put together. Files stand under the root of their source and their path."""

    tenant: str | None
    packed: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: list[tuple[tuple[str, str], model.Manifest]] = field(default_factory=list)
    broken: list[tuple[tuple[str, str], load.Broken]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Survey:
    """Every tenant with its resolution, what was wrong so far, and how many files and manifests were looked at."""

    work: tuple[tuple[Unit, resolve.Resolution], ...]
    diagnostics: tuple[model.Diagnostic, ...]
    files: int
    manifests: int


def survey(
    tree: Iterable[str],
    read: Read,
    *,
    selection: paths.Selection | None = None,
    run: Run = map,
    pieces: int = 1,
    platform: bool = True,
    forbidden: Iterable[str] = (),
) -> Survey:
    """A repository loaded and resolved, not compiled; arguments as for `validate`."""
    own, inner, every, barred, known = sources(tree, read, selection, run, pieces, platform, forbidden)
    return of_sources([own, *inner], every, barred, known, read, run, pieces, platform)


def sources(
    tree: Iterable[str],
    read: Read,
    selection: paths.Selection | None,
    run: Run,
    pieces: int,
    platform: bool,
    forbidden: Iterable[str],
) -> tuple[Source, list[Source], list[str], list[str], Loaded]:
    """The repository's own source, those of the tenants in it, all paths in order, and what was loaded to know."""
    every, barred = sorted(tree), sorted(forbidden)
    own = Source("", None, selection or paths.Selection.of())
    if not platform:
        return own, [], every, barred, {}
    loaded = _load(read, list(_select(own, every, read)), run, pieces)
    return own, list(_tenants(loaded)), every, barred, loaded


def chosen_of(source: Source, every: Sequence[str], barred: Sequence[str], read: Read) -> Chosen:
    """Paths of `source` among all paths, which are in order."""
    return Chosen(tuple(_select(source, every, read)), tuple(_select(source, barred, read)))


def of_sources(
    sources: Sequence[Source],
    every: Sequence[str],
    barred: Sequence[str],
    known: Loaded,
    read: Read,
    run: Run,
    pieces: int,
    platform: bool,
) -> Survey:
    """The survey of some sources; `known` is not loaded again."""
    chosen = [(one, chosen_of(one, every, barred, read)) for one in sources]
    return resolved(chosen, known, read, run, pieces, platform)


def resolved(
    sources: Sequence[tuple[Source, Chosen]], known: Loaded, read: Read, run: Run, pieces: int, platform: bool
) -> Survey:
    """The survey of sources whose paths are chosen."""
    chosen = [(source, path) for source, of in sources for path in of.plain]
    loaded = {**known, **_load(read, [path for _, path in chosen if path not in known], run, pieces)}
    found = [
        model.Diagnostic("FileForbidden", path, 1, 1, "this is no plain file", "commit the file itself, not a link")
        for _, of in sources
        for path in of.barred
    ]
    count = 0
    work: list[tuple[Unit, resolve.Resolution]] = []
    for unit in _units(chosen, loaded, found):
        count += len(unit.manifests) + len(unit.broken)
        resolution = resolve.resolve(
            [manifest for _, manifest in unit.manifests],
            broken={broken.ref for _, broken in unit.broken},
            suspects=[broken.manifest for _, broken in unit.broken if broken.manifest is not None],
            platform=platform and unit.tenant is None,
        )
        found += resolution.diagnostics
        work.append((unit, resolution))
    return Survey(tuple(work), tuple(found), len(chosen), count)


def _select(source: Source, every: Sequence[str], read: Read) -> Iterator[str]:
    """Those of `every`, which is in order, that are manifests of a source."""
    prefix = f"{source.root}/" if source.root else ""
    rules = source.selection.rules(read(prefix + paths.IGNORE_FILE) or b"")
    for path in itertools.islice(every, bisect.bisect_left(every, prefix), None):
        if not path.startswith(prefix):
            break
        if rules.selects(path[len(prefix) :]):
            yield path


def _tenants(loaded: Loaded) -> Iterator[Source]:
    """Sources of the tenants that the platform's source names and that stand in this repository."""
    for _, file in loaded.values():
        for manifest in file.manifests:
            if manifest.ref.kind == "Tenant":
                for source in manifest.spec["sources"]:
                    root = "/".join(part for part in source.get("path", ".").split("/") if part not in ("", "."))
                    if "git" not in source and ".." not in root.split("/"):
                        selection = paths.Selection.of(source.get("include"), source.get("exclude", ()))
                        yield Source(root, manifest.ref.name, selection)


def _load(read: Read, wanted: Sequence[str], run: Run, pieces: int) -> dict[str, tuple[bytes, load.File]]:
    out: dict[str, tuple[bytes, load.File]] = {}
    if pieces == 1:
        return {path: (b"", load.load(read(path) or b"")) for path in wanted}
    todo = list(dict.fromkeys(wanted))
    for answer in run(load_piece, [LoadPiece(read, tuple(part)) for part in _parts(todo, pieces)]):
        for path, packed in answer:
            out[path] = (packed, load.File.unpack(packed))
    return out


def load_piece(piece: LoadPiece) -> list[tuple[str, bytes]]:
    """Load files; each as `load.File.pack` gives it."""
    return [(path, load.load(piece.read(path) or b"").pack()) for path in piece.paths]


def _units(
    chosen: Iterable[tuple[Source, str]],
    loaded: Loaded,
    found: list[model.Diagnostic],
) -> Iterable[Unit]:
    """The tenants with their manifests; diagnostics of loading go to `found`."""
    units: dict[str | None, Unit] = {}
    for source, path in chosen:
        unit = units.setdefault(source.tenant, Unit(source.tenant))
        at = (source.root, path)
        if at in unit.packed:
            continue
        unit.packed[at], file = loaded[path]
        placed = file.at(path)
        found += placed.diagnostics
        unit.manifests += [(at, manifest) for manifest in placed.manifests]
        unit.broken += [(at, broken) for broken in placed.broken]
    return units.values()


def _parts(items: Sequence[str], pieces: int) -> Iterator[Sequence[str]]:
    yield from chunks(items, max(1, -(-len(items) // pieces)))


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """`items` in parts of at most `size`."""
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
