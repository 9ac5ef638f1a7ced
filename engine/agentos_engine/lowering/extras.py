"""The author's own ``x-…`` keys: kept beside the body, without any meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FREE = frozenset(
    ("with", "set", "input", "output", "edit", "show", "$defs", "vars", "headers", "query", "body", "result", "args",
     "over", "state", "default")
)  # fmt: skip
"""Keys under which the author's own data stands: what looks like an annotation there is none."""


def of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """``{"x": {dotted path: value}}`` of every annotation in `spec`, or ``{}`` if there is none."""
    found: dict[str, Any] = {}
    pending: list[tuple[str, Any]] = [("", spec)]
    while pending:
        path, value = pending.pop()
        if value.__class__ is dict:
            for key, inner in value.items():
                if key.startswith("x-"):
                    found[path + key] = inner
                elif key not in _FREE and inner.__class__ in (dict, list):
                    pending.append((f"{path}{key}.", inner))
        elif value.__class__ is list:
            pending += ((f"{path}{index}.", inner) for index, inner in enumerate(value))
    return {"x": dict(sorted(found.items()))} if found else {}
