"""The platform's own source from a file, in the words of a Tenant: how it is trusted, limited and woken.

Everyone else's sources stand in the platform's repository; who may change that one is for the operator to say, outside
of it. The file is a Tenant manifest with one source, so that `agentos validate` and editors know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentos_engine import compile as compiling
from agentos_engine import errors, load


def read(path: Path) -> Mapping[str, Any]:
    """The compiled Tenant in the file at `path`, with exactly one source, whose `git` is absolute.

    Raises:
        errors.Stall: ``SourceInvalid``; the message names file, line and column.
    """
    try:
        found = load.load(path.read_bytes()).at(str(path))
    except OSError as error:
        raise errors.Stall("SourceInvalid", f"{path} cannot be read: {error.strerror}") from None
    wrong = [one for one in found.diagnostics if one.is_error]
    if not wrong and [manifest.ref.kind for manifest in found.manifests] != ["Tenant"]:
        raise errors.Stall("SourceInvalid", f"{path} has to hold one Tenant manifest and nothing else")
    if not wrong:
        compiled = compiling.compile(found.manifests[0], {}, {})
        wrong = [one.at(str(path)) for one in compiled.diagnostics if one.is_error]
    if wrong:
        first = wrong[0]
        raise errors.Stall(
            "SourceInvalid", f"{first.path}:{first.line}:{first.column}: {first.message}. {first.hint or ''}".strip()
        )
    assert compiled.artifact is not None
    body = compiled.artifact.body
    if len(body["sources"]) != 1 or not body["sources"][0]["git"]:
        raise errors.Stall("SourceInvalid", f"{path}: the platform has one source, and its `git` says where")
    return body
