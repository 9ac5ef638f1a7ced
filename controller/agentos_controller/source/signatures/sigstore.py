"""Keyless signatures of commits, as gitsign makes them with `rekorMode: offline`: everything needed is inside.

The signature is a CMS SignedData (RFC 5652) without content: signed attributes that name the commit's digest, one
signer with a certificate that lives ten minutes, and the log's entry that proves that it was used in that time. What
must hold: the digest, the signature over the attributes, the log's promise (`transparency`), a chain to a listed root
that was valid when the log took the entry in, and the identity and issuer that the Tenant lists. Nothing is fetched; a
signature without an embedded entry (gitsign's online mode) is refused. Certificate timestamps are not looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import exceptions, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from agentos_controller.source.signatures import armor, der, transparency, verdict

LABEL: Final = "SIGNED MESSAGE"
_SIGNED_DATA: Final = bytes.fromhex("2a864886f70d010702")  # 1.2.840.113549.1.7.2
_DATA: Final = bytes.fromhex("2a864886f70d010701")  # 1.2.840.113549.1.7.1
_CONTENT_TYPE: Final = bytes.fromhex("2a864886f70d010903")  # 1.2.840.113549.1.9.3
_DIGEST: Final = bytes.fromhex("2a864886f70d010904")  # 1.2.840.113549.1.9.4
_SHA256: Final = bytes.fromhex("608648016503040201")  # 2.16.840.1.101.3.4.2.1
_ECDSA_SHA256: Final = bytes.fromhex("2a8648ce3d040302")  # 1.2.840.10045.4.3.2
_NULL: Final = b"\x05\x00"
_LOG_ENTRY: Final = bytes.fromhex("2b0601040183bf300301")  # 1.3.6.1.4.1.57264.3.1
_ISSUER: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_ISSUER_RAW: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_NO_ENTRY: Final = "its sigstore signature carries no log entry: set gitsign's `rekorMode` to `offline`"
_MAX_CERTIFICATES: Final = 8


@dataclass(frozen=True, slots=True)
class Identity:
    """A listed signer: the subject of its certificates, and who vouched for it."""

    signer: str
    identity: str
    issuer: str


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose certificates (each of `roots`, self-signed or not) and whose log count."""

    roots: tuple[x509.Certificate, ...]
    log: transparency.Log


def roots(pem: str) -> tuple[x509.Certificate, ...]:
    """The certificates in `pem`.

    Raises:
        ValueError: there are none, or too many.
    """
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise ValueError("it holds no certificate in PEM form") from None
    if len(found) > 32:
        raise ValueError("it holds more than 32 certificates")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Signed:
    """What a SignedData says, taken apart and not yet believed."""

    attributes: dict[bytes, der.Value]
    signed: bytes  # the attributes as they are signed: a SET
    signature: bytes
    leaf: x509.Certificate
    others: tuple[x509.Certificate, ...]
    entry: bytes


def verify(payload: bytes, signature: bytes, identities: Sequence[Identity], trust: Trust) -> verdict.Verified:
    """Who made the armored `signature` over `payload`.

    Raises:
        verdict.Bad: none of `identities` did, or what proves it is missing or wrong.
    """
    parts = _parse(armor.decode(signature, LABEL))
    if parts.attributes[_DIGEST].only(der.OCTETS).content != hashlib.sha256(payload).digest():
        raise verdict.Bad("its sigstore signature does not match the commit")
    key = parts.leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise verdict.Bad("its sigstore certificate has no ECDSA key")
    try:
        key.verify(parts.signature, parts.signed, ec.ECDSA(hashes.SHA256()))
    except exceptions.InvalidSignature:
        raise verdict.Bad("its sigstore signature is not by the key of its certificate") from None
    pem = parts.leaf.public_bytes(serialization.Encoding.PEM)
    at = transparency.promised(parts.entry, transparency.body(parts.signed, parts.signature, pem), trust.log)
    _check_chain(parts, trust.roots, at)
    return verdict.Verified(_who(parts.leaf, identities))


