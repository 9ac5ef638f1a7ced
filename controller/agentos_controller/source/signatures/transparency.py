"""The entry of a transparency log that a sigstore signature carries: the log's promise, checked without asking it.

The entry is a Rekor v1 `TransparencyLogEntry` (sigstore/protobuf-specs, `sigstore_rekor.proto`) whose body gitsign
leaves out, because it follows from the signature: a `hashedrekord` 0.0.1 that names the digest, the signature and the
certificate. So the body is made anew here from what was verified, and the promise (the signed entry timestamp) fits
only if the log was shown exactly that. The promise also vouches for the time. The inclusion proof is not looked at, and
entries of Rekor v2, which promise no time, are refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import exceptions
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agentos_controller.source.signatures import der, verdict

_LOG_INDEX, _LOG_ID, _KIND_VERSION, _TIME, _PROMISE, _BODY = 1, 2, 3, 4, 5, 7
_KIND: Final = (b"hashedrekord", b"0.0.1")
_LATEST: Final = 253_402_300_799
"""The last second of the year 9999."""


@dataclass(frozen=True, slots=True)
class Log:
    """A log whose promises count. `log_id` is the SHA-256 of its key, in hexadecimal."""

    key: ec.EllipticCurvePublicKey
    log_id: str


def log(pem: str) -> Log:
    """The log with the public key in `pem`.

    Raises:
        ValueError: it is no P-256 public key.
    """
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError:
        raise ValueError("it is not a public key in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("it is not an ECDSA key on P-256, as logs of Rekor v1 have")
    raw = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Log(key, hashlib.sha256(raw).hexdigest())


def body(signed: bytes, signature: bytes, certificate: bytes) -> bytes:
    """The canonical entry for `signature` (DER) over `signed` by the certificate in PEM form."""
    return canonical(
        {
            "apiVersion": _KIND[1].decode(),
            "kind": _KIND[0].decode(),
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(signed).hexdigest()}},
                "signature": {
                    "content": base64.b64encode(signature).decode(),
                    "publicKey": {"content": base64.b64encode(certificate).decode()},
                },
            },
        }
    )


def canonical(value: dict[str, Any]) -> bytes:
    """RFC 8785 for what stands here: ASCII texts and integers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def promised(entry: bytes, expected: bytes, log: Log) -> datetime:
    """When `log` took in the entry whose canonical body is `expected`.

    Raises:
        verdict.Bad: it did not promise to.
    """
    fields = der.message(entry)
    kind = der.message(der.octets(fields, _KIND_VERSION))
    if (der.octets(kind, 1), der.octets(kind, 2)) != _KIND:
        raise verdict.Bad("its log entry is of a kind that is not accepted")
    if fields.get(_BODY, [expected]) != [expected]:
        raise verdict.Bad("its log entry is about another signature")
    if der.octets(der.message(der.octets(fields, _LOG_ID)), 1).hex() != log.log_id:
        raise verdict.Bad("its log entry is by another log than `logKey` names")
    at = der.number(fields, _TIME)
    if not 0 < at <= _LATEST:
        raise verdict.Bad("its log entry has no time")
    statement = canonical(
        {
            "body": base64.b64encode(expected).decode(),
            "integratedTime": at,
            "logID": log.log_id,
            "logIndex": der.number(fields, _LOG_INDEX),
        }
    )
    promise = der.octets(der.message(der.octets(fields, _PROMISE)), 1)
    try:
        log.key.verify(promise, statement, ec.ECDSA(hashes.SHA256()))
    except exceptions.InvalidSignature:
        raise verdict.Bad("the log's promise does not fit the signature") from None
    return datetime.fromtimestamp(at, UTC)
