"""The pure heart of a round: a `Job` in, everything that follows from it out. Runs in any process, writes nothing.

load → resolve → compile → admit → decide → summarize, over the affected resources only. An exception while one object
is compiled quarantines that object, and so does what ended a process that built it before (`isolation`); the others go
on. Whole and incremental builds are this one function: they differ in what the job names as affected, which property
tests hold to give the same outcome.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
from typing import Any

import orjson
import zstandard

from agentos_controller import clock
from agentos_controller.reconcile import definitions, holding, marks, summary, values
from agentos_controller.reconcile.summary import Verdict
from agentos_controller.reconcile.values import Place, Stored
from agentos_controller.source import snapshot
from agentos_engine import artifacts, conditions, kind, load, model, plan, policy, resolve
from agentos_engine import compile as compiling
from agentos_engine.model import Diagnostic, ResourceRef

log = logging.getLogger(__name__)

Readers = Mapping[str, snapshot.Reader]
"""Source id to what reads its tree; a source that cannot be read now is missing."""

QUARANTINE = 3600 * clock.SECOND
"""How long what ended the process that built it is left alone, in microseconds; other content is tried at once."""

_LEVEL = 1
"""Of zstd: artifacts are small, and many are written at once."""


def build(job: values.Job, readers: Readers, at: marks.At = marks.nowhere) -> values.Built:
    """Everything that follows from `job`; `at` is told over which object it is."""
    return _Build(job, readers, at).run()


class _Build:
    def __init__(self, job: values.Job, readers: Readers, at: marks.At) -> None:
        self.job = job
        self.readers = readers
        self.at = at
        self.built = values.Built(fresh=not job.stored and job.tenant.active_seq == 0)
        self.verdicts: dict[ResourceRef, Verdict] = {}
        self.linked: dict[ResourceRef, kind.Linked] = {}
        """What can be compiled against: unaffected resources that are Ready, then each as it compiles."""
        self.pins: dict[ResourceRef, str] = {}
        """The digest of each of `linked`, to which its dependants are pinned."""

    def run(self) -> values.Built:
        found = definitions.find(self.job, self.readers, self.built, self.at)
        self.verdicts = found.verdicts
        self._compile_all(found)
        self._admit()
        decision = self._decide()
        self.built.asked = decision.asked
        self._summarize(found, decision)
        ended = {ref for ref, one in self.verdicts.items() if one.removed and ref not in self.job.stored}
        self.built.names_tenants = any(
            ref.kind == "Tenant" for ref in self.verdicts.keys() - ended - {*self.built.deleted}
        )
        return self.built

    def _compile_all(self, found: definitions.Found) -> None:
        kept = {ref for ref in self.job.stored if self._kept(ref)}
        broken = {ref for ref, verdict in self.verdicts.items() if verdict.stop is not None and ref not in kept}
        for ref, stored in self.job.stored.items():
            if ref not in kept and (ref in self.verdicts or stored.blob_id is None):
                continue
            entry = stored.entry
            if entry is None or (stored.ready != "True" and ref not in kept):
                broken.add(ref)
            else:
                self.linked[ref] = _linked(ref, stored, entry)
                self.pins[ref] = entry.artifact_digest
        self._resolve(found, self.verdicts.keys() - kept, broken)
        if kept := self.verdicts.keys() & kept:
            # What serves of them goes on, and others build on that; their heads are looked at for themselves.
            broken |= {ref for ref, verdict in self.verdicts.items() if verdict.stop is not None}
            self._resolve(found, kept, broken, links=False)

    def _kept(self, ref: ResourceRef) -> bool:
        """Whether `ref` goes on serving as it is on purpose (`holding.keeps`)."""
        stored = self.job.stored[ref]
        if stored.entry is None:
            return False
        verdict = self.verdicts.get(ref)
        gone = verdict.removed if verdict is not None else stored.blob_id is None
        return holding.keeps(stored.suspended, self._gone(ref) if gone else None, self.job.tenant.standing)

    def _gone(self, ref: ResourceRef) -> holding.Gone:
        stored = self.job.stored[ref]
        return holding.Gone(stored.annotations, stored.drain_until, ref in self.job.drained)

    def _resolve(
        self,
        found: definitions.Found,
        refs: Collection[ResourceRef],
        broken: Collection[ResourceRef],
        links: bool = True,
    ) -> None:
        """Resolve and compile `refs`; with `links` others are compiled against what comes of them."""
        stopped = [self.verdicts[ref] for ref in refs if self.verdicts[ref].stop is not None]
        resolution = resolve.resolve(
            [
                manifest
                for ref, manifests in found.manifests.items()
                if ref in refs and self.verdicts[ref].stop is None
                for _place, manifest in manifests
            ],
            linked=self.linked,
            broken=broken,
            suspects=[verdict.manifest for verdict in stopped if verdict.manifest],
            names=self._names,
            platform=self.job.tenant.platform,
        )
        for ref, wrong in resolution.wrong.items():
            self._wrong(self.verdicts[ref], "Resolved", wrong)
        for ref, cause in resolution.blocked.items():
            self.verdicts[ref].stop = plan.dependency_stalled([cause])
        for manifest in resolution.order:
            self.at(manifest.ref)
            self._compile(self.verdicts[manifest.ref], manifest, links)
        self.at(None)

    def _names(self, of_kind: str) -> Iterable[str]:
        return (ref.name for ref in (*self.job.known, *self.job.stored) if ref.kind == of_kind)

    def _wrong(self, verdict: Verdict, condition: str, found: Iterable[Diagnostic]) -> bool:
        """Note diagnostics; whether they stop the resource."""
        found = list(found)
        verdict.diagnostics += found
        verdict.stop = verdict.stop or summary.stop_of(condition, found)
        return verdict.stop is not None

    def _compile(self, verdict: Verdict, manifest: model.Manifest, links: bool) -> None:
        if self._quarantined(verdict):
            return
        texts, wrong = self._texts(verdict, manifest)
        if self._wrong(verdict, "Resolved", wrong):
            return
        verdict.manifest = manifest = load.with_files(manifest, texts)
        wanted = sorted({reference.to for reference in manifest.references})
        stalled = [ref for ref in wanted if ref not in self.linked]
        if stalled:
            verdict.stop = plan.dependency_stalled(stalled)
            return
        try:
            compiled = compiling.compile(manifest, {ref: self.linked[ref] for ref in wanted}, texts)
            digest = compiled.digest
        except Exception as error:
            log.exception("compiling failed", extra={"resource": str(verdict.ref), "tenant": self.job.tenant.name})
            text = f"compiling failed: {type(error).__name__}: {error}"
            verdict.stop = conditions.Stop("Compiled", "Quarantined", text[:1000])
            return
        if self._wrong(verdict, "Compiled", compiled.diagnostics):
            return
        verdict.compiled = compiled
        verdict.entry = plan.Entry(manifest.digest, digest, {ref: self.pins[ref] for ref in wanted})
        if links:
            self.linked[verdict.ref] = compiled.linked
            self.pins[verdict.ref] = digest

    def _quarantined(self, verdict: Verdict) -> bool:
        """Whether the resource is left alone, because what built it came to an end over it."""
        job, stored = self.job, self.job.stored.get(verdict.ref)
        if (how := job.poisoned.get(verdict.ref)) is not None:
            verdict.quarantine = job.now + QUARANTINE
            until = clock.rfc3339(verdict.quarantine)
            text = f"the process that built it {how}; it is left alone until {until} or until it changes"
        elif stored is not None and stored.quarantined(verdict.blob_id, job.now):
            verdict.quarantine = stored.quarantine_until
            text = next((one.message for one in stored.conditions if one.reason == "Quarantined"), "")
        else:
            return False
        verdict.stop = conditions.Stop("Compiled", "Quarantined", text)
        return True

    def _texts(self, verdict: Verdict, manifest: model.Manifest) -> tuple[dict[str, str], list[Diagnostic]]:
        """The included files. Where one stands, and that one is missing, is remembered too: it may come."""
        source_id = next(place.source_id for place in verdict.places if place.path == manifest.path)
        reader = self.readers.get(source_id)
        paths: list[str] = []

        def read(path: str) -> bytes | None:
            paths.append(path)
            blob = reader.find(path) if reader is not None else None
            if blob is None or reader is None:
                return None
            self.built.texts[Place(source_id, path)] = blob
            try:
                return reader.read(blob, resolve.MAX_FILE)
            except snapshot.FileTooLarge:
                return bytes(resolve.MAX_FILE + 1)

        texts, wrong = resolve.read_files(manifest, read)
        verdict.files = tuple(dict.fromkeys(paths))
        return texts, wrong

    def _admit(self) -> None:
        """Ask the policies that are in force after this round: new rules judge the commit that brings them."""
        job = self.job
        own = dict(job.own_policies)
        for ref, verdict in self.verdicts.items():
            if ref.kind != "Policy":
                continue
            if verdict.removed:
                own.pop(ref.name, None)
            elif verdict.compiled is not None and verdict.compiled.artifact is not None:
                own[ref.name] = verdict.compiled.artifact.body
        origin = "platform" if job.tenant.platform else "tenant"
        bound = [policy.Bound(name, "platform", body) for name, body in job.policies.items()]
        bound += [policy.Bound(name, origin, body) for name, body in own.items()]  # type: ignore[arg-type]
        if not bound:
            return
        tenant = {"name": job.tenant.name, "labels": dict(job.tenant.spec.get("labels") or {})}
        for ref, verdict in self.verdicts.items():
            manifest, compiled = verdict.manifest, verdict.compiled
            if verdict.stop is not None or manifest is None or compiled is None:
                continue
            self.at(ref)
            source = job.origins[verdict.places[0].source_id]
            told = {"ref": source.ref, "author": source.author}
            subject = policy.Subject(ref, manifest.path, manifest.labels, manifest.annotations, tenant, told)
            body = compiled.artifact.body if compiled.artifact is not None else compiled.interface.get("model")
            admission = policy.admit(bound, subject, body, self._old(ref))
            verdict.stop = admission.stop
            verdict.findings = (*admission.warnings, *admission.audits)
        self.at(None)

    def _old(self, ref: ResourceRef) -> Mapping[str, Any] | None:
        stored = self.job.stored.get(ref)
        if stored is None or stored.artifact_digest is None:
            return None
        packed = self.job.bodies.get(stored.artifact_digest)
        if packed is None:
            return (stored.interface or {}).get("model")
        body: Mapping[str, Any] = orjson.loads(zstandard.decompress(packed))
        return body

    def _decide(self) -> holding.Decision:
        stored = self.job.stored
        desired: dict[ResourceRef, plan.Desired] = {}
        gone: dict[ResourceRef, holding.Gone] = {}
        for ref, verdict in self.verdicts.items():
            if verdict.removed:
                if ref in stored and stored[ref].entry is not None:
                    gone[ref] = self._gone(ref)
            elif verdict.stop is not None or verdict.entry is None:
                desired[ref] = plan.Broken(verdict.stop or plan.dependency_stalled(()))
            else:
                desired[ref] = plan.Built(verdict.entry)
        suspended = {ref: row.suspended for ref, row in stored.items() if row.suspended is not None}
        kept = {ref for ref in stored if self._kept(ref)}
        wants = holding.Wants(desired, gone, suspended, self.job.serving)
        return holding.decide(_Live(stored, kept), wants, self.job.tenant.standing, self.job.now)

    def _summarize(self, found: definitions.Found, decision: holding.Decision) -> None:
        writer = summary.Summary(self.job, self.built, decision)
        compressor = zstandard.ZstdCompressor(level=_LEVEL)
        for ref in sorted(self.verdicts):
            verdict = self.verdicts[ref]
            writer.add(verdict)
            compiled = verdict.compiled
            if ref in self.built.moved and compiled is not None and compiled.artifact is not None:
                data = artifacts.canonical(compiled.artifact.body)
                self.built.artifacts.append(
                    values.PackedArtifact(
                        compiled.artifact.digest,
                        compiled.artifact.type,
                        compiled.artifact.name,
                        compressor.compress(data),
                        len(data),
                    )
                )
        for place, diagnostics in found.unanswered.items():
            writer.diagnostics([place], diagnostics, self.job.origins[place.source_id].revision)


def _linked(ref: ResourceRef, stored: Stored, entry: plan.Entry) -> kind.Linked:
    interface = stored.interface or {}
    # A kind that emits no artifact is pinned by the digest of its interface (`compile.Compiled.digest`).
    emits = entry.artifact_digest != artifacts.digest_of(dict(interface))
    return kind.Linked(ref, interface, entry.artifact_digest if emits else None)


class _Live:
    """The generation that serves, as far as the job knows it (`plan.Live`)."""

    def __init__(self, stored: Mapping[ResourceRef, Stored], kept: Set[ResourceRef]) -> None:
        self._stored = stored
        self._kept = kept
        self._entries = {ref: row.entry for ref, row in stored.items()}
        self._users: defaultdict[ResourceRef, list[ResourceRef]] = defaultdict(list)
        for ref, entry in self._entries.items():
            for dep in entry.deps if entry is not None else ():
                self._users[dep].append(ref)

    def entry(self, ref: ResourceRef) -> plan.Entry | None:
        return self._entries.get(ref)

    def dependants(self, ref: ResourceRef) -> Iterable[ResourceRef]:
        return self._users.get(ref, ())

    def stalled(self, ref: ResourceRef) -> bool:
        return ref in self._stored and self._stored[ref].ready != "True" and ref not in self._kept
