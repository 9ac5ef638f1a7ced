"""What differs between two artifact bodies, in words a reviewer reads.

Compiled forms are compared, not text: formatting, comments and key order never show, and steps, tools, rules and models
are matched by their id, wherever they stand. Prompts and other long texts come as line and word differences. What a
difference means (authority, cost) is decided elsewhere.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from agentos_engine.artifacts import canonical

ChangeKind = Literal["added", "removed", "changed", "moved", "text"]
Op = Literal["=", "-", "+"]
Segment = tuple[Op, str]

_IDENTITY = ("id", "name")
_WORDS = re.compile(r"\s+|[^\s\w]|\w+")
_MATCHED_AT_MOST = 600
"""Lines or words on either side beyond which a difference is one block: matching costs their product."""
_CONTEXT = 2
_SHOWN = 160


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One difference.

    `path` is dotted, list elements by their id or index (``steps.pull.retry.attempts``). `before` and `after` are JSON,
    None where absent. `moved` has the ids in both orders. `text` carries `segments`: runs that are equal, gone or new;
    joined without the gone (or the new) ones they give the shown part of either side, with up to two equal lines
    around; left-out stretches are an equal segment ``…``.
    """

    path: str
    before: Any
    after: Any
    kind: ChangeKind
    segments: tuple[Segment, ...] = ()

    def as_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"path": self.path, "kind": self.kind, "before": self.before, "after": self.after}
        if self.segments:
            value["segments"] = [list(segment) for segment in self.segments]
        return value

    def __str__(self) -> str:
        if self.kind == "added":
            return f"+ {self.path}: {_shown(self.after)}"
        if self.kind == "removed":
            return f"- {self.path}: {_shown(self.before)}"
        if self.kind == "moved":
            return f"~ {self.path}: order {', '.join(self.before)} → {', '.join(self.after)}"
        if self.kind == "text":
            marks = {"=": "{}", "-": "[-{}-]", "+": "{{+{}+}}"}
            return f"~ {self.path}: " + "".join(marks[op].format(text) for op, text in self.segments)
        return f"~ {self.path}: {_shown(self.before)} → {_shown(self.after)}"


def diff(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[FieldChange]:
    """The differences from `before` to `after`, in the order of their paths' first appearance; none if equal.

    None stands for a body that is not there: everything is then added, or removed.
    """
    return list(_mappings("", before or {}, after or {}))


def _mappings(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[FieldChange]:
    for key in [*before, *(key for key in after if key not in before)]:
        where = f"{path}.{key}" if path else key
        if key not in after:
            yield FieldChange(where, before[key], None, "removed")
        elif key not in before:
            yield FieldChange(where, None, after[key], "added")
        else:
            yield from _values(where, before[key], after[key])


def _values(path: str, before: Any, after: Any) -> Iterator[FieldChange]:
    if _equal(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _mappings(path, before, after)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _lists(path, before, after)
    elif isinstance(before, str) and isinstance(after, str) and (_is_text(before) or _is_text(after)):
        yield FieldChange(path, before, after, "text", tuple(text_segments(before, after)))
    else:
        yield FieldChange(path, before, after, "changed")


def _lists(path: str, before: list[Any], after: list[Any]) -> Iterator[FieldChange]:
    old, new = _by_identity(before), _by_identity(after)
    if old is None or new is None:
        if any(isinstance(item, dict | list) for item in [*before, *after]) and len(before) == len(after):
            for index, (left, right) in enumerate(zip(before, after, strict=True)):
                yield from _values(f"{path}.{index}", left, right)
        else:
            yield FieldChange(path, before, after, "changed")
        return
    kept_before = [key for key in old if key in new]
    kept_after = [key for key in new if key in old]
    if kept_before != kept_after:
        yield FieldChange(path, list(old), list(new), "moved")
    yield from _mappings(path, old, new)


def _by_identity(items: Sequence[Any]) -> dict[str, Any] | None:
    """The items by their id, or None if they have none that tells them apart."""
    for key in _IDENTITY:
        found = {item[key]: item for item in items if isinstance(item, dict) and isinstance(item.get(key), str)}
        if len(found) == len(items):
            return found
    return None


def _equal(before: Any, after: Any) -> bool:
    """Equality of JSON: unlike Python's, ``true`` is not 1 and 1 is not 1.0, at any depth."""
    if before != after or isinstance(before, str):
        return bool(before == after)
    return canonical(before) == canonical(after)


def _is_text(value: str) -> bool:
    return "\n" in value or value.count(" ") >= 3


def text_segments(before: str, after: str) -> Iterator[Segment]:
    """The differences of two texts: by lines, and by words within lines that were replaced one for one."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    blocks = list(_opcodes(old, new))
    for index, (tag, start, end, new_start, new_end) in enumerate(blocks):
        if tag == "equal":
            head = _CONTEXT if index > 0 else 0
            tail = _CONTEXT if index < len(blocks) - 1 else 0
            if end - start <= head + tail:
                yield "=", "".join(old[start:end])
            else:
                yield "=", "".join(old[start : start + head]) + "…\n" + "".join(old[end - tail : end])
        elif tag == "replace" and end - start == new_end - new_start <= _MATCHED_AT_MOST:
            for left, right in zip(old[start:end], new[new_start:new_end], strict=True):
                yield from _words(left, right)
        else:
            if end > start:
                yield "-", "".join(old[start:end])
            if new_end > new_start:
                yield "+", "".join(new[new_start:new_end])


def _words(before: str, after: str) -> Iterator[Segment]:
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    for tag, start, end, new_start, new_end in _opcodes(old, new):
        if tag == "equal":
            yield "=", "".join(old[start:end])
            continue
        if end > start:
            yield "-", "".join(old[start:end])
        if new_end > new_start:
            yield "+", "".join(new[new_start:new_end])


def _opcodes(old: list[str], new: list[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """As `difflib.SequenceMatcher.get_opcodes`, in bounded time: the middle of a large difference is one block."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    if head:
        yield "equal", 0, head, 0, head
    old_end, new_end = len(old) - tail, len(new) - tail
    if max(old_end, new_end) - head > _MATCHED_AT_MOST:
        yield "replace", head, old_end, head, new_end
    else:
        matcher = difflib.SequenceMatcher(None, old[head:old_end], new[head:new_end], autojunk=False)
        for tag, a, b, c, d in matcher.get_opcodes():
            yield tag, a + head, b + head, c + head, d + head
    if tail:
        yield "equal", old_end, len(old), new_end, len(new)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) and value else orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
