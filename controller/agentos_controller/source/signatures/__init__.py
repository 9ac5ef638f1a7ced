"""Whose signature a commit carries: SSH, OpenPGP or sigstore, over the bytes of the commit and nothing else.

Pure: no repository, no network, no subprocess, no clock; whom to trust comes from the Tenant. Hostile bytes are refused
with a reason and never raise. What follows from a verdict is decided in `source.gate`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from agentos_controller.source.signatures import commits, sigstore, ssh, transparency, verdict
from agentos_controller.source.signatures.verdict import Refused, Verdict, Verified
from agentos_engine import errors

if TYPE_CHECKING:
    from agentos_controller.source.signatures import openpgp

__all__ = ["Refused", "Trust", "Verdict", "Verified", "judge", "trust", "verify"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signature counts, ready to verify with. `digest` names it: same digest, same verdicts."""

    digest: str
    ssh: Mapping[bytes, str]
    openpgp: tuple[openpgp.Certificate, ...] = ()
    identities: tuple[sigstore.Identity, ...] = ()
    sigstore: sigstore.Trust | None = None


def trust(spec: Mapping[str, Any]) -> Trust:
    """From `verify` of a source, as a Tenant's artifact holds it: ``{signers, sigstore}``; remembered by content.

    Raises:
        errors.Stall: ``SourceInvalid``, naming the signer whose key cannot be used, and why.
    """
    return _trust(json.dumps({key: spec.get(key) for key in ("signers", "sigstore")}, sort_keys=True))


@functools.lru_cache(maxsize=256)
def _trust(text: str) -> Trust:
    spec = json.loads(text)
    keys: dict[bytes, str] = {}
    certificates: list[openpgp.Certificate] = []
    identities: list[sigstore.Identity] = []
    for name, signer in spec["signers"].items():
        where = f"verify.signers.{name}"
        if "ssh" in signer:
            keys.setdefault(_usable(f"{where}.ssh", ssh.public_key, signer["ssh"]), name)
        elif "openpgp" in signer:
            certificates.append(_usable(f"{where}.openpgp", functools.partial(_certificate, name), signer["openpgp"]))
        else:
            identities.append(sigstore.Identity(name, signer["sigstore"]["identity"], signer["sigstore"]["issuer"]))
    anchors = None
    if spec["sigstore"] is not None:
        anchors = sigstore.Trust(
            _usable("verify.sigstore.roots", sigstore.roots, spec["sigstore"]["roots"]),
            _usable("verify.sigstore.logKey", transparency.log, spec["sigstore"]["logKey"]),
        )
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Trust(digest, keys, tuple(certificates), tuple(identities), anchors)


def _certificate(name: str, text: str) -> openpgp.Certificate:
    from agentos_controller.source.signatures import openpgp  # most installations never need Sequoia

    return openpgp.certificate(name, text)


def _usable(where: str, read: Callable[[str], _T], text: str) -> _T:
    try:
        return read(text)
    except ValueError as error:
        raise errors.Stall("SourceInvalid", f"{where} cannot be used: {error}") from None


def judge(raw: bytes, trusted: Trust, *, sha256: bool = False) -> Verdict:
    """The verdict on a commit as git stores it; `sha256` for a repository of that object format."""
    try:
        commit = commits.parse(raw, sha256=sha256)
    except verdict.Bad as bad:
        return bad.refused
    return verify(commit.payload, commit.signature, trusted, commit.committed_at)


def verify(payload: bytes, signature: bytes | None, trusted: Trust, committed_at: datetime) -> Verdict:
    """Who of `trusted` made `signature` (armored) over `payload`, the commit without it."""
    if signature is None:
        return Refused("CommitUnsigned", "it is not signed")
    try:
        return _verify(payload, signature, trusted, committed_at)
    except verdict.Bad as bad:
        return bad.refused
    except Exception as error:  # libraries read certificates late, and raise many sorts; whatever it is, it is no proof
        return Refused("SignatureInvalid", f"its signature cannot be read ({type(error).__name__})")


def _verify(payload: bytes, signature: bytes, trusted: Trust, committed_at: datetime) -> Verified:
    label = signature[:64].partition(b"\n")[0].removeprefix(b"-----BEGIN ").removesuffix(b"-----").decode("latin-1")
    if label == ssh.LABEL:
        return ssh.verify(payload, signature, trusted.ssh)
    if label == sigstore.LABEL:
        if trusted.sigstore is None:
            raise verdict.unknown("its signature is a sigstore one, and no listed signer signs so")
        return sigstore.verify(payload, signature, trusted.identities, trusted.sigstore)
    if label == "PGP SIGNATURE":
        if not trusted.openpgp:
            raise verdict.unknown("its signature is an OpenPGP one, and no listed signer signs so")
        from agentos_controller.source.signatures import openpgp  # see above

        return openpgp.verify(payload, signature, trusted.openpgp, committed_at)
    raise verdict.Bad("its signature is neither SSH, OpenPGP nor sigstore")
