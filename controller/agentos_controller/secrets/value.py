"""A secret on its way through the program, safe to appear in a traceback, a log line or a dump."""

from __future__ import annotations

import hmac
from typing import NoReturn

from agentos_controller import redaction


class SecretValue:
    """Holds a value that shows only when asked for by name. It cannot be pickled, compared by timing or iterated."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return redaction.MASK

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return redaction.MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretValue) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((SecretValue, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not to be written anywhere")
