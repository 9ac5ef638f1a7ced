"""The channels of our graphs: input in its schema's shape, state through its reducers, amounts as sums.

They hold plain JSON (and an agent's messages), so a checkpoint needs no type of ours to be read back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypedDict, cast

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import errors, lg, values

Reduce = Callable[[Any, Any], Any]
_EMPTY: Any = object()


class Folded(lg.BaseChannel[Any, Any, Any]):
    """Folds each update into the value, which begins at `start`. Two writers in one step are folded in order."""

    __slots__ = ("_reduce", "_start", "value")

    def __init__(self, start: Any, reduce: Reduce, key: str = "") -> None:
        super().__init__(Any, key)
        self._start = start
        self._reduce = reduce
        self.value = start

    @property
    def ValueType(self) -> Any:
        return Any

    @property
    def UpdateType(self) -> Any:
        return Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folded)

    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> Self:
        return self._with(self.value)

    def from_checkpoint(self, checkpoint: Any) -> Self:
        # An empty channel is checkpointed as LangGraph's own sentinel, which is no JSON value.
        return self._with(checkpoint if checkpoint is None or isinstance(checkpoint, _JSON) else self._start)

    def _with(self, value: Any) -> Self:
        made = type(self)(self._start, self._reduce, self.key)
        made.value = value
        return made

    def get(self) -> Any:
        if self.value is _EMPTY:
            raise lg.EmptyChannelError
        return self.value

    def is_available(self) -> bool:
        return self.value is not _EMPTY

    def update(self, values: Sequence[Any]) -> bool:
        for value in values:
            self.value = self._reduce(self.value, value)
        return bool(values)


_JSON = (str, int, float, bool, dict, list, tuple)


def graph(layout: Mapping[str, Any]) -> lg.StateGraph[Any, Any, Any, Any]:
    """An empty graph with the channels of `layout` (a channel each, or `Any` for the last value), which answers
    ``output`` and ``outcome``."""
    answer = {"output": Any, "outcome": Any}
    typed = cast("Any", TypedDict)
    return lg.StateGraph(typed("State", {**layout, **answer}), output_schema=typed("Answer", answer))


def input_of(schema: values.Schema, text: str | None = None) -> Folded:
    """Takes the input (null: no arguments), checked and shaped; raises ``InvalidInput``.

    With `text`, a plain text stands for an object with this one field.
    """

    def take(_: Any, given: Any) -> Any:
        if given is None:
            given = {}
        elif text is not None and isinstance(given, str):
            given = {text: given}
        return schema.accept(given, "input", "InvalidInput")

    return Folded(_EMPTY, take)


def sums(start: Sequence[int]) -> Folded:
    """Adds up lists of numbers, place by place."""
    return Folded(list(start), lambda old, new: [a + b for a, b in zip(old, new, strict=True)])


def messages() -> Folded:
    """Appends lists of messages."""
    return Folded([], lambda old, new: [*old, *new])


def state_field(name: str, field: Mapping[str, Any], defs: Mapping[str, Any]) -> tuple[Folded, Reduce]:
    """Channel and reducer of a state field ``{schema, reduce, default}``; what it holds fits the field's schema."""
    schema = values.schema_of(field.get("schema"), defs)
    fold = reducer(field.get("reduce") or "replace")
    what = f"state.{name}"

    def reduce(old: Any, new: Any) -> Any:
        folded = fold(old, new)
        return folded if folded is None else schema.accept(folded, what, "InvalidOutput")

    start = field.get("default")
    return Folded(start if start is None else schema.accept(start, what, "InvalidInput"), reduce), reduce


def reducer(named: str | Mapping[str, str]) -> Reduce:
    """The reducer of a name, or of ``{cel: expression over old and new}``."""
    if isinstance(named, str):
        return _REDUCERS[named]
    program = evaluate.compile(named["cel"])

    def reduce(old: Any, new: Any) -> Any:
        try:
            return program.evaluate({"old": old, "new": new})
        except evaluate.ExpressionError as error:
            raise errors.RunError("Error", str(error)) from None

    return reduce


def _replace(_: Any, new: Any) -> Any:
    return new


def _append(old: Any, new: Any) -> Any:
    return [*(old or ()), new]


def _extend(old: Any, new: Any) -> Any:
    if new is not None and not isinstance(new, list):
        raise errors.RunError("InvalidOutput", "only a list can extend a state field")
    return [*(old or ()), *(new or ())]


def _merge(old: Any, new: Any) -> Any:
    if new is not None and not isinstance(new, dict):
        raise errors.RunError("InvalidOutput", "only an object can be merged into a state field")
    return {**(old or {}), **(new or {})}


def _sum(old: Any, new: Any) -> Any:
    return new if old is None else old if new is None else old + new


def _min(old: Any, new: Any) -> Any:
    return new if old is None else old if new is None else min(old, new)


def _max(old: Any, new: Any) -> Any:
    return new if old is None else old if new is None else max(old, new)


def _union(old: Any, new: Any) -> Any:
    united = list(old or ())
    for item in new if isinstance(new, list) else [new]:
        if item is not None and item not in united:
            united.append(item)
    return united


_REDUCERS: dict[str, Reduce] = {
    "replace": _replace,
    "append": _append,
    "extend": _extend,
    "merge": _merge,
    "sum": _sum,
    "min": _min,
    "max": _max,
    "union": _union,
}
