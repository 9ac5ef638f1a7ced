"""What moved in one source since it was last reconciled, from the difference of two trees.

Where the old tree is not known any more, the persisted path-to-blob map takes its place. Which files are manifests is
the engine's rule (`paths`), the same one that `agentos validate` goes by.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from agentos_controller.reconcile import estate, gather, ruling, write
from agentos_controller.reconcile.definitions import FORBIDDEN
from agentos_controller.reconcile.gather import Moved
from agentos_controller.reconcile.values import Place
from agentos_controller.source import git, snapshot
from agentos_engine import errors, paths

Tree = snapshot.Snapshot


@dataclass(slots=True)
class View:
    """One source at the revision of this round. `snapshot` is None where it cannot be read at all."""

    source: estate.Source
    revision: str
    snapshot: snapshot.Snapshot | None
    ref: str | None = None
    author: str | None = None
    subject: str | None = None
    observed: str | None = None
    rewritten_from: str | None = None
    """What served, where it is no ancestor of `revision`."""
    rules: paths.Rules | None = None
    moved: Moved | None = None
    before: Callable[[], Tree | None] | None = None
    """The tree that was reconciled last, where this one turns out not to be usable."""
    compared: bool = False
    """Whether `moved` comes from the persisted map."""
    _listing: dict[str, str] | None = None

    def list_all(self) -> None:
        """Find every manifest file of the source."""
        if self._listing is None and self.snapshot is not None and self.rules is not None:
            listing = self.snapshot.listing(_leading(self.rules))
            self._listing = _manifests(self.rules, listing.files, listing.forbidden)

    def manifests(self) -> Mapping[str, str]:
        """Every manifest file: path to blob id."""
        self.list_all()
        return self._listing or {}

    def files(self, texts: Mapping[Place, str]) -> write.Files:
        """What the persisted map has to learn; `texts` are the included files that were looked up."""
        entries: dict[str, tuple[str, str] | None] = {}
        if self.moved is not None:
            for path in self.moved.texts:
                if self.snapshot is not None and self.snapshot.find(path) is None:
                    entries[path] = None
        for place, blob in texts.items():
            if place.source_id == self.source.id:
                entries[place.path] = (blob, "text")
        if self.moved is not None:
            for path, found in self.moved.manifests.items():
                entries[path] = (found, "manifest") if found is not None else entries.get(path)
        return write.Files(self.source.id, entries)

    def reconciled(self) -> None:
        """Remember in memory what was written."""
        if self.snapshot is not None:
            self.source.head, self.source.tree = self.revision, self.snapshot.tree
        self.source.observed = self.observed
        self.source.message = self.source.error.message if self.source.error is not None else None


def look(tenant: estate.Tenant, rulings: ruling.Rulings) -> list[View]:
    """The sources of `tenant`, each at the newest revision that can be read and may serve."""
    views, known = [], rulings.known
    for source in tenant.sources:
        where = source.address
        if where is None:
            views.append(View(source, source.head or "", None))
            continue
        ruled = rulings.rule(source)
        source.error = ruled.stop
        revision = source.head if source.suspended else ruled.revision or source.head
        before = source.head if ruled.rewritten and not source.suspended else None
        tree = _limited(known.snapshot(where, revision, source.path), source) if revision else None
        author, subject = known.author(where, revision) if revision else (None, None)
        view = View(source, revision or "", tree, where.ref, author, subject, ruled.observed, before)
        if source.head is not None and source.head != revision:
            view.before = functools.partial(known.snapshot, where, source.head, source.path)
        views.append(view)
    return views


def _limited(tree: snapshot.Snapshot | None, source: estate.Source) -> snapshot.Snapshot | None:
    """`tree` under the limits of its source; a working copy has none."""
    if isinstance(tree, git.GitSnapshot):
        limits = source.spec.get("limits", {})
        tree.max_files = min(tree.max_files, limits.get("files", tree.max_files))
        tree.max_bytes = min(tree.max_bytes, limits.get("fileBytes", tree.max_bytes))
    return tree


async def find(conn: AsyncConnection, view: View, *, whole: bool) -> None:
    """Fill in what moved in `view` since the last round; with `whole` also list all there is.

    A tree that cannot be used stalls its source; the one before stands in.
    """
    try:
        await _find(conn, view, whole=whole)
    except errors.Stall as refused:
        view.source.error, view.revision, view.rewritten_from = refused, view.source.head or "", None
        view.snapshot = view.before() if view.before is not None else None
        view.before, view.moved, view._listing = None, None, None
        await _find(conn, view, whole=whole)


async def _find(conn: AsyncConnection, view: View, *, whole: bool) -> None:
    tree = view.snapshot
    if tree is None:
        return
    view.rules = rules = view.source.selection.rules(_ignored(tree))
    changes = tree.changes(view.source.tree, rules.enter) if view.source.tree is not None else None
    if changes is not None and paths.IGNORE_FILE not in changes.files:
        manifests = _manifests(rules, changes.files, changes.forbidden)
        view.moved = Moved(view.source.id, manifests, frozenset(changes.files.keys() - manifests.keys()))
    else:
        await _compare(conn, view, tree)
    if whole:
        view.list_all()


async def _compare(conn: AsyncConnection, view: View, tree: snapshot.Snapshot) -> None:
    stored = await gather.entries(conn, view.source.id)
    now = view.manifests()
    moved: dict[str, str | None] = {path: blob for path, blob in now.items() if stored.get(path, ("", ""))[0] != blob}
    moved.update({path: None for path, (_blob, state) in stored.items() if state == "manifest" and path not in now})
    texts = frozenset(path for path, (blob, state) in stored.items() if state == "text" and tree.find(path) != blob)
    view.moved = Moved(view.source.id, moved, texts)


def _ignored(tree: snapshot.Snapshot) -> bytes:
    blob = tree.find(paths.IGNORE_FILE)
    if blob is None:
        return b""
    try:
        return tree.read(blob)
    except snapshot.FileTooLarge as error:
        raise errors.Stall("SourceInvalid", f"{paths.IGNORE_FILE} has {error.size} bytes") from None


def _leading(rules: paths.Rules) -> snapshot.Enter:
    """Only folders that can hold manifests: included files are found by their path."""

    def enter(folder: str) -> bool:
        within = any(
            not root or folder == root or folder.startswith(root + "/") or root.startswith(folder + "/")
            for root in rules.include
        )
        return within and rules.enter(folder)

    return enter


B = TypeVar("B", str, str | None)


def _manifests(rules: paths.Rules, files: Mapping[str, B], forbidden: Mapping[str, B]) -> dict[str, B]:
    """The manifest files among `files`, and what stands in the way of one, by path to blob id."""
    found = {path: blob for path, blob in files.items() if rules.selects(path)}
    for path, what in forbidden.items():
        if rules.concerns(path):
            if what is not None:
                found[path] = FORBIDDEN + what
            elif path not in found:
                found[path] = what
    return found
