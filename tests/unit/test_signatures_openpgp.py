"""OpenPGP signatures: what GnuPG and Sequoia make verifies, under a policy that knows what is broken or over."""

from __future__ import annotations

from datetime import UTC, datetime

import pysequoia
import pytest
from pysequoia import packet

from agentos_controller.source import signatures
from agentos_engine import errors
from tests.support import signing

NOW = datetime.now(UTC)
SECRET = pysequoia.Tsk.generate("Ada <ada@example.com>")
CERT = SECRET.extract_certificate()
PAYLOAD = (
    b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
    + b"author A <a@example.com> %d +0000\ncommitter A <a@example.com> %d +0000\n\nA message\n"
    % (NOW.timestamp(), NOW.timestamp())
)


def trust(**certs: str) -> signatures.Trust:
    return signatures.trust({"signers": {name: {"openpgp": text} for name, text in certs.items()}})


def made(secret: pysequoia.Tsk = SECRET, payload: bytes = PAYLOAD) -> bytes:
    return pysequoia.sign(secret.signer(), payload, mode=pysequoia.SignatureMode.DETACHED)


def refused(raw: bytes, trusted: signatures.Trust) -> signatures.Refused:
    result = signatures.judge(raw, trusted)
    assert isinstance(result, signatures.Refused)
    return result


def test_a_signature_by_sequoia_verifies_by_its_certificate_and_no_other() -> None:
    raw = signing.with_signature(PAYLOAD, made())
    other = pysequoia.Tsk.generate("Bob").extract_certificate()
    assert signatures.judge(raw, trust(bob=str(other), ada=str(CERT))) == signatures.Verified("ada")
    assert refused(raw, trust(bob=str(other))).code == "SignerUnknown"
    assert refused(raw.replace(b"A message", b"A massage"), trust(ada=str(CERT))).code == "SignatureInvalid"


@pytest.mark.parametrize(("commit", "key"), [("gpg-plain", "gpg-plain"), ("gpg-subkey", "gpg-sub")])
def test_what_git_and_gnupg_made_verifies(commit: str, key: str) -> None:
    raw, cert = signing.data(f"{commit}.commit"), signing.data(f"{key}.asc").decode()
    assert signatures.judge(raw, trust(ada=cert)) == signatures.Verified("ada")
    assert refused(raw, trust(ada=str(CERT))).code == "SignerUnknown"
    assert refused(raw.replace(b"Signed by", b"signed by"), trust(ada=cert)).code == "SignatureInvalid"


def test_a_key_counts_until_its_end_and_not_after() -> None:
    trusted = trust(ada=signing.data("gpg-short.asc").decode())
    assert signatures.judge(signing.data("gpg-short.commit"), trusted) == signatures.Verified("ada")
    late = refused(signing.data("gpg-late.commit"), trusted)
    assert late.code == "SignatureInvalid"
    assert "expired" in late.message


def test_a_revoked_certificate_counts_for_nothing() -> None:
    found = refused(signing.data("gpg-plain.commit"), trust(ada=signing.data("gpg-revoked.asc").decode()))
    assert (found.code, found.message) == ("SignatureInvalid", "the OpenPGP certificate of ada is revoked")


def test_sha1_is_broken() -> None:
    found = refused(signing.data("gpg-sha1.commit"), trust(ada=signing.data("gpg-plain.asc").decode()))
    assert found.code == "SignatureInvalid"
    assert "SHA1, which is broken" in found.message


def test_a_signature_over_text_does_not_cover_every_byte() -> None:
    found = refused(signing.data("gpg-text.commit"), trust(ada=signing.data("gpg-short.asc").decode()))
    assert found.code == "SignatureInvalid"
    assert "not over bytes" in found.message


def test_what_is_not_one_detached_signature_is_refused() -> None:
    binary = bytes(pysequoia.Sig.from_bytes(made()))
    inline = pysequoia.sign(SECRET.signer(), PAYLOAD)
    for content in (binary + binary, binary[:-1], binary + b"x", bytes(CERT), b""):
        raw = signing.with_signature(
            PAYLOAD, signing.armored("PGP SIGNATURE", content).replace(b"-----\n", b"-----\n\n", 1)
        )
        assert refused(raw, trust(ada=str(CERT))).code == "SignatureInvalid"
    assert refused(signing.with_signature(PAYLOAD, inline), trust(ada=str(CERT))).code == "SignatureInvalid"
    assert refused(signing.with_signature(PAYLOAD, b"hi\n" + made()), trust(ada=str(CERT))).code == "SignatureInvalid"


def test_a_signature_where_nobody_listed_signs_so_is_by_nobody() -> None:
    ssh = signing.data("ssh-ed25519.pub").decode()
    trusted = signatures.trust({"signers": {"ada": {"ssh": ssh}}})
    assert refused(signing.with_signature(PAYLOAD, made()), trusted).code == "SignerUnknown"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "not an armored OpenPGP certificate"),
        (str(SECRET), "holds a secret key"),
        (str(CERT) + signing.data("gpg-plain.asc").decode(), "not an armored|holds 2"),
        (made().decode(), "not an armored|holds 0"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(errors.Stall, match=f"verify.signers.ada.openpgp cannot be used: .*({message})") as stalled:
        trust(ada=text)
    assert stalled.value.code == "SourceInvalid"


def test_several_certificates_in_one_text_are_refused() -> None:
    both = pysequoia.armor(
        b"".join(
            bytes(one) for pile in (CERT, pysequoia.Tsk.generate("B").extract_certificate()) for one in packets(pile)
        ),
        pysequoia.ArmorKind.PublicKey,
    )
    with pytest.raises(errors.Stall, match="must hold one OpenPGP certificate, and holds 2"):
        trust(ada=both)


def packets(cert: pysequoia.Cert) -> list[packet.Packet]:
    return list(packet.PacketPile.from_bytes(bytes(cert)))
