"""Keyless signatures: what gitsign made verifies without asking anybody, and every broken link is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from agentos_controller.source import signatures
from agentos_engine import errors
from tests.support import signing

OURS = signing.Authority()
GOOD = signing.Keyless(OURS)
PAYLOAD = signing.data("gitsign-offline.commit").partition(b"gpgsig ")[0] + b"\nA message\n"
PUBLIC = {
    "roots": signing.data("sigstore-roots.pem").decode(),
    "logKey": signing.data("sigstore-log.pem").decode(),
}
BILLY = ("billy@chainguard.dev", "https://accounts.google.com")


def trust(
    identity: str = signing.IDENTITY, issuer: str = signing.ISSUER, anchors: dict[str, str] | None = None
) -> signatures.Trust:
    signers = {"release": {"sigstore": {"identity": identity, "issuer": issuer}}}
    return signatures.trust({"signers": signers, "sigstore": anchors or OURS.trust()})


def judged(sign: signing.Keyless, trusted: signatures.Trust | None = None) -> signatures.Verdict:
    return signatures.judge(signing.with_signature(PAYLOAD, sign(PAYLOAD)), trusted or trust())


def refused(raw: bytes, trusted: signatures.Trust) -> signatures.Refused:
    result = signatures.judge(raw, trusted)
    assert isinstance(result, signatures.Refused)
    return result


def test_what_gitsign_made_verifies_offline() -> None:
    raw = signing.data("gitsign-offline.commit")
    assert signatures.judge(raw, trust(*BILLY, anchors=PUBLIC)) == signatures.Verified("release")
    assert refused(raw, trust("billy@example.com", BILLY[1], PUBLIC)).code == "SignerUnknown"
    assert refused(raw, trust(BILLY[0], "https://github.com/login/oauth", PUBLIC)).code == "SignerUnknown"
    assert refused(raw, trust(*BILLY)).code == "SignatureInvalid"
    assert refused(raw.replace(b"12:11:17", b"12:11:18"), trust(*BILLY, anchors=PUBLIC)).code == "SignatureInvalid"


def test_what_gitsign_made_online_carries_no_proof() -> None:
    found = refused(signing.data("gitsign-online.commit"), trust(*BILLY, anchors=PUBLIC))
    assert found.code == "SignatureInvalid"
    assert "`rekorMode`" in found.message


ACCEPTED = {
    "an address": GOOD,
    "the older issuer": GOOD.change(issuer=None, issuer_raw=signing.ISSUER),
    "both issuers, of which the newer counts": GOOD.change(issuer_raw="https://other.example.com"),
    "the last second": GOOD.change(logged_at=signing.AT + timedelta(minutes=10)),
}


@pytest.mark.parametrize("sign", ACCEPTED.values(), ids=ACCEPTED)
def test_every_accepted_form_verifies(sign: signing.Keyless) -> None:
    assert judged(sign) == signatures.Verified("release")


def test_a_workflow_is_an_identity_too() -> None:
    uri = "https://github.com/acme/agents/.github/workflows/release.yml@refs/heads/main"
    sign = GOOD.change(names=(x509.UniformResourceIdentifier(uri),))
    assert judged(sign, trust(identity=uri)) == signatures.Verified("release")


STRANGER = signing.Authority()
REFUSED: dict[str, tuple[signing.Keyless, str, str]] = {
    "another authority": (
        GOOD.change(authority=STRANGER, log_key=OURS.log_key),
        "SignatureInvalid",
        "does not lead to `roots`",
    ),
    "another log": (GOOD.change(log_key=STRANGER.log_key), "SignatureInvalid", "another log than `logKey`"),
    "no log entry": (GOOD.change(entry=False), "SignatureInvalid", "carries no log entry"),
    "the entry of another signature": (GOOD.change(entry_of=b"other"), "SignatureInvalid", "promise does not fit"),
    "an entry of another kind": (GOOD.change(kind=b"intoto"), "SignatureInvalid", "of a kind"),
    "logged after the certificate's end": (
        GOOD.change(logged_at=signing.AT + timedelta(minutes=11)),
        "SignatureInvalid",
        "had expired",
    ),
    "logged before it began": (GOOD.change(logged_at=signing.AT - timedelta(hours=1)), "SignatureInvalid", "expired"),
    "a certificate for servers": (
        GOOD.change(usage=x509.ExtendedKeyUsageOID.SERVER_AUTH),
        "SignatureInvalid",
        "not for signing code",
    ),
    "a critical extension nobody knows": (GOOD.change(critical=True), "SignatureInvalid", "critical"),
    "no issuer": (GOOD.change(issuer=None), "SignatureInvalid", "who vouched"),
    "another issuer": (GOOD.change(issuer="https://evil.example.com"), "SignerUnknown", "evil.example.com"),
    "another identity": (
        GOOD.change(names=(x509.RFC822Name("eve@example.com"),)),
        "SignerUnknown",
        "eve@example.com",
    ),
    "two identities": (
        GOOD.change(names=(x509.RFC822Name(signing.IDENTITY), x509.RFC822Name("eve@example.com"))),
        "SignatureInvalid",
        "does not name one",
    ),
    "another key than the certificate's": (GOOD.change(other_key=True), "SignatureInvalid", "not by the key"),
    "bytes behind it": (GOOD.change(tail=b"\x05\x00"), "SignatureInvalid", "well-formed"),
}


@pytest.mark.parametrize(("sign", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_every_broken_link_is_refused_and_says_which(sign: signing.Keyless, code: str, message: str) -> None:
    found = judged(sign)
    assert isinstance(found, signatures.Refused)
    assert found.code == code
    assert message in found.message


def test_an_identity_without_anchors_verifies_nothing() -> None:
    signers = {"release": {"sigstore": {"identity": signing.IDENTITY, "issuer": signing.ISSUER}}}
    raw = signing.with_signature(PAYLOAD, GOOD(PAYLOAD))
    assert refused(raw, signatures.trust({"signers": signers})).code == "SignerUnknown"


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("roots", "hello", "no certificate in PEM"),
        ("roots", PUBLIC["logKey"], "no certificate in PEM"),
        ("logKey", "hello", "not a public key in PEM"),
        ("logKey", signing.pem(ec.generate_private_key(ec.SECP384R1())), "ECDSA key on P-256"),
    ],
)
def test_an_anchor_that_cannot_be_used_is_named_with_the_reason(key: str, text: str, message: str) -> None:
    with pytest.raises(errors.Stall, match=f"verify.sigstore.{key} cannot be used: .*{message}") as stalled:
        trust(anchors={**OURS.trust(), key: text})
    assert stalled.value.code == "SourceInvalid"
