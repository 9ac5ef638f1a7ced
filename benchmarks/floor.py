"""The bare floor that the scale benchmark is held against: one process, no rules, no database, nothing but the reading.

It lists a commit's tree, reads every manifest's blob, parses it with positions, checks it against the JSON Schema,
builds the pydantic model and hashes the canonical JSON. Prints seconds as JSON.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import time

import pygit2

from agentos_engine import artifacts, kind, schemas, yamltext


def run(repository: str) -> dict[str, float]:
    """Seconds for the whole, and the number of manifests."""
    kinds = kind.kinds()
    validators = {name: schemas.validator(name) for name in kinds}
    gc.disable()
    began = time.perf_counter()
    repo = pygit2.Repository(repository)
    digests = []
    for blob in _blobs(repo, repo.revparse_single("HEAD^{tree}")):
        for document in yamltext.parse(blob.data).documents:
            data = document.data
            name = data["kind"]
            if not validators[name].is_valid(data):
                raise SystemExit(f"not valid: {data['metadata']}")
            kinds[name].spec.model_validate(data["spec"])
            digests.append(hashlib.sha256(artifacts.canonical(data)).hexdigest())
    return {"seconds": time.perf_counter() - began, "manifests": len(digests)}


def _blobs(repo: pygit2.Repository, tree: pygit2.Tree):  # type: ignore[no-untyped-def]
    for entry in tree:
        if isinstance(entry, pygit2.Tree):
            yield from _blobs(repo, entry)
        elif isinstance(entry, pygit2.Blob) and str(entry.name).endswith(".yaml"):
            yield entry


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(sys.argv[1])) + "\n")
