"""Random histories of a tenant, and two ways to reconcile each commit: everything anew, or only what it affects.

Pure: files are text in memory, a generation is a `plan.Inventory`. The manifests go through the engine's own load,
resolve, compile and settle.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

from agentos_engine import compile as compiler
from agentos_engine import conditions, kind, load, model, plan, resolve
from agentos_engine.model import ResourceRef
from tests.support.tree import manifest

Files = Mapping[str, str]


def _model(name: str, variant: int) -> str:
    return manifest("Model", name, f"  {{provider: scripted, script: [{{text: hello {variant}}}]}}")


def _connector(name: str, variant: int) -> str:
    operation = "get" if variant else "fetch"
    return manifest(
        "Connector",
        name,
        f"""
  http: {{baseUrl: "https://{name}{variant}.example"}}
  operations:
    {operation}: {{effect: read, request: GET /x, input: {{type: object, properties: {{n: {{type: integer}}}}}}}}
""",
    )


def _agent(name: str, variant: int, connector: str, delegate: str | None) -> str:
    tools = f"    c: {{connector: {connector}}}\n" + (f"    d: {{agent: {delegate}}}\n" if delegate else "")
    return manifest("Agent", name, f"  model: m\n  instructions: Do {variant}.\n  tools:\n{tools}")


def _workflow(name: str, variant: int, agent: str, connector: str) -> str:
    steps = f"    ask: {{agent: {agent}}}\n    get: {{connector: {connector}.get, with: {{n: {variant}}}}}\n"
    return manifest("Workflow", name, f"  steps:\n{steps}")


BROKEN = ("spec:", "spec:\n  nonsense: 1"), ("  steps:", "  steps:\n    bad: {set: {x: '${nope}'}}")
"""What an edit can break: the schema of any kind, an expression of a workflow."""


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, str]:
    """A path and the text of one manifest; one in five is broken, some move to another path."""
    kind_ = draw(st.sampled_from(["m", "c", "a", "w"]))
    variant = draw(st.integers(0, 2))
    name = kind_ if kind_ == "m" else kind_ + draw(st.sampled_from("12"))
    if kind_ == "m":
        text = _model(name, variant)
    elif kind_ == "c":
        text = _connector(name, variant)
    elif kind_ == "a":
        delegate = draw(st.sampled_from([None, "a1", "a2"]))
        text = _agent(name, variant, draw(st.sampled_from(["c1", "c2"])), delegate)
    else:
        text = _workflow(name, variant, draw(st.sampled_from(["a1", "a2"])), draw(st.sampled_from(["c1", "c2"])))
    if draw(st.integers(0, 4)) == 0:
        text = text.replace(*draw(st.sampled_from(BROKEN)))
    return f"{draw(st.sampled_from(['', '', 'moved-']))}{name}.yaml", text


@st.composite
def histories(draw: st.DrawFn) -> list[Files]:
    """The files of each commit: edits, renames, deletions, reverts."""
    start = {"m.yaml": _model("m", 0), "c1.yaml": _connector("c1", 1), "c2.yaml": _connector("c2", 1)}
    commits: list[Files] = [start]
    for _ in range(draw(st.integers(1, 8))):
        files = dict(commits[-1])
        action = draw(st.sampled_from(["edit", "edit", "edit", "rename", "delete", "revert"]))
        if action == "edit":
            files.update(draw(st.lists(texts(), min_size=1, max_size=4)))
        elif action == "revert":
            files = dict(draw(st.sampled_from(commits)))
        elif files:
            path = draw(st.sampled_from(sorted(files)))
            text = files.pop(path)
            if action == "rename":
                files["renamed-" + path] = text
        commits.append(files)
    return commits


@dataclass(slots=True)
class Head:
    """What is known of one commit: manifests by ref, what came of each, and which generation serves after it."""

    files: Files = field(default_factory=dict)
    manifests: dict[ResourceRef, list[model.Manifest]] = field(default_factory=dict)
    broken: set[ResourceRef] = field(default_factory=set)
    compiled: dict[ResourceRef, compiler.Compiled] = field(default_factory=dict)
    stops: dict[ResourceRef, conditions.Stop] = field(default_factory=dict)
    live: plan.Inventory = field(default_factory=plan.Inventory)

    @property
    def refs(self) -> set[ResourceRef]:
        return {*self.manifests, *self.broken}


@functools.lru_cache(maxsize=10_000)
def _load(text: str) -> load.File:
    return load.load(text.encode())


def read(files: Files) -> Head:
    """Load every file."""
    head = Head(files)
    for path, text in files.items():
        loaded = _load(text).at(path)
        head.broken |= {broken.ref for broken in loaded.broken}
        for one in loaded.manifests:
            head.manifests.setdefault(one.ref, []).append(one)
    return head


def reconcile(before: Head, files: Files, *, whole: bool) -> tuple[Head, plan.Settlement]:
    """The next head: looking at everything (`whole`), or only at what differs from `before`."""
    head = read(files)
    affected = head.refs | before.refs if whole else _affected(before, head)
    settled = settle(before, head, affected)
    decided = affected | {change.ref for change in settled.changes}
    head.stops = {**{ref: stop for ref, stop in before.stops.items() if ref not in decided}, **settled.stops}
    head.live = before.live.apply(settled)
    return head, settled


def settle(before: Head, head: Head, affected: Iterable[ResourceRef]) -> plan.Settlement:
    """Resolve and compile `affected`, the rest of `head` being as it was in `before`."""
    affected = set(affected)
    unaffected = head.refs - affected
    head.compiled = {ref: before.compiled[ref] for ref in unaffected if ref in before.compiled}
    stalled = {ref for ref in unaffected if ref in before.stops}
    linked: dict[ResourceRef, kind.Linked] = {
        ref: found.linked for ref, found in head.compiled.items() if ref not in stalled
    }
    desired: dict[ResourceRef, plan.Desired] = {
        ref: plan.Broken(conditions.Stop("Valid", "SchemaViolation", str(ref))) for ref in affected & head.broken
    }
    usable = [one for ref in affected - head.broken for one in head.manifests.get(ref, ())]
    found = resolve.resolve(usable, linked=linked, broken=stalled | (affected & head.broken))
    for ref, wrong in found.wrong.items():
        desired[ref] = plan.Broken(conditions.Stop("Resolved", wrong[0].code, wrong[0].message))
    for ref, cause in found.blocked.items():
        desired[ref] = plan.Broken(plan.dependency_stalled([cause]))
    for one in found.order:
        wanted = {reference.to for reference in one.references}
        failed = sorted(ref for ref in wanted if ref not in linked)
        if failed:
            desired[one.ref] = plan.Broken(plan.dependency_stalled(failed))
            continue
        done = compiler.compile(one, {ref: linked[ref] for ref in wanted}, {})
        if done.stop is not None:
            desired[one.ref] = plan.Broken(done.stop)
            continue
        head.compiled[one.ref] = done
        linked[one.ref] = done.linked
        pins = {ref: head.compiled[ref].digest for ref in wanted}
        desired[one.ref] = plan.Built(plan.Entry(one.digest, done.digest, pins))
    removed = {ref for ref in before.live.entries if ref not in head.refs}
    return plan.settle(before.live, desired, removed)


def _affected(before: Head, head: Head) -> set[ResourceRef]:
    """Refs of changed files and, transitively, whoever names them at the head."""
    changed = {path for path in {*before.files, *head.files} if before.files.get(path) != head.files.get(path)}
    affected: set[ResourceRef] = set()
    for files in (before.files, head.files):
        affected |= read({path: files[path] for path in changed if path in files}).refs
    users: dict[ResourceRef, set[ResourceRef]] = {}
    for ref, manifests in head.manifests.items():
        for one in manifests:
            for reference in one.references:
                users.setdefault(reference.to, set()).add(ref)
    pending = list(affected)
    while pending:
        for user in users.get(pending.pop(), ()):
            if user not in affected:
                affected.add(user)
                pending.append(user)
    return affected
