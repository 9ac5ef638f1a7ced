"""SSH signatures of commits: SSHSIG, as `ssh-keygen -Y sign -n git` and git with `gpg.format=ssh` make them.

The form is OpenSSH's PROTOCOL.sshsig. Certificates, DSA, RSA with SHA-1 and the reserved field are not accepted;
neither is a signature for any other namespace than `git`, which keeps a signature given elsewhere from counting here.
Security keys (`sk-…`) must have been touched. SSH keys know no expiry: taking a signer off the list is what ends it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography import exceptions
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from agentos_controller.source.signatures import armor, verdict

LABEL: Final = "SSH SIGNATURE"
NAMESPACE: Final = b"git"
_MAGIC: Final = b"SSHSIG"
_DIGESTS: Final = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 16_384
_RSA: Final[dict[bytes, hashes.HashAlgorithm]] = {b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}
_CURVES: Final[dict[bytes, tuple[ec.EllipticCurve, hashes.HashAlgorithm]]] = {
    b"nistp256": (ec.SECP256R1(), hashes.SHA256()),
    b"nistp384": (ec.SECP384R1(), hashes.SHA384()),
    b"nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
_SK_ED25519: Final = b"sk-ssh-ed25519@openssh.com"
_SK_ECDSA: Final = b"sk-ecdsa-sha2-nistp256@openssh.com"
_PRESENT: Final = 0x01
_WHOSE: Final = "its signature is by an SSH key that is none of the listed signers'"


@dataclass(slots=True)
class _Wire:
    """Reads the SSH wire format; whatever is cut short is refused."""

    data: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        part = self.data[self.at : self.at + count]
        if len(part) != count:
            raise verdict.Bad("the SSH signature is cut short")
        self.at += count
        return part

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def mpint(self) -> int:
        """A positive integer in its one shortest form."""
        data = self.string()
        value = int.from_bytes(data, "big")
        if value == 0 or data != value.to_bytes(value.bit_length() // 8 + 1, "big"):
            raise verdict.Bad("the SSH signature holds a number that is not in its shortest form")
        return value

    def end(self) -> None:
        if self.at != len(self.data):
            raise verdict.Bad("bytes follow the SSH signature")


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def public_key(line: str) -> bytes:
    """The key in one line of `id_….pub`, in wire form.

    Raises:
        ValueError: it is none that could sign; the message says why.
    """
    words = line.split(maxsplit=2)
    if len(words) < 2 or "\n" in line.strip():
        raise ValueError("it is not one line of a public key file, such as `ssh-ed25519 AAAA… name`")
    try:
        blob = base64.b64decode(words[1], validate=True)
        if _Wire(blob).string() != words[0].encode():
            raise ValueError("the type in front is not that of the key")
        _load(blob)
    except (binascii.Error, verdict.Bad):
        raise ValueError("its base64 does not hold a public key") from None
    return blob


@dataclass(frozen=True, slots=True)
class _Key:
    """A public key. `digest` is what an ECDSA key signs with; `application` is set for security keys."""

    algorithm: bytes
    key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    digest: hashes.HashAlgorithm | None = None
    application: bytes | None = None


def _load(blob: bytes) -> _Key:
    """A key from its wire form. Raises `verdict.Bad` if cut short, `ValueError` if it is none that may sign."""
    wire = _Wire(blob)
    algorithm = wire.string()
    key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    digest = None
    if algorithm in (b"ssh-ed25519", _SK_ED25519):
        key = ed25519.Ed25519PublicKey.from_public_bytes(wire.string())
    elif algorithm.startswith(b"ecdsa-sha2-") or algorithm == _SK_ECDSA:
        curve = wire.string()
        named = b"nistp256" if algorithm == _SK_ECDSA else algorithm.removeprefix(b"ecdsa-sha2-")
        if curve != named or curve not in _CURVES:
            raise ValueError("its curve is none of nistp256, nistp384, nistp521")
        form, digest = _CURVES[curve]
        key = ec.EllipticCurvePublicKey.from_encoded_point(form, wire.string())
    elif algorithm == b"ssh-rsa":
        exponent, modulus = wire.mpint(), wire.mpint()
        if not _MIN_RSA_BITS <= modulus.bit_length() <= _MAX_RSA_BITS:
            raise ValueError(f"an RSA key must have {_MIN_RSA_BITS} to {_MAX_RSA_BITS} bits")
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    else:
        raise ValueError(f"keys of type {algorithm[:64].decode('ascii', 'replace')!r} are not accepted")
    application = wire.string() if algorithm in (_SK_ED25519, _SK_ECDSA) else None
    wire.end()
    return _Key(algorithm, key, digest, application)


def verify(payload: bytes, signature: bytes, signers: Mapping[bytes, str]) -> verdict.Verified:
    """Who made the armored `signature` over `payload`; `signers` maps keys in wire form to names.

    Raises:
        verdict.Bad: nobody of them did, or not in a form that counts.
    """
    wire = _Wire(armor.decode(signature, LABEL))
    if wire.take(len(_MAGIC)) != _MAGIC or wire.number() != 1:
        raise verdict.Bad("it is no SSH signature of version 1")
    blob, namespace, reserved, digest, made = (wire.string() for _ in range(5))
    wire.end()
    if namespace != NAMESPACE:
        raise verdict.Bad("its SSH signature is for another namespace than `git`")
    if reserved or digest not in _DIGESTS:
        raise verdict.Bad("its SSH signature uses a hash or a field that is not accepted")
    signer = signers.get(blob)
    if signer is None:
        raise verdict.unknown(_WHOSE)
    hashed = _DIGESTS[digest](payload).digest()
    message = _MAGIC + b"".join(map(_string, (namespace, reserved, digest, hashed)))
    try:
        _check(_load(blob), message, _Wire(made))
    except (exceptions.InvalidSignature, ValueError):
        raise verdict.Bad(f"its SSH signature in the name of {signer} does not match the commit") from None
    return verdict.Verified(signer)


def _check(key: _Key, message: bytes, made: _Wire) -> None:
    """Raises `InvalidSignature` unless `made` is the key's signature over `message`."""
    algorithm, value = made.string(), made.string()
    if key.application is not None:
        flags, counter = made.take(1), made.take(4)
        if not flags[0] & _PRESENT:
            raise verdict.Bad("its SSH signature was made without touching the security key")
        message = hashlib.sha256(key.application).digest() + flags + counter + hashlib.sha256(message).digest()
    made.end()
    if isinstance(key.key, rsa.RSAPublicKey):
        if algorithm not in _RSA:
            raise verdict.Bad("its SSH signature by an RSA key is not made with SHA-2")
        if len(value) != (key.key.key_size + 7) // 8:
            raise exceptions.InvalidSignature
        key.key.verify(value, message, padding.PKCS1v15(), _RSA[algorithm])
        return
    if algorithm != key.algorithm:
        raise verdict.Bad("its SSH signature is of another type than its key")
    if isinstance(key.key, ed25519.Ed25519PublicKey):
        key.key.verify(value, message)
        return
    assert key.digest is not None
    parts = _Wire(value)
    encoded = utils.encode_dss_signature(parts.mpint(), parts.mpint())
    parts.end()
    key.key.verify(encoded, message, ec.ECDSA(key.digest))
