"""What compiling emits: a closed set of artifact types, as plain JSON under a digest.

Kinds are open and emit artifacts; appliers and the runtime know artifacts and never see a kind or a spec. A `Model`
folds into the graphs that use it; Tenant and Role become `access`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import orjson

COMPILER = "1"
"""Version of the compiler's output; part of every artifact digest, raised when equal text must compile anew."""

ArtifactType = Literal["graph", "schedule", "trigger", "connector", "policy", "access"]
ARTIFACT_TYPES: tuple[ArtifactType, ...] = ("graph", "schedule", "trigger", "connector", "policy", "access")


def canonical(value: Any) -> bytes:
    """Canonical JSON of a JSON value: sorted keys, no spaces, UTF-8. Equal values give equal bytes."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest_of(value: Any) -> str:
    """``sha256:<hex>`` over the canonical JSON of `value`."""
    return digest_of_canonical(canonical(value))


def digest_of_canonical(data: bytes) -> str:
    """The same, where the canonical JSON is at hand."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of_stored(compiler: str, of_type: str, name: str, body: bytes) -> str:
    """The digest of an artifact of which only the parts are at hand, `body` as canonical JSON: `Artifact.digest`."""
    rest = canonical({"compiler": compiler, "name": name, "type": of_type})
    return digest_of_canonical(b'{"body":' + body + b"," + rest[1:])


@dataclass(frozen=True)
class Artifact:
    """One compiled thing. `name` is ``Kind/name`` of the resource it came from; `body` is plain JSON.

    ``body["uses"]`` maps every direct callee (``Kind/name``) to its artifact digest: equal digest, equal behaviour of
    the whole closure.
    """

    type: ArtifactType
    name: str
    body: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        return digest_of({"compiler": COMPILER, "type": self.type, "name": self.name, "body": self.body})
