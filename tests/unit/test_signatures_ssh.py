"""SSH signatures: what OpenSSH makes verifies, and what is only nearly that does not."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from agentos_controller.source import signatures
from agentos_engine import errors
from tests.support import signing

PAYLOAD = signing.data("ssh-ed25519.commit").partition(b"gpgsig ")[0] + b"\nA message\n"
KEY = ed25519.Ed25519PrivateKey.generate()
P256, P384 = (ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1()))
RSA = rsa.generate_private_key(65_537, 2048)
ED = signing.Ssh(KEY)


def trust(**lines: str) -> signatures.Trust:
    return signatures.trust({"signers": {name: {"ssh": line} for name, line in lines.items()}})


def judged(sign: signing.Ssh, line: str | None = None) -> signatures.Verdict:
    raw = signing.with_signature(PAYLOAD, sign(PAYLOAD))
    return signatures.judge(raw, trust(ada=line or sign.line))


@pytest.mark.parametrize("name", ["ssh-ed25519", "ssh-ecdsab256", "ssh-ecdsab521", "ssh-rsab3072"])
def test_what_git_and_openssh_made_verifies_by_its_key_and_no_other(name: str) -> None:
    raw, line = signing.data(f"{name}.commit"), signing.data(f"{name}.pub").decode()
    assert signatures.judge(raw, trust(other=ED.line, ada=line)) == signatures.Verified("ada")
    assert signatures.judge(raw, trust(other=ED.line)).code == "SignerUnknown"  # type: ignore[union-attr]
    changed = raw.replace(b"Signed by", b"signed by")
    assert changed != raw
    assert signatures.judge(changed, trust(ada=line)).code == "SignatureInvalid"  # type: ignore[union-attr]


GOOD = {
    "ed25519": ED,
    "sha256": signing.Ssh(KEY, digest="sha256"),
    "P-256": signing.Ssh(P256),
    "P-384": signing.Ssh(P384),
    "RSA with SHA-512": signing.Ssh(RSA),
    "RSA with SHA-256": signing.Ssh(RSA, algorithm=b"rsa-sha2-256"),
    "a security key": signing.Ssh(KEY, application=b"ssh:"),
    "a security key on P-256": signing.Ssh(P256, application=b"ssh:"),
}


@pytest.mark.parametrize("sign", GOOD.values(), ids=GOOD)
def test_every_accepted_form_verifies(sign: signing.Ssh) -> None:
    assert judged(sign) == signatures.Verified("ada")


BAD: dict[str, tuple[signing.Ssh, str]] = {
    "another namespace": (signing.Ssh(KEY, namespace=b"file"), "another namespace than `git`"),
    "no namespace": (signing.Ssh(KEY, namespace=b""), "another namespace than `git`"),
    "SHA-1 over the commit": (signing.Ssh(KEY, digest="sha1"), "not accepted"),
    "a reserved field": (signing.Ssh(KEY, reserved=b"x"), "not accepted"),
    "RSA with SHA-1": (signing.Ssh(RSA, algorithm=b"ssh-rsa"), "not made with SHA-2"),
    "another type than the key's": (signing.Ssh(KEY, algorithm=b"ecdsa-sha2-nistp256"), "another type"),
    "bytes behind it": (signing.Ssh(KEY, tail=b"x"), "bytes follow"),
    "a security key not touched": (signing.Ssh(KEY, application=b"ssh:", flags=0), "without touching"),
    "a security key only checked": (signing.Ssh(KEY, application=b"ssh:", flags=4), "without touching"),
}


@pytest.mark.parametrize(("sign", "message"), BAD.values(), ids=BAD)
def test_every_other_form_is_refused_and_says_why(sign: signing.Ssh, message: str) -> None:
    refused = judged(sign)
    assert isinstance(refused, signatures.Refused)
    assert refused.code == "SignatureInvalid"
    assert message in refused.message


def test_a_signature_by_one_key_in_the_name_of_another_is_refused() -> None:
    made = ED(PAYLOAD)
    other = signing.Ssh(ed25519.Ed25519PrivateKey.generate())
    claimed = base64.b64decode(b"".join(made.split(b"\n")[1:-2])).replace(ED.blob, other.blob)
    raw = signing.with_signature(PAYLOAD, signing.armored("SSH SIGNATURE", claimed))
    assert signatures.judge(raw, trust(ada=other.line)).code == "SignatureInvalid"  # type: ignore[union-attr]


def _respelled(made: bytes, old: bytes, new: bytes) -> bytes:
    assert old in made
    return made.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\n-----END", b"\n\n-----END"),
        (b"\n-----END", b" \n-----END"),
        (b"-----BEGIN", b"hello\n-----BEGIN"),
        (b"-----END SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----\nhello\n"),
        (b"-----\nU1NI", b"-----\nComment: x\n\nU1NI"),
        (b"U1NI", b"U1N-I"),
        (b"SSH SIGNATURE", b"SSH SIGNATURE "),
    ],
)
def test_one_signature_has_one_spelling(old: bytes, new: bytes) -> None:
    made = _respelled(ED(PAYLOAD), old, new)
    raw = signing.with_signature(PAYLOAD, made)
    assert signatures.judge(raw, trust(ada=ED.line)).code == "SignatureInvalid"  # type: ignore[union-attr]


def test_an_unsigned_commit_says_so() -> None:
    assert signatures.judge(PAYLOAD, trust(ada=ED.line)) == signatures.Refused("CommitUnsigned", "it is not signed")


def test_a_quoted_signature_in_the_message_is_none() -> None:
    made = signing.with_signature(PAYLOAD, ED(PAYLOAD))
    header = made.partition(b"\n\n")[0].partition(b"gpgsig")[2]
    quoted = PAYLOAD + b"\n\ngpgsig" + header + b"\n"
    assert signatures.judge(quoted, trust(ada=ED.line)).code == "CommitUnsigned"  # type: ignore[union-attr]


def test_a_repository_of_sha256_has_its_own_header() -> None:
    raw = signing.with_signature(PAYLOAD, ED(PAYLOAD), "gpgsig-sha256")
    assert signatures.judge(raw, trust(ada=ED.line), sha256=True) == signatures.Verified("ada")
    assert signatures.judge(raw, trust(ada=ED.line)).code == "CommitUnsigned"  # type: ignore[union-attr]


def test_a_signature_that_stands_twice_or_elsewhere_is_refused() -> None:
    made = ED(PAYLOAD)
    twice = signing.with_signature(signing.with_signature(PAYLOAD, made), made)
    header = b"gpgsig " + b"\n ".join(made.removesuffix(b"\n").split(b"\n")) + b"\n"
    for raw in (twice, header + PAYLOAD, PAYLOAD.replace(b"author", header + b"author", 1)):
        assert signatures.judge(raw, trust(ada=ED.line)).code == "SignatureInvalid"  # type: ignore[union-attr]


def _dsa() -> str:
    return f"ssh-dss {base64.b64encode(signing.string(b'ssh-dss') + signing.string(b'x')).decode()}"


KEYS: dict[str, Any] = {
    "nothing": ("", "not one line"),
    "a word": ("ssh-ed25519", "not one line"),
    "no base64": ("ssh-ed25519 !!!", "does not hold a public key"),
    "a private key": ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----", "not one line"),
    "another type in front": (ED.line.replace("ssh-ed25519", "ssh-rsa", 1), "not that of the key"),
    "DSA": (_dsa(), "'ssh-dss' are not accepted"),
    "a short RSA key": (signing.ssh_line(rsa.generate_private_key(65_537, 1024)), "2048 to 16384 bits"),
    "cut short": (ED.line[:-8], "does not hold a public key"),
}


@pytest.mark.parametrize(("line", "message"), KEYS.values(), ids=KEYS)
def test_a_key_that_cannot_sign_is_named_with_the_reason(line: str, message: str) -> None:
    with pytest.raises(errors.Stall, match=r"verify\.signers\.ada\.ssh cannot be used") as stalled:
        trust(ada=line)
    assert stalled.value.code == "SourceInvalid"
    assert message in stalled.value.message


def test_who_signs_is_part_of_what_a_verdict_is_remembered_by() -> None:
    assert trust(ada=ED.line).digest == trust(ada=ED.line).digest
    assert trust(ada=ED.line).digest != trust(bob=ED.line).digest
