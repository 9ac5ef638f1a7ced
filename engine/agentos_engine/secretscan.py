"""Secrets that stand in a manifest as text.

Three signs: the known shape of a provider's key anywhere; a literal under a key that names a credential; a credential
in a header or address. Precise rather than eager, because a false alarm blocks a commit. Most manifests show no sign at
all, which is found out in one search over their canonical JSON; only the others are walked.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from agentos_engine import model

_SHAPES: Final = tuple(
    (name, signs, re.compile(pattern))
    for name, signs, pattern in (
        ("an OpenAI or Anthropic key", ("sk-",), r"\bsk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{20,}"),
        ("a Stripe key", ("k_live_", "k_test_"), r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
        ("an AWS access key", ("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
        ("a GitHub token", ("ghp_", "gho_", "ghs_", "ghu_", "ghr_"), r"\bgh[opsur]_[A-Za-z0-9]{30,}"),
        ("a GitHub token", ("github_pat_",), r"\bgithub_pat_[A-Za-z0-9_]{30,}"),
        ("a GitLab token", ("glpat-",), r"\bglpat-[A-Za-z0-9_-]{20,}"),
        ("a Slack token", ("xox",), r"\bxox[abeprs]-[A-Za-z0-9-]{10,}"),
        ("a Google key", ("AIza",), r"\bAIza[0-9A-Za-z_-]{35}"),
        ("a Google token", ("ya29.",), r"\bya29\.[0-9A-Za-z_-]{20,}"),
        ("a Meta token", ("EAA",), r"\bEAA[A-Za-z0-9]{40,}"),
        ("a Hugging Face token", ("hf_",), r"\bhf_[A-Za-z0-9]{30,}"),
        ("a SendGrid key", ("SG.",), r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
        ("a webhook secret", ("whsec_",), r"\bwhsec_[A-Za-z0-9+/=]{20,}"),
        ("an AgentOS key", ("aos_",), r"\baos_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{40,}"),
        ("a private key", ("-----BEGIN",), r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
        ("a JSON Web Token", ("eyJ",), r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
        ("a password in an address", ("://",), r"""\bhttps?://[^\s/:@"$]{1,256}:[^\s/@"$]{1,256}@"""),
    )
)
_ANY_SIGN: Final = re.compile("|".join(re.escape(sign) for _name, signs, _shape in _SHAPES for sign in signs))
_AFTER_UNDERSCORE: Final = re.compile("_[A-Za-z0-9_+/=-]{16}")
_GATED: Final = (("A", ("AKIA", "ASIA", "AIza")), ("E", ("EAA",)), ("G", ("SG.",)), ("J", ("eyJ",)))
_PLAIN: Final = ('"sk-', " sk-", "glpat-", "xox", "ya29.", "-----BEGIN", "://")
_KEYS: Final = ("pass", 'pwd":', 'token":"', 'key":"', '_secret":"', "authorization", "cookie", "credential", "headers")
_PASSWORD: Final = re.compile("(?:^|[_-])(?i:password|passwd|passphrase|pwd)$|[a-z](?:Password|Passphrase|Pwd)$")
_TOKEN: Final = re.compile(
    r"(?i)(^|.*[_-])(api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|auth[_-]?key|(access|auth|refresh|bearer|"
    r"api|session)[_-]?token|token|client[_-]?secret|credentials?)$|.*[a-z](ApiKey|AccessKey|SecretKey|Token|Secret)$"
)
_HEADER: Final = frozenset(
    {"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token", "x-access-token"}
)
_HINT: Final = "Store it with `agentos secret set NAME` and write {secret: NAME} in `auth`."
_TOKEN_TEXT: Final = re.compile(r"[A-Za-z0-9+/=_.:~-]{12,}")


def scan(spec: Any, canonical: bytes) -> Iterator[tuple[str, model.Location, str, str]]:
    """Every secret that stands in a manifest as text: code, location, message, hint.

    `spec` is the JSON of the spec, `canonical` that of it or of the whole manifest, as bytes.
    """
    if not _suspicious(canonical.decode()):
        return
    for location, text in _texts(spec, ("spec",)):
        what = _secret(location, text)
        if what:
            yield "SecretLiteral", location, f"{what} stands here as text", _HINT


def shape_of(text: str) -> str | None:
    """What kind of secret a text is by its shape alone, None for none."""
    if _ANY_SIGN.search(text) is None:
        return None
    for name, signs, shape in _SHAPES:
        if any(sign in text for sign in signs) and shape.search(text):
            return name
    return None


def _suspicious(text: str) -> bool:
    """Whether a text has any sign of a secret: quick, and wrong on the side of yes."""
    if _AFTER_UNDERSCORE.search(text):
        return True
    for sign in _PLAIN:
        if sign in text:
            return True
    for letter, signs in _GATED:
        if letter in text and any(sign in text for sign in signs):
            return True
    lowered = text.lower()
    return any(sign in lowered for sign in _KEYS)


def _texts(value: Any, at: model.Location) -> Iterator[tuple[model.Location, str]]:
    stack = [(at, value)]
    while stack:
        location, item = stack.pop()
        if item.__class__ is str:
            yield location, item
        elif item.__class__ is dict:
            stack.extend(((*location, key), inner) for key, inner in reversed(item.items()))
        elif item.__class__ is list:
            stack.extend(((*location, i), inner) for i, inner in reversed(list(enumerate(item))))


def _secret(location: model.Location, text: str) -> str | None:
    """What kind of secret a text is, None for none."""
    if (shaped := shape_of(text)) is not None:
        return shaped
    key = location[-1] if isinstance(location[-1], str) else ""
    if "${" in text or not text or key == "secret":
        return None
    if len(location) > 1 and location[-2] == "headers" and key.lower() in _HEADER:
        return f"the header {key}"
    if " " in text:
        return None
    if _PASSWORD.search(key):
        return f"a literal under `{key}`"
    if _TOKEN.match(key) and _random(text):
        return f"a literal under `{key}`"
    if len(location) > 1 and location[-2] == "headers" and len(text) >= 24 and _random(text):
        return f"what looks like a key in the header {key}"
    return None


def _random(text: str) -> bool:
    """Whether a text looks made by a generator: letters and digits mixed, few repeated."""
    if not _TOKEN_TEXT.fullmatch(text) or not (re.search("[0-9]", text) and re.search("[A-Za-z]", text)):
        return False
    counts = Counter(text)
    bits = -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    return bits >= 3.0
