"""Laws of signatures: hostile bytes are refused and never raise, and nothing changed ever verifies."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentos_controller.source import signatures
from tests.support import signing

TRUST = signatures.trust(
    {
        "signers": {
            **{name: {"ssh": signing.data(f"{name}.pub").decode()} for name in ("ssh-ed25519", "ssh-ecdsab256")},
            "gpg-plain": {"openpgp": signing.data("gpg-plain.asc").decode()},
            "gpg-subkey": {"openpgp": signing.data("gpg-sub.asc").decode()},
            "gitsign-offline": {
                "sigstore": {"identity": "billy@chainguard.dev", "issuer": "https://accounts.google.com"}
            },
        },
        "sigstore": {
            "roots": signing.data("sigstore-roots.pem").decode(),
            "logKey": signing.data("sigstore-log.pem").decode(),
        },
    }
)
SSH = ("ssh-ed25519", "ssh-ecdsab256")
ALL = (*SSH, "gpg-plain", "gpg-subkey", "gitsign-offline")
COMMITS = {name: signing.data(f"{name}.commit") for name in ALL}
LABELS = ("SSH SIGNATURE", "PGP SIGNATURE", "SIGNED MESSAGE")


@pytest.mark.parametrize("name", ALL)
def test_the_commits_that_are_changed_below_verify(name: str) -> None:
    assert signatures.judge(COMMITS[name], TRUST) == signatures.Verified(name)


def _region(raw: bytes) -> range:
    """Where in the commit the signature stands."""
    start = raw.index(b"gpgsig ")
    return range(start, raw.index(b"\n\n", start))


@st.composite
def flips(draw: st.DrawFn, names: tuple[str, ...], *, inside: bool) -> tuple[str, bytes]:
    """A commit with one byte changed, in its signature or in what is signed."""
    name = draw(st.sampled_from(names))
    raw = COMMITS[name]
    region = _region(raw)
    # Newlines around the header belong to neither: without them it is no header any more.
    places = list(region) if inside else [at for at in range(len(raw)) if at not in region and at + 1 != region.start]
    at = draw(st.sampled_from(places))
    byte = draw(st.integers(0, 255).filter(lambda byte: byte != raw[at]))
    return name, raw[:at] + bytes([byte]) + raw[at + 1 :]


@given(flips(ALL, inside=False))
def test_a_changed_byte_of_the_commit_never_verifies(changed: tuple[str, bytes]) -> None:
    assert isinstance(signatures.judge(changed[1], TRUST), signatures.Refused)


@given(flips(SSH, inside=True))
def test_a_changed_byte_of_an_ssh_signature_never_verifies(changed: tuple[str, bytes]) -> None:
    assert isinstance(signatures.judge(changed[1], TRUST), signatures.Refused)


@given(flips(ALL[2:], inside=True))
def test_a_changed_byte_of_another_signature_never_makes_another_signer(changed: tuple[str, bytes]) -> None:
    # OpenPGP and CMS have parts that nothing covers: hints to the key, and the log's inclusion proof.
    name, raw = changed
    found = signatures.judge(raw, TRUST)
    assert isinstance(found, signatures.Refused) or found == signatures.Verified(name)


@given(st.binary(max_size=400))
def test_no_bytes_raise_as_a_commit(raw: bytes) -> None:
    assert isinstance(signatures.judge(raw, TRUST), signatures.Refused)


@given(st.sampled_from(LABELS), st.binary(max_size=300), st.booleans())
def test_no_bytes_raise_in_an_armor(label: str, content: bytes, blank: bool) -> None:
    made = signing.armored(label, content)
    raw = signing.with_signature(_payload("ssh-ed25519"), made.replace(b"-----\n", b"-----\n\n", 1) if blank else made)
    assert isinstance(signatures.judge(raw, TRUST), signatures.Refused)


def _payload(name: str) -> bytes:
    raw = COMMITS[name]
    region = _region(raw)
    return raw[: region.start - 1] + raw[region.stop :]


def _decoded(name: str) -> tuple[str, bytes]:
    raw = COMMITS[name]
    lines = raw[_region(raw).start : _region(raw).stop].split(b"\n ")
    body = [line for line in lines[1:-1] if line and not line.startswith(b"=")]
    return lines[0].decode().split("BEGIN ")[1].removesuffix("-----"), base64.b64decode(b"".join(body))


@given(st.sampled_from(ALL), st.data())
def test_no_damage_inside_an_armor_raises_or_makes_another_signer(name: str, data: Any) -> None:
    label, content = _decoded(name)
    at = data.draw(st.integers(0, len(content)))
    cut = data.draw(st.integers(0, 8))
    damaged = content[:at] + data.draw(st.binary(max_size=8)) + content[at + cut :]
    made = signing.armored(label, damaged, 64)
    if label == "PGP SIGNATURE":
        made = made.replace(b"-----\n", b"-----\n\n", 1)
    found = signatures.judge(signing.with_signature(_payload(name), made), TRUST)
    assert isinstance(found, signatures.Refused) or found == signatures.Verified(name)