def _parse(data: bytes) -> _Signed:
    kind, explicit = _exactly(der.one(data, der.SEQUENCE).children(), 2)
    if kind.expect(der.OID).content != _SIGNED_DATA:
        raise verdict.Bad("its signature is CMS, but no signed message")
    parts = _exactly(explicit.expect(der.ATTRIBUTES).only(der.SEQUENCE).children(), 5)
    version, digests, content, certificates, infos = parts
    version.expect(der.INTEGER)
    digests.expect(der.SET)
    if content.expect(der.SEQUENCE).only(der.OID).content != _DATA:
        raise verdict.Bad("its sigstore signature carries content of its own")
    return _signer(infos.expect(der.SET).only(der.SEQUENCE), _certificates(certificates.expect(der.ATTRIBUTES)))


def _signer(info: der.Value, certificates: list[x509.Certificate]) -> _Signed:
    parts = info.children()
    if len(parts) == 6:
        raise verdict.Bad(_NO_ENTRY)
    version, issuer, digest, signed, algorithm, signature, unsigned = _exactly(parts, 7)
    version.expect(der.INTEGER)
    for part, expected in ((digest, _SHA256), (algorithm, _ECDSA_SHA256)):
        written = part.expect(der.SEQUENCE).content
        oid = bytes([der.OID, len(expected)]) + expected
        if written not in (oid, oid + _NULL):
            raise verdict.Bad("its sigstore signature is not ECDSA with SHA-256")
    leaf, *others = _with(issuer.expect(der.SEQUENCE), certificates)
    attributes = _attributes(signed.expect(der.ATTRIBUTES))
    if not {_CONTENT_TYPE, _DIGEST} <= attributes.keys():
        raise verdict.Bad("its sigstore signature does not say what it signs")
    if attributes[_CONTENT_TYPE].only(der.OID).content != _DATA:
        raise verdict.Bad("its sigstore signature signs something else than data")
    entry = _attributes(unsigned.expect(der.UNSIGNED)).get(_LOG_ENTRY)
    if entry is None:
        raise verdict.Bad(_NO_ENTRY)
    return _Signed(
        attributes,
        bytes([der.SET]) + signed.raw[1:],
        signature.expect(der.OCTETS).content,
        leaf,
        tuple(others),
        entry.only(der.OCTETS).content,
    )


def _exactly(parts: list[der.Value], count: int) -> list[der.Value]:
    if len(parts) != count:
        raise verdict.Bad("its sigstore signature has parts missing, or too many")
    return parts


def _attributes(value: der.Value) -> dict[bytes, der.Value]:
    """Object identifier to the set of values; none stands twice."""
    found: dict[bytes, der.Value] = {}
    for attribute in value.children():
        oid, values = _exactly(attribute.expect(der.SEQUENCE).children(), 2)
        if oid.expect(der.OID).content in found:
            raise verdict.Bad("its sigstore signature has an attribute twice")
        found[oid.content] = values.expect(der.SET)
    return found


def _certificates(value: der.Value) -> list[x509.Certificate]:
    raws = value.children()
    if len(raws) > _MAX_CERTIFICATES:
        raise verdict.Bad("its sigstore signature carries too many certificates")
    try:
        return [x509.load_der_x509_certificate(raw.raw) for raw in raws]
    except ValueError:
        raise verdict.Bad("its sigstore certificate cannot be read") from None


def _with(wanted: der.Value, certificates: list[x509.Certificate]) -> list[x509.Certificate]:
    """`certificates`, with the one that the signer names by issuer and serial number first."""
    issuer, serial = _exactly(wanted.children(), 2)
    number = int.from_bytes(serial.expect(der.INTEGER).content, "big", signed=True)
    for index, one in enumerate(certificates):
        if one.serial_number == number and one.issuer.public_bytes() == issuer.raw:
            return [one, *certificates[:index], *certificates[index + 1 :]]
    raise verdict.Bad("its sigstore signature does not carry the certificate of its signer")


