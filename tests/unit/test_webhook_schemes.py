"""Signatures of deliveries: published vectors where there are any, our own HMAC elsewhere; what is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from starlette.datastructures import Headers

from agentos_controller.api import schemes
from tests.support import webhooks

NOW = 1_614_265_330
GITHUB = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
"""For the secret ``It's a Secret to Everybody`` and the body ``Hello, World!``, from GitHub's documentation."""
STANDARD = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(NOW),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
"""For `WHSEC` and the body ``{"test": 2432232314}``, from the specification's libraries."""
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def verdict(headers: dict[str, str] | list[tuple[str, str]], body: bytes, secret: str, now: float = NOW) -> bytes:
    listed = headers.items() if isinstance(headers, dict) else headers
    sent = Headers(raw=[(name.lower().encode(), value.encode("latin-1")) for name, value in listed])
    scheme = schemes.scheme_of(sent)
    assert scheme is not None
    check = schemes.Check(scheme, sent, secret, now)
    for at in range(0, len(body), 5):
        check.feed(body[at : at + 5])
    return check.verdict()


def test_published_vectors() -> None:
    assert verdict({"X-Hub-Signature-256": GITHUB}, b"Hello, World!", "It's a Secret to Everybody")
    assert verdict(STANDARD, b'{"test": 2432232314}', WHSEC)


@pytest.mark.parametrize("forge", webhooks.FORGES)
def test_each_forge_is_believed_and_no_forger(forge: str) -> None:
    body, secret = b'{"ref": "refs/heads/main"}', "correct horse"
    signed = webhooks.signed(forge, body, secret, NOW)
    assert len(verdict(signed, body, secret)) == 32
    with pytest.raises(schemes.Refused):
        verdict(webhooks.signed(forge, body, "another horse", NOW), body, secret)
    if forge != "gitlab":  # its token says nothing of the body
        with pytest.raises(schemes.Refused):
            verdict(signed, body + b" ", secret)


def test_one_delivery_has_one_name_however_it_is_written() -> None:
    body, secret = b"{}", "correct horse"
    names = {verdict(webhooks.signed(forge, body, secret, NOW), body, secret) for forge in ("gitea", "github")}
    assert len(names) == 1
    again = STANDARD | {"webhook-signature": "v1,AAAA " + STANDARD["webhook-signature"] + " v1a,xyz"}
    body = b'{"test": 2432232314}'
    assert verdict(STANDARD, body, WHSEC) == verdict(again, body, WHSEC)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Hub-Signature-256": GITHUB.upper()},
        {"X-Hub-Signature-256": GITHUB.removeprefix("sha256=")},
        {"X-Hub-Signature-256": GITHUB + " "},
        {"X-Hub-Signature-256": GITHUB[:-1]},
        {"X-Hub-Signature-256": "sha256="},
        {"X-Hub-Signature-256": "sha256=\xff"},
        {"X-Hub-Signature": "sha1=" + hmac.new(b"k", b"Hello, World!", hashlib.sha1).hexdigest()},
        [("X-Hub-Signature-256", GITHUB), ("X-Hub-Signature-256", GITHUB)],
        {"X-Hub-Signature-256": GITHUB, "X-Gitea-Signature": "0" * 64},
    ],
)
def test_a_signature_has_one_spelling(headers: dict[str, str]) -> None:
    with pytest.raises(schemes.Refused):
        verdict(headers, b"Hello, World!", "It's a Secret to Everybody")


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": f"+{NOW}"},
        {"webhook-timestamp": ""},
        {"webhook-id": ""},
        {"webhook-id": "a.b"},
        {"webhook-id": "x" * 300},
        {"webhook-signature": "v2," + STANDARD["webhook-signature"][3:]},
        {"webhook-signature": " ".join(["v1,AAAA"] * 8 + [STANDARD["webhook-signature"]])},
    ],
)
def test_stamped_deliveries_are_exact(change: dict[str, str]) -> None:
    with pytest.raises(schemes.Refused):
        verdict(STANDARD | change, b'{"test": 2432232314}', WHSEC)


def test_a_stamp_is_good_for_five_minutes_on_either_side() -> None:
    body = b'{"test": 2432232314}'
    for off in (-300, 300):
        assert verdict(STANDARD, body, WHSEC, NOW + off)
    for off in (-301, 301):
        with pytest.raises(schemes.Refused, match="300 s"):
            verdict(STANDARD, body, WHSEC, NOW + off)
    with pytest.raises(schemes.Refused, match="not base64"):
        verdict(STANDARD, body, "whsec_!")


def test_a_stamped_secret_may_be_plain() -> None:
    mac = hmac.new(b"plain", f"1.{NOW}.{{}}".encode(), hashlib.sha256).digest()
    sent = {
        "webhook-id": "1",
        "webhook-timestamp": str(NOW),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }
    assert verdict(sent, b"{}", "plain") == mac


@pytest.mark.parametrize(
    ("header", "wakes", "others"),
    [
        ("X-GitHub-Event", ["push", "create", "delete"], ["ping", "issues", "", "Push"]),
        ("X-Gitea-Event", ["push"], ["pull_request"]),
        ("X-Forgejo-Event", ["push"], ["ping"]),
        ("X-Gitlab-Event", ["Push Hook", "Tag Push Hook"], ["Issue Hook", "System Hook"]),
        ("X-Event-Key", ["repo:push", "repo:refs_changed"], ["diagnostics:ping", "pr:opened"]),
    ],
)
def test_only_what_can_move_a_ref_wakes(header: str, wakes: list[str], others: list[str]) -> None:
    assert all(schemes.moves(Headers({header: event})) for event in wakes)
    assert not any(schemes.moves(Headers({header: event})) for event in others)
    assert schemes.moves(Headers({}))
