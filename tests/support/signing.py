"""Signs commits for tests, in every form that counts, without the programs that usually do.

Written against the published formats and apart from the code that verifies them; what real programs make is checked
with the files in `tests/data/signatures`.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

DATA = Path(__file__).resolve().parents[1] / "data" / "signatures"
SshKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def data(name: str) -> bytes:
    return (DATA / name).read_bytes()


def armored(label: str, content: bytes, width: int = 70) -> bytes:
    text = base64.b64encode(content).decode()
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def with_signature(payload: bytes, signature: bytes, header: str = "gpgsig") -> bytes:
    """The commit `payload` with `signature` where git puts it."""
    head, gap, message = payload.partition(b"\n\n")
    lines = signature.removesuffix(b"\n").split(b"\n")
    return head + f"\n{header} ".encode() + b"\n ".join(lines) + gap + message


def string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def mpint(value: int) -> bytes:
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def ssh_line(key: SshKey) -> str:
    """The public half, as a line of `authorized_keys`."""
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(*form).decode()


@dataclass(frozen=True)
class Ssh:
    """Makes SSHSIG signatures; every field can be set to something wrong."""

    key: SshKey
    namespace: bytes = b"git"
    digest: str = "sha512"
    reserved: bytes = b""
    algorithm: bytes | None = None
    application: bytes | None = None
    flags: int = 1
    tail: bytes = b""

    @property
    def line(self) -> str:
        """The public key; of a security key with `application`."""
        if self.application is None:
            return ssh_line(self.key)
        blob = self.blob
        name = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode()
        return f"{name} {base64.b64encode(blob).decode()}"

    @property
    def blob(self) -> bytes:
        plain = base64.b64decode(ssh_line(self.key).split()[1])
        if self.application is None:
            return plain
        size = 4 + int.from_bytes(plain[:4], "big")
        name = b"sk-" + plain[4:size] + b"@openssh.com"
        return string(name) + plain[size:] + string(self.application)

    def __call__(self, payload: bytes) -> bytes:
        digest = hashlib.new(self.digest, payload).digest()
        fields = (self.namespace, self.reserved, self.digest.encode())
        message = b"SSHSIG" + b"".join(map(string, (*fields, digest)))
        parts = (self.blob, *fields, self._made(message))
        return armored("SSH SIGNATURE", b"SSHSIG\0\0\0\1" + b"".join(map(string, parts)) + self.tail)

    def _made(self, message: bytes) -> bytes:
        more = b""
        if self.application is not None:
            more = bytes([self.flags]) + (7).to_bytes(4, "big")
            message = hashlib.sha256(self.application).digest() + more + hashlib.sha256(message).digest()
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            made = self.key.sign(message)
        elif isinstance(self.key, rsa.RSAPrivateKey):
            sort = {b"ssh-rsa": hashes.SHA1(), b"rsa-sha2-256": hashes.SHA256()}.get(self.algorithm or b"")
            made = self.key.sign(message, padding.PKCS1v15(), sort or hashes.SHA512())
        else:
            sizes = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
            signed = self.key.sign(message, ec.ECDSA(sizes[self.key.curve.key_size]))
            made = b"".join(map(mpint, utils.decode_dss_signature(signed)))
        size = int.from_bytes(self.blob[:4], "big")
        usual = b"rsa-sha2-512" if isinstance(self.key, rsa.RSAPrivateKey) else self.blob[4 : 4 + size]
        return string(self.algorithm or usual) + string(made) + more


# Sigstore: an authority, a log, and what gitsign makes of them.

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
IDENTITY, ISSUER = "release@example.com", "https://accounts.example.com"


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def oid(text: str) -> bytes:
    first, second, *rest = (int(part) for part in text.split("."))
    out = bytearray([40 * first + second])
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        out += bytes(reversed(groups))
    return tlv(0x06, bytes(out))


def attribute(name: str, *values: bytes) -> bytes:
    return tlv(0x30, oid(name), tlv(0x31, *values))


def field_of(number: int, value: int | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes([*out, value])


def pem(key: Any) -> str:
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    text: bytes = key.public_key().public_bytes(*form)
    return text.decode()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


@dataclass(frozen=True)
class Authority:
    """Issues signing certificates, and keeps a log. `root` is all that a Tenant lists of it."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    log_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def root(self) -> x509.Certificate:
        every = dict.fromkeys(_USAGES, False)
        return (
            x509.CertificateBuilder(_name("root"), _name("root"), self.key.public_key(), 1)
            .not_valid_before(AT - timedelta(days=365))
            .not_valid_after(AT + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(x509.KeyUsage(**{**every, "key_cert_sign": True}), critical=True)
            .sign(self.key, hashes.SHA384())
        )

    def trust(self) -> dict[str, str]:
        """`verify.sigstore` of a source."""
        return {
            "roots": self.root.public_bytes(serialization.Encoding.PEM).decode(),
            "logKey": pem(self.log_key),
        }


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Keyless:
    """Makes signatures as gitsign does offline; every field can be set to something wrong."""

    authority: Authority
    names: tuple[x509.GeneralName, ...] = (x509.RFC822Name(IDENTITY),)
    issuer: str | None = ISSUER
    issuer_raw: str | None = None
    usage: x509.ObjectIdentifier = x509.ExtendedKeyUsageOID.CODE_SIGNING
    logged_at: datetime = AT + timedelta(seconds=5)
    log_key: ec.EllipticCurvePrivateKey | None = None
    entry: bool = True
    entry_of: bytes | None = None
    """Another signature, which the entry is about."""
    critical: bool = False
    kind: bytes = b"hashedrekord"
    tail: bytes = b""
    other_key: bool = False

    def change(self, **changes: Any) -> Keyless:
        return dataclasses.replace(self, **changes)

    def __call__(self, payload: bytes) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._leaf(key)
        attributes = (
            attribute("1.2.840.113549.1.9.3", oid("1.2.840.113549.1.7.1")),
            attribute("1.2.840.113549.1.9.4", tlv(0x04, hashlib.sha256(payload).digest())),
        )
        signed = tlv(0x31, *attributes)
        signer = ec.generate_private_key(ec.SECP256R1()) if self.other_key else key
        made = signer.sign(signed, ec.ECDSA(hashes.SHA256()))
        sha256 = tlv(0x30, oid("2.16.840.1.101.3.4.2.1"))
        serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
        unsigned = attribute("1.3.6.1.4.1.57264.3.1", tlv(0x04, self._entry(signed, self.entry_of or made, leaf)))
        info = tlv(
            0x30,
            tlv(0x02, b"\x01"),
            tlv(0x30, leaf.issuer.public_bytes(), tlv(0x02, serial)),
            sha256,
            tlv(0xA0, *attributes),
            tlv(0x30, oid("1.2.840.10045.4.3.2")),
            tlv(0x04, made),
            tlv(0xA1, unsigned) if self.entry else b"",
        )
        content = tlv(
            0x30,
            tlv(0x02, b"\x01"),
            tlv(0x31, sha256),
            tlv(0x30, oid("1.2.840.113549.1.7.1")),
            tlv(0xA0, leaf.public_bytes(serialization.Encoding.DER)),
            tlv(0x31, info),
        )
        message = tlv(0x30, oid("1.2.840.113549.1.7.2"), tlv(0xA0, content))
        return armored("SIGNED MESSAGE", message + self.tail, 64)

    def _leaf(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        usage = {**dict.fromkeys(_USAGES, False), "digital_signature": True}
        builder = (
            x509.CertificateBuilder(_name("root"), x509.Name([]), key.public_key(), x509.random_serial_number())
            .not_valid_before(AT)
            .not_valid_after(AT + timedelta(minutes=10))
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage([self.usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(self.names), critical=True)
        )
        texts = {"1.8": self.issuer and tlv(0x0C, self.issuer.encode()), "1.1": self.issuer_raw}
        for number, text in texts.items():
            if text is not None:
                value = text.encode() if isinstance(text, str) else text
                name = x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.{number}")
                builder = builder.add_extension(x509.UnrecognizedExtension(name, value), critical=False)
        if self.critical:
            odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
            builder = builder.add_extension(odd, critical=True)
        return builder.sign(self.authority.key, hashes.SHA384())

    def _entry(self, signed: bytes, made: bytes, leaf: x509.Certificate) -> bytes:
        pem = leaf.public_bytes(serialization.Encoding.PEM)
        body = {
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(signed).hexdigest()}},
                "signature": {"content": _b64(made), "publicKey": {"content": _b64(pem)}},
            },
        }
        key = self.log_key or self.authority.log_key
        der = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        log_id = hashlib.sha256(key.public_key().public_bytes(*der)).digest()
        at = int(self.logged_at.timestamp())
        promise = {"body": _b64(_json(body)), "integratedTime": at, "logID": log_id.hex(), "logIndex": 41}
        return b"".join(
            (
                field_of(1, 41),
                field_of(2, field_of(1, log_id)),
                field_of(3, field_of(1, self.kind) + field_of(2, b"0.0.1")),
                field_of(4, at),
                field_of(5, field_of(1, key.sign(_json(promise), ec.ECDSA(hashes.SHA256())))),
            )
        )


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
