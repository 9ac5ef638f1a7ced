"""Removes secret values this process knows from whatever leaves it: errors, events, logs, recordings.

A value is looked for as it is and as it may come back: base64 in any alignment, URL-encoded, JSON-escaped (once or
within JSON text), hexadecimal, and line by line where it has several. What this cannot see is a secret that was cut,
reversed or encrypted by somebody else. Values are known from the moment they are resolved; nothing is stored.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

MASK = "[redacted]"
MINIMUM = 4
"""Shorter values are not looked for: they would be found everywhere. They cannot be stored either."""
_MINIMUM_ENCODED = 6
_MINIMUM_LINE = 16


class Redactor:
    """Known secret values, per tenant. Thread-safe: logging calls it from anywhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str | None, dict[str, tuple[str, ...]]] = {}
        self._all: tuple[str, ...] = ()
        self._by_tenant: dict[str | None, tuple[str, ...]] = {}

    def add(self, value: str, tenant_id: str | None = None) -> None:
        """Look for `value` from now on; None is the platform, whose secrets are looked for everywhere."""
        if len(value) < MINIMUM or value in self._known.get(tenant_id, ()):
            return
        with self._lock:
            self._known.setdefault(tenant_id, {})[value] = tuple(patterns(value))
            # Longest first: an encoding that contains another must go as a whole.
            for tenant in (tenant_id,) if tenant_id is not None else tuple(self._known):
                both = (self._known.get(tenant, {}), self._known.get(None, {}))
                self._by_tenant[tenant] = _ordered(found for values in both for found in values.values())
            self._all = _ordered(found for values in self._known.values() for found in values.values())

    def text(self, text: str, tenant_id: str | None = None) -> str:
        """`text` without secrets: those of one tenant and the platform, or with None those of everybody."""
        for pattern in self._patterns(tenant_id):
            if pattern in text:
                text = text.replace(pattern, MASK)
        return text

    def clean(self, value: Any, tenant_id: str | None = None) -> Any:
        """JSON data without secrets, in keys too; as `text`. What is no JSON is returned as it is."""
        if not self._patterns(tenant_id):
            return value
        return self._clean(value, tenant_id)

    def _clean(self, value: Any, tenant_id: str | None) -> Any:
        if isinstance(value, str):
            return self.text(value, tenant_id)
        if isinstance(value, dict):
            return {self._clean(key, tenant_id): self._clean(item, tenant_id) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(item, tenant_id) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            text = str(value)  # a numeric secret comes back as a number
            return MASK if self.text(text, tenant_id) != text else value
        return value

    def _patterns(self, tenant_id: str | None) -> tuple[str, ...]:
        if tenant_id is None:
            return self._all
        found = self._by_tenant.get(tenant_id)
        return found if found is not None else self._by_tenant.get(None, ())


def patterns(value: str) -> set[str]:
    """Every form of `value` that is looked for."""
    found: set[str] = set()
    for form in _forms(value):
        raw = form.encode()
        escaped = json.dumps(form)[1:-1]
        plain = json.dumps(form, ensure_ascii=False)[1:-1]
        quoted = urllib.parse.quote(form, safe="")
        found |= {form, escaped, plain, json.dumps(escaped)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1]}
        found |= {quoted, urllib.parse.quote(form), urllib.parse.quote_plus(form)}
        found |= {quoted.replace("%", "%25"), _lower_escapes(quoted)}
        found |= {found_ for found_ in (*_base64(raw), raw.hex(), raw.hex().upper()) if len(found_) >= _MINIMUM_ENCODED}
    return found


def _forms(value: str) -> Iterator[str]:
    yield value
    stripped = value.strip()
    if len(stripped) >= MINIMUM:
        yield stripped
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _MINIMUM_LINE and not line.startswith("-----"))


def _base64(raw: bytes) -> Iterator[str]:
    # Inside a longer text the value may begin at any of three alignments; only the characters that depend on the
    # value alone are looked for.
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode()
        first = -(-8 * offset // 6)
        last = 8 * (offset + len(raw)) // 6
        inner = encoded[first:last]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def _lower_escapes(quoted: str) -> str:
    out = quoted.split("%")
    return "%".join([out[0], *(part[:2].lower() + part[2:] for part in out[1:])])


def _ordered(groups: Iterator[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({pattern for group in groups for pattern in group}, key=lambda text: (-len(text), text)))


redactor = Redactor()
"""The process's: secrets are resolved in one place and must be missing everywhere."""


class Formatter(logging.Formatter):
    """What another formatter makes of a record, tracebacks and all, without secrets."""

    def __init__(self, inner: logging.Formatter, known: Redactor = redactor) -> None:
        super().__init__()
        self._inner = inner
        self._known = known

    def format(self, record: logging.LogRecord) -> str:
        return self._known.text(self._inner.format(record))
