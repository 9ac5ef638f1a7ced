"""Literals that manifests write as text: durations, sizes and money.

Only reading; what a literal may be is said by the patterns in `fields`, so text that reached a spec always reads.
"""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")
DURATION_PATTERN = "^[1-9][0-9]{0,8}(ms|s|m|h|d)$"
_UNITS_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"([1-9][0-9]{0,8})(B|KiB|MiB|GiB)")
SIZE_PATTERN = "^[1-9][0-9]{0,8}(B|KiB|MiB|GiB)$"
MICRO = 1_000_000


def duration_ms(text: str) -> int:
    """Milliseconds of ``500ms 30s 10m 48h 7d``.

    Raises:
        ValueError: the text is no such literal.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write 500ms, 30s, 10m, 48h or 7d")
    return int(match[1]) * _UNITS_MS[match[2]]


def duration_text(milliseconds: int) -> str:
    """The shortest literal for a positive number of milliseconds."""
    for unit in ("d", "h", "m", "s"):
        if milliseconds % _UNITS_MS[unit] == 0:
            return f"{milliseconds // _UNITS_MS[unit]}{unit}"
    return f"{milliseconds}ms"


def size_bytes(text: str) -> int:
    """Bytes of ``64KiB 512MiB 2GiB``.

    Raises:
        ValueError: the text is no such literal.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size: write 64KiB, 512MiB or 2GiB")
    return int(match[1]) * _UNITS_BYTES[match[2]]


def money_micro(usd: float) -> int:
    """Micro-USD of an amount in USD, rounded half up: ``0.1`` gives ``100000``."""
    return int((Decimal(str(usd)) * MICRO).to_integral_value(rounding="ROUND_HALF_UP"))
