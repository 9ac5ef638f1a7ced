"""How forges sign what they deliver: one table, and the check of a body while it streams.

Nothing here reads a body's meaning. A signature is compared as text with the one expected, in constant time, so there
is one spelling of each. Sources: the webhook pages of GitHub, GitLab, Gitea, Forgejo and Bitbucket, and the Standard
Webhooks specification.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

TOLERANCE_S = 300
"""Seconds by which a signed timestamp may differ from our clock."""
_MAX_SIGNATURES = 8
_ID = re.compile(r"[!-\-/-~]{1,256}")
"""Visible ASCII without a dot, which separates the id from what follows it."""
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class Refused(Exception):
    """The delivery is not signed as it has to be; the message holds nothing that was sent."""


class Headers(Protocol):
    """Headers of a request, by name in lower case."""

    def getlist(self, key: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way to sign: HMAC-SHA256 over the body, or over ``id.timestamp.body`` where `stamped`.

    ``token`` is the secret itself, sent along: it proves who sends, and nothing of what is sent.
    """

    name: str
    header: str
    form: Literal["hex", "base64", "token"] = "hex"
    prefix: str = ""
    stamped: bool = False


SCHEMES = (
    Scheme("standard", "webhook-signature", "base64", "v1,", stamped=True),
    Scheme("forgejo", "x-forgejo-signature"),
    Scheme("gitea", "x-gitea-signature"),
    Scheme("github", "x-hub-signature-256", prefix="sha256="),
    Scheme("bitbucket", "x-hub-signature", prefix="sha256="),
    Scheme("generic", "x-signature-256", prefix="sha256="),
    Scheme("gitlab", "x-gitlab-token", "token"),
)
"""The first whose header was sent is the one that has to hold: the stronger ones stand first."""

EVENTS: tuple[tuple[str, frozenset[str]], ...] = (
    ("x-forgejo-event", frozenset({"push", "create", "delete"})),
    ("x-gitea-event", frozenset({"push", "create", "delete"})),
    ("x-github-event", frozenset({"push", "create", "delete"})),
    ("x-gitlab-event", frozenset({"Push Hook", "Tag Push Hook"})),
    ("x-event-key", frozenset({"repo:push", "repo:refs_changed"})),
)
"""Where a forge says what happened, and which of it can move a ref."""


def scheme_of(headers: Headers) -> Scheme | None:
    """The scheme a delivery is signed by, None if by none."""
    return next((scheme for scheme in SCHEMES if headers.getlist(scheme.header)), None)


def moves(headers: Headers) -> bool:
    """Whether a ref may have moved: not for pings and other events; a sender that names none means a push."""
    for name, waking in EVENTS:
        if sent := headers.getlist(name):
            return sent[0] in waking
    return True


class Check:
    """The check of one delivery: made of its headers, fed the body piece by piece, asked at the end.

    Raises:
        Refused: the headers alone show that it cannot hold.
    """

    def __init__(self, scheme: Scheme, headers: Headers, secret: str, now_s: float) -> None:
        self._scheme = scheme
        self._given = _signatures(scheme, _one(headers, scheme.header))
        if scheme.form == "token":
            if not _same(self._given[0], secret):
                raise Refused("the token is another")
            self._hash: hashlib._Hash | hmac.HMAC = hashlib.sha256()
            return
        self._hash = hmac.new(_key(scheme, secret), _stamp(headers, now_s) if scheme.stamped else b"", hashlib.sha256)

    def feed(self, piece: bytes) -> None:
        self._hash.update(piece)

    def verdict(self) -> bytes:
        """What tells this delivery from every other one: 32 bytes that a replay has again.

        Raises:
            Refused: no signature is that of the body.
        """
        digest = self._hash.digest()
        if self._scheme.form == "token":
            return digest
        expected = digest.hex() if self._scheme.form == "hex" else base64.b64encode(digest).decode()
        matches = [_same(given, expected) for given in self._given]  # all of them: no early end
        if not any(matches):
            raise Refused("the signature is not that of the body under this secret")
        return digest


def _one(headers: Headers, name: str) -> str:
    sent = headers.getlist(name)
    if len(sent) != 1:
        raise Refused(f"{name} is needed exactly once")
    return sent[0]


def _signatures(scheme: Scheme, text: str) -> Sequence[str]:
    """The signatures in a header, without their prefix. Where there may be several, those of other versions are left
    out: a sender that changes its secret signs with both."""
    listed = text.split(" ")[:_MAX_SIGNATURES] if scheme.stamped else [text]
    found = [one[len(scheme.prefix) :] for one in listed if one.startswith(scheme.prefix)]
    if not found:
        raise Refused(f"{scheme.header} does not begin with {scheme.prefix}")
    return found


def _stamp(headers: Headers, now_s: float) -> bytes:
    identity, timestamp = _one(headers, "webhook-id"), _one(headers, "webhook-timestamp")
    if not _ID.fullmatch(identity) or not _TIMESTAMP.fullmatch(timestamp):
        raise Refused("webhook-id or webhook-timestamp is not in its form")
    if abs(now_s - int(timestamp)) > TOLERANCE_S:
        raise Refused(f"webhook-timestamp is more than {TOLERANCE_S} s from this clock")
    return f"{identity}.{timestamp}.".encode()


def _key(scheme: Scheme, secret: str) -> bytes:
    if scheme.stamped and secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            raise Refused("the secret begins with whsec_ and is not base64") from None
    return secret.encode()


def _same(given: str, expected: str) -> bool:
    # Digests of equal length, so that not even the length of a token shows. Headers come as Latin-1.
    sent, wanted = (hashlib.sha256(each).digest() for each in (given.encode("latin-1"), expected.encode()))
    return hmac.compare_digest(sent, wanted)
