"""A segment that holds its run, as whoever works on it sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Begun:
    """A segment that holds its run. `next_seq` and `next_number` count its events and steps from here.

    `delivery` is 1 unless an executor died with this segment before. `tenant_spec` is the tenant's access artifact as
    it was when the segment began: labels, vars and limits hold to the segment's end.
    """

    run_id: str
    tenant_id: str
    tenant_name: str
    tenant_spec: Mapping[str, Any]
    thread_id: str
    kind: str
    name: str
    digest: str
    revision: str
    generation: int
    segment: int
    fence: int
    delivery: int
    input: Any
    cause: Mapping[str, Any]
    actor: str
    started_at: int
    next_seq: int
    next_number: int
