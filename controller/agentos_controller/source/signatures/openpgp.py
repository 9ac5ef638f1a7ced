"""OpenPGP signatures of commits, as `gpg` and `sq` make them, by Sequoia under its standard policy.

The policy refuses MD5, RIPEMD and SHA-1 in signatures, and judges keys, their expiry and their revocations at the
moment the signature says it was made. That moment is the signer's own word: who holds an expired key can date a
signature back, so a key that others may have is to be taken off the list or revoked as compromised.
This module, and with it pysequoia, is loaded only where a signer is an OpenPGP certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pysequoia
from pysequoia import packet

from agentos_controller.source.signatures import armor, verdict

LABEL: Final = "PGP SIGNATURE"
_WEAK: Final = ("MD5", "SHA1", "RipeMD")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A listed signer's certificate; `keys` are the fingerprints and key ids of its primary key and subkeys."""

    signer: str
    cert: pysequoia.Cert
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Made:
    """What a signature says of itself; reading it can fail, so it is read once."""

    sig: pysequoia.Sig
    issuers: frozenset[str]
    hashed: str
    created: datetime | None
    ends: bool
    binary: bool


def certificate(signer: str, text: str) -> Certificate:
    """The one certificate in armored `text`.

    Raises:
        ValueError: it is none, several, or a secret key; the message says which.
    """
    try:
        certs = pysequoia.Cert.split_bytes(text.encode())
        packets = list(packet.PacketPile.from_bytes(text.encode()))
    except Exception:  # Sequoia raises RuntimeError and others for what it cannot read
        raise ValueError("it is not an armored OpenPGP certificate (`gpg --armor --export KEY`)") from None
    if any(one.tag in (packet.Tag.SecretKey, packet.Tag.SecretSubkey) for one in packets):
        raise ValueError("it holds a secret key: export the public one, and do not use this key any more")
    if len(certs) != 1:
        raise ValueError(f"it must hold one OpenPGP certificate, and holds {len(certs)}")
    names = {name for one in packets for name in (one.fingerprint, one.key_id) if name is not None}
    return Certificate(signer, certs[0], frozenset(name.lower() for name in names))


def verify(
    payload: bytes, signature: bytes, certificates: Sequence[Certificate], committed_at: datetime
) -> verdict.Verified:
    """Who made the armored detached `signature` over `payload`.

    Raises:
        verdict.Bad: none of `certificates` did, or its key or hash did not count then.
    """
    made = _read(armor.decode(signature, LABEL, openpgp=True))
    found = [one for one in certificates if made.issuers & one.keys]
    if not found:
        raise verdict.unknown("its OpenPGP signature is by a key that is none of the listed signers'")
    if made.created is None or made.ends:
        raise verdict.Bad("its OpenPGP signature has no date, or an end of its own")
    if not made.binary:
        raise verdict.Bad("its OpenPGP signature is not over bytes: one over text covers no line ends")
    for one in found:
        if _verifies(payload, made, one) and not _ended(one, committed_at):
            return verdict.Verified(one.signer)
    raise _why(made, found[0], committed_at)


def _read(data: bytes) -> _Made:
    """The single signature packet that `data` is."""
    try:
        packets = list(packet.PacketPile.from_bytes(data))
        if len(packets) == 1 and packets[0].tag == packet.Tag.Signature:
            sig = pysequoia.Sig.from_bytes(data)
            names = {name.lower() for name in (sig.issuer_fingerprint, sig.issuer_key_id) if name}
            hashed = str(sig.hash_algorithm).rpartition(".")[2]
            binary = sig.signature_type == packet.SignatureType.Binary
            return _Made(sig, frozenset(names), hashed, sig.created, sig.expiration is not None, binary)
    except Exception:  # noqa: S110 - Sequoia raises RuntimeError and others for what it cannot read
        pass
    raise verdict.Bad("it is not one OpenPGP signature")


def _verifies(payload: bytes, made: _Made, one: Certificate) -> bool:
    try:
        result = pysequoia.verify(bytes=payload, store=lambda _ids: [one.cert], signature=made.sig)
    except Exception:  # the one exception it raises does not tell why
        return False
    return any(valid.certificate == one.cert.fingerprint for valid in result.valid_sigs)


def _ended(one: Certificate, committed_at: datetime) -> bool:
    return one.cert.expiration is not None and one.cert.expiration < committed_at


def _why(made: _Made, one: Certificate, committed_at: datetime) -> verdict.Bad:
    """The likeliest reason, for a person; nothing depends on it."""
    if made.hashed in _WEAK:
        return verdict.Bad(f"its OpenPGP signature in the name of {one.signer} uses {made.hashed}, which is broken")
    if one.cert.is_revoked:
        return verdict.Bad(f"the OpenPGP certificate of {one.signer} is revoked")
    if _ended(one, made.created or committed_at) or _ended(one, committed_at):
        return verdict.Bad(f"the OpenPGP certificate of {one.signer} had expired when the commit was made")
    return verdict.Bad(
        f"its OpenPGP signature in the name of {one.signer} does not match the commit, or its key was not valid then"
    )