def _check_chain(parts: _Signed, trusted: Sequence[x509.Certificate], at: datetime) -> None:
    """The leaf is for signing code, and a listed certificate stands behind it at that time."""
    policy = verification.ExtensionPolicy
    critical, agnostic = verification.Criticality.CRITICAL, verification.Criticality.AGNOSTIC
    authorities = (
        policy.permit_all()
        .require_present(x509.BasicConstraints, critical, None)
        .require_present(x509.KeyUsage, agnostic, _signs_certificates)
        .may_be_present(x509.ExtendedKeyUsage, agnostic, _signs_code)
    )
    leaves = (
        policy.permit_all()
        .require_present(x509.ExtendedKeyUsage, agnostic, _signs_code)
        .require_present(x509.KeyUsage, agnostic, _signs_digitally)
        .require_present(x509.SubjectAlternativeName, agnostic, None)
    )
    builder = verification.PolicyBuilder().store(verification.Store(list(trusted))).time(at).max_chain_depth(4)
    verifier = builder.extension_policies(ca_policy=authorities, ee_policy=leaves).build_client_verifier()
    try:
        chain = verifier.verify(parts.leaf, list(parts.others)).chain
    except verification.VerificationError as error:
        before, after = parts.leaf.not_valid_before_utc, parts.leaf.not_valid_after_utc
        if not before <= at <= after:
            raise verdict.Bad("its sigstore certificate had expired when the log took the signature in") from None
        raise verdict.Bad(f"its sigstore certificate does not lead to `roots`: {str(error)[:200]}") from None
    for one in chain:
        if any(part.critical and isinstance(part.value, x509.UnrecognizedExtension) for part in one.extensions):
            raise verdict.Bad("its sigstore certificate has a critical extension that is not known")


def _signs_code(_policy: object, _cert: object, usage: x509.ExtendedKeyUsage | None) -> None:
    if usage is not None and ExtendedKeyUsageOID.CODE_SIGNING not in usage:
        raise ValueError("it is not for signing code")


def _signs_certificates(_policy: object, _cert: object, usage: x509.KeyUsage) -> None:
    if not usage.key_cert_sign:
        raise ValueError("it may not sign certificates")


def _signs_digitally(_policy: object, _cert: object, usage: x509.KeyUsage) -> None:
    if not usage.digital_signature:
        raise ValueError("it may not sign")


def _who(leaf: x509.Certificate, identities: Sequence[Identity]) -> str:
    """The signer whose identity and issuer the certificate names: exactly one subject, compared as it is written."""
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    mails = names.get_values_for_type(x509.RFC822Name)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    issuer = _issuer(leaf)
    subjects = [*mails, *uris]
    if len(subjects) != 1 or len(list(names)) != 1:
        raise verdict.Bad("its sigstore certificate does not name one mail address or URI")
    for one in identities:
        if (one.identity, one.issuer) == (subjects[0], issuer):
            return one.signer
    raise verdict.unknown(
        f"it is signed by {subjects[0][:200]!r} of {issuer[:200]!r}, which is none of the listed signers"
    )


def _issuer(leaf: x509.Certificate) -> str:
    """Who vouched for the subject, from the newer extension if it is there. Both texts are the authority's word."""
    raw = {one.oid: one.value.value for one in leaf.extensions if isinstance(one.value, x509.UnrecognizedExtension)}
    try:
        if _ISSUER in raw:
            return der.one(raw[_ISSUER], der.UTF8).content.decode()
        return raw[_ISSUER_RAW].decode()
    except (KeyError, UnicodeDecodeError):
        raise verdict.Bad("its sigstore certificate does not say who vouched for its subject") from None
