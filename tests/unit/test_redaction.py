"""A known secret leaves in no form."""

from __future__ import annotations

import base64
import io
import json
import logging
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentos_controller import redaction
from agentos_controller.redaction import MASK, Redactor

CANARY = 'kanarienvogel/+"7=?ü&%'
SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=8, max_size=40).filter(
    lambda text: len(text.strip()) >= 8 and "redacted" not in text
)


@given(SECRETS, st.binary(max_size=7), st.binary(max_size=7))
def test_base64_of_a_secret_is_found_at_any_alignment(secret: str, before: bytes, after: bytes) -> None:
    redactor = Redactor()
    redactor.add(secret)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(before + secret.encode() + after).decode()
        assert MASK in redactor.text(text)


@pytest.mark.parametrize(
    "form",
    [
        CANARY,
        json.dumps(CANARY),
        json.dumps(CANARY, ensure_ascii=False),
        json.dumps(json.dumps({"key": CANARY})),
        urllib.parse.quote(CANARY),
        urllib.parse.quote(CANARY, safe=""),
        urllib.parse.quote(CANARY, safe="").lower(),
        urllib.parse.quote_plus(CANARY),
        urllib.parse.quote(urllib.parse.quote(CANARY, safe=""), safe=""),
        base64.b64encode(f"user:{CANARY}".encode()).decode(),
        CANARY.encode().hex(),
    ],
)
def test_every_form_is_masked(form: str) -> None:
    redactor = Redactor()
    redactor.add(CANARY)
    out = redactor.text(f"before {form} after")
    assert out.startswith("before ")
    assert out.endswith(" after")
    assert MASK in out
    assert "kanarienvogel" not in out
    assert "kanarienvogel" not in out.lower()


def test_json_is_cleaned_in_keys_values_and_numbers() -> None:
    redactor = Redactor()
    redactor.add("48151623")
    redactor.add("hush-hush")
    given_ = {"hush-hush": [1, True, None, {"a": "is hush-hush"}, 48151623], "b": ("x", 1.5)}
    assert redactor.clean(given_) == {MASK: [1, True, None, {"a": f"is {MASK}"}, MASK], "b": ["x", 1.5]}


def test_lines_of_a_key_are_found_alone() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\nZm9vYmFyYmF6cXV4cXV1eA\n-----END PRIVATE KEY-----"
    redactor = Redactor()
    redactor.add(key)
    assert redactor.text("line MC4CAQAwBQYDK2VwBCIEIA") == f"line {MASK}"
    assert redactor.text("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


def test_a_tenant_looks_for_its_own_and_the_platforms() -> None:
    redactor = Redactor()
    redactor.add("of-tenant-a", "a")
    redactor.add("of-platform")
    redactor.add("of-tenant-b", "b")
    text = "of-tenant-a of-tenant-b of-platform"
    assert redactor.text(text, "a") == f"{MASK} of-tenant-b {MASK}"
    assert redactor.text(text, "c") == f"of-tenant-a of-tenant-b {MASK}"
    assert redactor.text(text) == f"{MASK} {MASK} {MASK}"


def test_short_values_are_left_alone() -> None:
    redactor = Redactor()
    redactor.add("abc")
    assert redactor.clean({"abc": "abc"}) == {"abc": "abc"}
    assert redaction.MINIMUM > 3


def test_log_lines_and_their_tracebacks_are_clean() -> None:
    redactor = Redactor()
    redactor.add("hush-hush")
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(redaction.Formatter(logging.Formatter("%(message)s"), redactor))
    log = logging.Logger("test")  # noqa: LOG001  # one that leaves no trace in the process
    log.addHandler(handler)
    try:
        raise ValueError("it was hush-hush")
    except ValueError:
        log.exception("failed with %s", "hush-hush")
    assert "hush-hush" not in out.getvalue()
    assert out.getvalue().count(MASK) >= 2
