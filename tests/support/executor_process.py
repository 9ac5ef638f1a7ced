"""An executor in a process of its own, to be killed: ``python -m tests.support.executor_process URL KEYFILE``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from agentos_controller import clock, database
from tests.support import running


async def main(url: str, keys: Path) -> None:
    db = database.Database(url)
    async with db.claim(), running.executing(db, clock.SystemClock(), keys):
        print("launched", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
