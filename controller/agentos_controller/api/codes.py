"""`docs/codes.md` out of the registry of codes: ``python -m agentos_controller.api.codes > docs/codes.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from agentos_engine import errors

_INTRODUCTION = """\
# Codes

Generated from the registry by `python -m agentos_controller.api.codes`; do not edit.

One word for one thing: the code of a diagnostic, the reason of a condition, the code of a problem and the reason of a
run's end are the same word where they mean the same. Problems are answered over HTTP as RFC 9457 documents of type
`urn:agentos:problem:<code>`.
"""


def page() -> str:
    """The whole page, as Markdown."""
    codes = sorted(errors.REGISTRY.values(), key=lambda code: code.name)
    diagnostics = (code for code in codes if "diagnostic" in code.uses)
    reasons = (code for code in codes if "reason" in code.uses and "diagnostic" not in code.uses)
    ends = (code for code in codes if "run" in code.uses)
    problems = (code for code in codes if "problem" in code.uses)
    return "\n".join(
        [
            _INTRODUCTION,
            "## Diagnostics\n",
            "What can be wrong in a manifest. Each is also the reason of the condition it makes False.\n",
            *_table(diagnostics),
            "\n## Reasons\n",
            "Why a condition of a resource, a source or a tenant is as it is, besides the diagnostics.\n",
            *_table(reasons),
            "\n## Runs\n",
            "Why a run ended without success: its `reason` and the class of its error. Connectors add their own.\n",
            *_table(ends),
            "\n## Problems\n",
            "What the API answers instead of what was asked for.\n",
            *_table(problems, status=True),
            "",
        ]
    )


def _table(codes: Iterable[errors.Code], *, status: bool = False) -> Iterable[str]:
    yield f"| code |{' status |' if status else ''} means | what to do |"
    yield f"|---|{'---|' if status else ''}---|---|"
    for code in codes:
        number = f" {code.status} |" if status else ""
        yield f"| `{code.name}` |{number} {_cell(code.summary)} | {_cell(code.fix)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
