"""Checking a run's input against what its target declares, before anything is written.

The runtime fills in defaults and validates again at every call; this is only so that a caller gets its mistakes as an
answer and not as a failed run. Schemas were accepted by the compiler: their references are local.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs

from agentos_engine import artifacts, errors

MAX_ERRORS = 20


def check(target: str, body: Mapping[str, Any], value: Any) -> None:
    """Raise unless `value` fits the input schema of the Graph artifact `body` of `target` (``Kind/name``).

    Raises:
        errors.Problem: ``InvalidRequest`` with `errors`, each ``{path, message}``; a path is a JSON pointer.
    """
    schema = body.get("input")
    if schema is None:
        if not isinstance(value, Mapping):
            raise errors.Problem("InvalidRequest", f"The input of {target} is an object", errors=[_wrong("", "object")])
        return
    if not isinstance(schema, Mapping):
        return
    whole = {**schema, "$defs": {**body.get("$defs", {}), **schema.get("$defs", {})}} if body.get("$defs") else schema
    found = [
        {"path": "/input" + "".join(f"/{part}" for part in error.instance_path), "message": error.message}
        for _, error in zip(range(MAX_ERRORS), _validator(artifacts.canonical(whole)).iter_errors(value), strict=False)
    ]
    if found:
        first = found[0]
        raise errors.Problem(
            "InvalidRequest", f"The input of {target} is not valid at {first['path']}: {first['message']}", errors=found
        )


def _wrong(path: str, expected: str) -> dict[str, str]:
    return {"path": f"/input{path}", "message": f"expected an {expected}"}


@lru_cache(maxsize=512)
def _validator(schema: bytes) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema.decode(), offline=True)
