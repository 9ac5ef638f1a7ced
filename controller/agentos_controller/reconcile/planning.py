"""Plans: what a revision would change. (written next)"""

from __future__ import annotations

from typing import Any


async def pending(*a: Any) -> None:
    return None
