"""From manifests that are valid by themselves to an order in which they can be compiled.

    resolve(manifests, linked=…, broken=…, names=…, platform=…) -> Resolution
    read_files(manifest, read) -> (texts, diagnostics)

Looks at one tenant. `manifests` may be all of it or only what a change affects: the changed ones and everything that
depends on them, directly or not; then `linked` holds the unaffected resources they name, and cost follows the change,
not the tenant. (A cycle that a change closes lies wholly inside what it affects, so none is missed.)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agentos_engine import kind, model, suggest

MAX_FILE: Final = 1 << 20
MAX_SHOWN: Final = 8
"""Members of a circle that a message names."""
MAX_WAYS: Final = 50
"""Members of a circle above which all are told the same way round, not each its own."""
Names = Callable[[str], Iterable[str]]
"""Names of all resources of a kind; only asked for a hint."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What follows for each manifest given; the ref of each valid one is in exactly one of the three.

    `order` has dependencies before dependants. `wrong` has what is wrong with a resource's own references. `blocked`
    has those with nothing wrong themselves that need, directly or not, one that is wrong or broken: the nearest one.
    """

    order: tuple[model.Manifest, ...] = ()
    wrong: Mapping[model.ResourceRef, tuple[model.Diagnostic, ...]] = field(default_factory=dict)
    blocked: Mapping[model.ResourceRef, model.ResourceRef] = field(default_factory=dict)

    @property
    def diagnostics(self) -> tuple[model.Diagnostic, ...]:
        """Everything wrong, in the order of files and lines."""
        every = [diagnostic for found in self.wrong.values() for diagnostic in found]
        return tuple(sorted(every, key=lambda one: (one.path, one.line, one.column, one.code)))


def resolve(
    manifests: Iterable[model.Manifest],
    *,
    linked: Mapping[model.ResourceRef, kind.Linked] | None = None,
    broken: Collection[model.ResourceRef] = (),
    suspects: Iterable[model.Manifest] = (),
    names: Names | None = None,
    platform: bool = False,
) -> Resolution:
    """Check references, duplicates, cycles and placement; give an order to compile in.

    Args:
        manifests: placed (`at`) manifests; two with one ref are DuplicateResource, and neither goes on.
        linked: unaffected resources by ref, at least those that `manifests` name.
        broken: refs that exist in git but cannot be used: they failed to load, or stalled earlier. Naming one is no
            error of the one who names it.
        suspects: manifests of broken refs that are whole enough to look at their references too.
        names: for hints; `manifests`, `linked` and `broken` are always looked at.
        platform: whether the source is the platform's, where Tenant and Role may stand.
    """
    suspected = list(suspects)
    refs = {manifest.ref for manifest in suspected}
    unusable = refs.union(broken)
    resolution = _Resolver([*manifests, *suspected], linked or {}, unusable, names, platform).run()
    if not suspected:
        return resolution
    return Resolution(
        resolution.order, resolution.wrong, {r: b for r, b in resolution.blocked.items() if r not in refs}
    )


class _Resolver:
    def __init__(
        self,
        manifests: Iterable[model.Manifest],
        linked: Mapping[model.ResourceRef, kind.Linked],
        broken: Collection[model.ResourceRef],
        names: Names | None,
        platform: bool,
    ) -> None:
        self.linked = linked
        self.broken = broken
        self.names = names
        self.platform = platform
        self.wrong: dict[model.ResourceRef, list[model.Diagnostic]] = {}
        self.manifests: dict[model.ResourceRef, model.Manifest] = {}
        self.twice: dict[model.ResourceRef, list[model.Manifest]] = {}
        self.known: dict[str, suggest.Known] = {}
        for manifest in manifests:
            first = self.manifests.setdefault(manifest.ref, manifest)
            if first is not manifest:
                self.twice.setdefault(manifest.ref, [first]).append(manifest)
        for claimants in self.twice.values():
            self.duplicates(claimants)

    def run(self) -> Resolution:
        for manifest in self.manifests.values():
            self.placement(manifest)
            for reference in manifest.references:
                self.reference(manifest, reference)
        groups = list(self.groups())
        for group in groups:
            if len(group) > 1 or group[0] in self.targets(group[0]):
                self.cycle(group)
        order: list[model.Manifest] = []
        blocked: dict[model.ResourceRef, model.ResourceRef] = {}
        for group in groups:
            for ref in group:
                if ref in self.wrong or ref in self.broken:
                    continue
                cause = next((to for to in self.all_targets(ref) if self.unusable(to, blocked)), None)
                if cause is not None:
                    blocked[ref] = cause
                else:
                    order.append(self.manifests[ref])
        return Resolution(tuple(order), {ref: tuple(found) for ref, found in self.wrong.items()}, blocked)

    def unusable(self, ref: model.ResourceRef, blocked: Mapping[model.ResourceRef, model.ResourceRef]) -> bool:
        return ref in self.wrong or ref in blocked or ref in self.broken

    def say(self, manifest: model.Manifest, code: str, at: model.Location, message: str, hint: str | None) -> None:
        self.wrong.setdefault(manifest.ref, []).append(manifest.diagnostic(code, at, message, hint))

    def targets(self, ref: model.ResourceRef) -> list[model.ResourceRef]:
        """What a resource names among the manifests given."""
        return [to for to in self.all_targets(ref) if to in self.manifests]

    def all_targets(self, ref: model.ResourceRef) -> list[model.ResourceRef]:
        return [reference.to for reference in self.manifests[ref].references]

    def duplicates(self, claimants: list[model.Manifest]) -> None:
        claimants.sort(key=lambda manifest: (manifest.path, manifest.line))
        self.manifests[claimants[0].ref] = claimants[0]
        for manifest in claimants:
            other = next(one for one in claimants if one is not manifest)
            message = f"{manifest.ref} is also defined at {other.path}:{other.line}"
            self.say(manifest, "DuplicateResource", ("metadata", "name"), message, "Rename one, or delete it.")

    def placement(self, manifest: model.Manifest) -> None:
        if not self.platform and kind.kinds()[manifest.ref.kind].scope == "platform":
            message = f"a {manifest.ref.kind} is only allowed in the platform's repository"
            self.say(manifest, "KindNotAllowed", ("kind",), message, "Move it there.")

    def reference(self, manifest: model.Manifest, reference: model.Reference) -> None:
        to = reference.to
        if to in self.twice:
            return
        if to in self.manifests:
            operations: Mapping[str, Any] | None = self.manifests[to].spec.get("operations")
        elif to in self.broken:
            return
        elif to in self.linked:
            operations = self.linked[to].interface.get("operations")
        else:
            self.unknown(manifest, reference)
            return
        if reference.part is not None and reference.part not in (operations or {}):
            hint = suggest.did_you_mean(reference.part, operations or {}, f"It has {suggest.one_of(operations or {})}.")
            message = f"the connector {to.name!r} has no operation {reference.part!r}"
            self.say(manifest, "UnknownOperation", reference.at, message, hint)

    def unknown(self, manifest: model.Manifest, reference: model.Reference) -> None:
        to = reference.to
        if to.kind not in self.known:
            known = {
                ref.name for refs in (self.manifests, self.linked, self.broken) for ref in refs if ref.kind == to.kind
            }
            known.update(self.names(to.kind) if self.names is not None else ())
            self.known[to.kind] = suggest.Known(known)
        names = self.known[to.kind]
        near = names.closest(to.name)
        otherwise = f"The {to.kind}s here are {names.one_of()}." if names else f"There is no {to.kind} yet."
        hint = f"Did you mean `{near}`?" if near else otherwise
        self.say(manifest, "UnknownReference", reference.at, f"there is no {to.kind} {to.name!r}", hint)

    def cycle(self, group: list[model.ResourceRef]) -> None:
        """Tell every member its own way round, at the reference that takes part in it."""
        members = set(group)
        refs = sorted(group)
        shared = self.way_round(refs[0], members) if len(refs) > MAX_WAYS else None
        for ref in refs:
            way = shared or self.way_round(ref, members)
            manifest = self.manifests[ref]
            follows = way[1:2] if way[0] == ref else members
            at = next(reference.at for reference in manifest.references if reference.to in follows)
            shown = [str(one) for one in way]
            if len(way) > MAX_SHOWN:
                shown[MAX_SHOWN - 2 : -1] = [f"{len(way) - MAX_SHOWN + 1:,} more"]
            message = "circle of references: " + " → ".join(shown)
            self.say(manifest, "ReferenceCycle", at, message, "Break the circle at one of its references.")

    def way_round(self, start: model.ResourceRef, members: set[model.ResourceRef]) -> list[model.ResourceRef]:
        """The shortest way from `start` through `members` back to itself."""
        came: dict[model.ResourceRef, model.ResourceRef] = {}
        waiting = [start]
        for ref in waiting:
            for to in self.targets(ref):
                if to == start:
                    way = [start]
                    while ref != start:
                        way.append(ref)
                        ref = came[ref]
                    return [start, *reversed(way[1:]), start]
                if to in members and to not in came:
                    came[to] = ref
                    waiting.append(to)
        raise AssertionError(start)

    def groups(self) -> Iterator[list[model.ResourceRef]]:
        """Strongly connected groups, dependencies first (Tarjan's algorithm, without recursion)."""
        index: dict[model.ResourceRef, int] = {}
        low: dict[model.ResourceRef, int] = {}
        open_: list[model.ResourceRef] = []
        inside: set[model.ResourceRef] = set()
        for root in sorted(self.manifests):
            if root in index:
                continue
            work = [(root, iter(self.targets(root)))]
            index[root] = low[root] = len(index)
            open_.append(root)
            inside.add(root)
            while work:
                ref, following = work[-1]
                for to in following:
                    if to not in index:
                        index[to] = low[to] = len(index)
                        open_.append(to)
                        inside.add(to)
                        work.append((to, iter(self.targets(to))))
                        break
                    if to in inside:
                        low[ref] = min(low[ref], index[to])
                else:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[ref])
                    if low[ref] == index[ref]:
                        group: list[model.ResourceRef] = []
                        while not group or group[-1] != ref:
                            group.append(open_.pop())
                            inside.discard(group[-1])
                        yield group


