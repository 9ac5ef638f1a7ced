"""Removes secret values this process knows from whatever leaves it: errors, events, logs, recordings.

A value is looked for in the forms of `agentos_engine.runtime.scrub`, which cleans the answer of a call by itself; here
everything is cleaned that may have taken another way. Values are known from the moment they are resolved; nothing is
stored.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

from agentos_engine.runtime import scrub

MASK = scrub.MASK
MINIMUM = scrub.SHORTEST
"""Shorter values are not looked for: they would be found everywhere. They cannot be stored either."""


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
            self._known.setdefault(tenant_id, {})[value] = tuple(scrub.forms(value))
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
