"""What the rest of `runs` needs of whoever works runs off, without knowing DBOS.

An API process may have no executor at all, or one that is still starting. Nothing is lost then: a run that is
`pending` and not in the queue (`run.queue` is NULL) is found by the executor's sweep and enqueued under the same id.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

if TYPE_CHECKING:
    from agentos_controller.runs import begun

QUEUE = "runs"
"""Name of the queue, and of the signal that there is something new in it."""


class Starter(Protocol):
    """Starts runs: an interactive one at once, a queued one through the queue."""

    def start(self, run_id: str) -> None:
        """Begin segment 0 of a run that was just committed. Returns at once; starting twice is starting once."""
        ...

    def enqueue(self, conn: sa.Connection, run_id: str, segment: int) -> bool:
        """Put a segment into the queue within the caller's transaction. False: there is no queue yet."""
        ...

    def works(self) -> bool:
        """Whether an interactive run can begin here and now."""
        ...

    def take(self, first: begun.Begun) -> None:
        """Work on a run that began in the transaction that made it, which is committed."""
        ...

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Let `task` come to its end, whoever waits for it."""
        ...


def segment_id(run_id: str, segment: int) -> str:
    """The deterministic id under which a segment is executed: starting it twice is starting it once."""
    return f"{run_id}:{segment}"


def checkpoint_thread(tenant_id: str, thread_id: str, run_id: str) -> str:
    """The savers' thread id of a run, the only place where it is made.

    It begins with the tenant, so that no text of a client can reach another tenant's checkpoints, and ends with the
    run: the next run of a thread begins with fresh state. LangGraph's own namespace is for subgraphs.
    """
    return f"{tenant_id}/{thread_id}/{run_id}"