def read_files(
    manifest: model.Manifest, read: Callable[[str], bytes | None], root: str = ""
) -> tuple[dict[str, str], list[model.Diagnostic]]:
    """The texts a manifest includes, by path as written, and what is wrong with them.

    `read` gives the bytes at a path, None where no plain file stands there; it may stop at `MAX_FILE` + 1 bytes. With
    `root` the manifest's path and those read lie below that folder, which is the source's root.
    """
    texts: dict[str, str] = {}
    found: list[model.Diagnostic] = []
    for written in manifest.files:
        text, problem = _read_file(manifest, written, read, f"{root}/" if root else "")
        if problem is not None:
            code, message, hint = problem
            found.append(manifest.diagnostic(code, _where(manifest, written), message, hint))
        else:
            texts[written] = text
    return texts, found


def _read_file(
    manifest: model.Manifest, written: str, read: Callable[[str], bytes | None], prefix: str
) -> tuple[str, tuple[str, str, str] | None]:
    try:
        path = prefix + model.resolve_file(manifest.path.removeprefix(prefix), written)
    except model.FileOutsideSource:
        hint = "A path inside the source: relative to this file, or from the source's root with a leading `/`."
        return "", ("FileOutsideSource", f"{written!r} leads out of the source", hint)
    data = read(path)
    if data is None:
        return "", ("FileNotFound", f"there is no file {path!r}", "Commit the file, or correct the path.")
    if len(data) > MAX_FILE:
        return "", ("FileTooLarge", f"{path!r} has more than {MAX_FILE:,} bytes", "Make the file smaller.")
    if model.is_lfs_pointer(data):
        return "", ("FileForbidden", f"{path!r} is a pointer of git LFS, not the file", "Store the file in git itself.")
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError:
        return "", ("InvalidUtf8", f"{path!r} is not UTF-8", "Save the file as UTF-8.")


def _where(manifest: model.Manifest, written: str) -> model.Location:
    """Where a file is included; looked up only when something is wrong with it."""
    one = kind.kinds()[manifest.ref.kind]
    spec = one.spec.model_validate(manifest.spec)
    return next(location for path, location in one.files(spec) if path == written)
