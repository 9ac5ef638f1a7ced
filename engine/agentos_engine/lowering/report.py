"""Checking the expressions of one manifest, and everything wrong with it, at exact places.

A `Report` belongs to one compilation. It never raises for a mistake of the author: it notes a diagnostic and gives the
compiler something to go on with, so that all mistakes show at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentos_engine import fields, model
from agentos_engine.expressions import check, issues, template, types
from agentos_engine.lowering.scopes import Scope

_OUTPUT = re.compile(r"^steps\.([A-Za-z0-9]+)\.output$")


class Report:
    """The diagnostics of one manifest so far, and the checks that add to them.

    `unset` are the steps whose output may be missing where the next expressions stand: touching that is an error, while
    other values that may be null are a warning. `steps` are the ids of the workflow, to tell a step that does not run
    before from one that does not exist.
    """

    __slots__ = ("diagnostics", "manifest", "steps", "texts", "unset")

    def __init__(self, manifest: model.Manifest, texts: Mapping[str, str]) -> None:
        self.manifest = manifest
        self.texts = texts
        self.diagnostics: list[model.Diagnostic] = []
        self.unset: Collection[str] = ()
        self.steps: Collection[str] = ()

    @property
    def failed(self) -> bool:
        return any(diagnostic.is_error for diagnostic in self.diagnostics)

    def add(
        self,
        code: str,
        at: model.Location,
        message: str,
        hint: str | None = None,
        *,
        key: bool = False,
        severity: model.Severity = "error",
    ) -> None:
        """Note a diagnostic at the value (or key) at `at`, a location from the document's root."""
        self.diagnostics.append(self.manifest.diagnostic(code, at, message, hint, severity=severity, key=key))

    def expression(
        self, source: str, scope: Scope, at: model.Location, expect: types.Type | None = None
    ) -> check.Checked:
        """Check bare CEL; `text` of the result is what goes into the artifact."""
        checked = check.check(source, scope, expect)
        for issue in checked.issues:
            self._issue(issue, at, source)
        return checked

    def condition(self, source: str, scope: Scope, at: model.Location) -> str:
        """Check bare CEL that decides."""
        return self.expression(source, scope, at, types.BOOL).text

    def value(self, value: Any, scope: Scope, at: model.Location) -> tuple[Any, types.Type]:
        """Check a value whose strings are templates; the value for the artifact, and its type."""
        rewritten, kind, issues, _, _ = template.check_value(value, scope)
        for path, issue in issues:
            self._issue(issue, (*at, *path), _text_at(value, path))
        return rewritten, kind

    def text(self, text: fields.Text | None, scope: Scope, at: model.Location) -> str | None:
        """Check interpolated text, inline or in a file; the template for the artifact."""
        content, path = self.included(text, at)
        if content is None or "${" not in content:
            return content
        checked = template.check_template(content, scope)
        for issue in checked.issues:
            self._issue(issue, at, content, path)
        return checked.text

    def included(self, text: fields.Text | None, at: model.Location) -> tuple[str | None, str | None]:
        """The words of `text` without any check, and the path of the file they stand in, if they do."""
        if not isinstance(text, fields.FileText):
            return text, None
        content = self.texts.get(text.file)
        if content is None:
            hint = "Commit the file, or correct the path."
            self.add("FileNotFound", (*at, "file"), f"{text.file} is not there", hint)
            return None, None
        return content, model.resolve_file(self.manifest.path, text.file)

    def plain(self, text: fields.Text | None, at: model.Location) -> str | None:
        """Text that is not interpolated: descriptions."""
        return self.included(text, at)[0]

    def _issue(self, issue: issues.Issue, at: model.Location, text: str, path: str | None = None) -> None:
        message, severity = issue.message, _severity(issue, text, self.unset)
        if issue.code == "UnknownField" and (word := text[issue.offset : issue.offset + issue.length]) in self.steps:
            message = f"step {word!r} never runs before this one"
        if path is not None:
            line = text.count("\n", 0, issue.offset)
            column = issue.offset - (text.rfind("\n", 0, issue.offset) + 1)
            found = model.Diagnostic(issue.code, path, line + 1, column + 1, message, issue.hint, severity)
        else:
            place = self.manifest.positions.within(at, text, issue.offset)
            found = model.Diagnostic(
                issue.code, self.manifest.path, place.line, place.column, message, issue.hint, severity
            )
        if found not in self.diagnostics:
            self.diagnostics.append(found)

    def finish(self) -> tuple[model.Diagnostic, ...]:
        """What was found, in the order of the file."""
        order = sorted(self.diagnostics, key=lambda found: (found.path, found.line, found.column, found.code))
        return tuple(replace(found, path=found.path or self.manifest.path) for found in order)


def _severity(issue: issues.Issue, text: str, unset: Collection[str]) -> model.Severity:
    """A step that may not have run is an error to touch; any other value that may be null is worth a warning."""
    if issue.code != "MayBeNull":
        return "error"
    match = _OUTPUT.match(text[issue.offset : issue.offset + issue.length])
    return "error" if match is not None and match[1] in unset else "warning"


def _text_at(value: Any, path: Sequence[str | int]) -> str:
    for part in path:
        value = value[part]
    return value if isinstance(value, str) else ""
