"""The text form of signatures: base64 between a BEGIN and an END line.

One reading only. What a lenient reader skips (text around it, stray characters, padding bits) is refused, so that two
different texts never stand for one signature, and nothing hides beside it.
"""

from __future__ import annotations

import base64
import binascii
import re

from agentos_controller.source.signatures import verdict

MAX_BYTES = 64 * 1024
"""Of a whole armored signature. RSA keys make about 1 KiB, a sigstore signature 3 KiB."""
_LINE = re.compile(rb"[A-Za-z0-9+/]{1,76}={0,2}")
_HEADER = re.compile(rb"[A-Za-z]{1,32}: [ -~]{0,200}")
_CHECKSUM = re.compile(rb"=[A-Za-z0-9+/]{4}")


def decode(text: bytes, label: str, *, openpgp: bool = False) -> bytes:
    """The bytes inside. OpenPGP's form may have headers before and a checksum after them; both say nothing.

    Raises:
        verdict.Bad: it is not exactly one block of that form.
    """
    if len(text) > MAX_BYTES:
        raise verdict.Bad(f"the signature has more than {MAX_BYTES} bytes")
    begin, end = f"-----BEGIN {label}-----".encode(), f"-----END {label}-----".encode()
    lines = text.removesuffix(b"\n").split(b"\n")
    if len(lines) < 3 or lines[0] != begin or lines[-1] != end:
        raise verdict.Bad(f"the signature is not one block of {label}")
    inside = lines[1:-1]
    if openpgp:
        inside = _without_extras(inside)
    if not all(_LINE.fullmatch(line) for line in inside):
        raise verdict.Bad("the signature's text is no plain base64")
    joined = b"".join(inside)
    try:
        data = base64.b64decode(joined, validate=True)
    except binascii.Error:
        raise verdict.Bad("the signature's text is no plain base64") from None
    if base64.b64encode(data) != joined:
        raise verdict.Bad("the signature's text is no plain base64")
    return data


def _without_extras(lines: list[bytes]) -> list[bytes]:
    start = 0
    while start < len(lines) and _HEADER.fullmatch(lines[start]):
        start += 1
    if start == len(lines) or lines[start]:
        raise verdict.Bad("the signature's headers do not end with an empty line")
    end = len(lines) - bool(_CHECKSUM.fullmatch(lines[-1]))
    return lines[start + 1 : end]
