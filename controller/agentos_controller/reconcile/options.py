"""What the operator decides about reconciling, and what of it each source asks to be watched with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentos_controller.reconcile import estate, heal, repositories
from agentos_controller.reconcile.workers import Limits
from agentos_controller.source import address, fetch, reach

Secret = Callable[[str, str, str], Awaitable[str]]
"""Tenant id, name and host to the value of a secret; raises `errors.Handled` if there is none that may go there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`source` is the platform's: a path or a URL, with `#ref`. Times are seconds."""

    source: str
    state_dir: Path
    dev: bool = False
    poll_interval: float = 60.0
    local_interval: float = repositories.LOCAL_INTERVAL
    workers: int = 2
    """Processes that build, of small rounds and of bulk; 0: this one does."""
    limits: Limits = field(default_factory=Limits)
    drift_interval: float = heal.INTERVAL
    """Between two comparisons of what is applied with what is stored."""
    allow_loopback_http: bool = False
    platform: Mapping[str, Any] = field(default_factory=dict)
    """What a file says of the platform's source, see `platform.read`."""

    def wanted(self, known: estate.Estate, secret: Secret | None) -> list[repositories.Wanted]:
        """What every source of `known` asks to be watched with; `secret` gives the platform's secrets."""
        return [
            self._wanted(source, source.address, _secrets(source.address, known.platform.id, secret))
            for source in known.sources
            if source.address is not None
        ]

    def _wanted(
        self, source: estate.Source, where: address.Address, secret: reach.Secret | None
    ) -> repositories.Wanted:
        limits, default = source.spec.get("limits", {}), fetch.Limits()
        fallback = self.local_interval if where.local else self.poll_interval
        asked = fetch.Limits(
            limits["timeoutMs"] / 1_000 if "timeoutMs" in limits else default.timeout,
            limits.get("sizeBytes", default.size),
            limits.get("objects", default.objects),
        )
        return repositories.Wanted(where, source.interval or fallback, asked, secret)


def _secrets(where: address.Address, owner: str, secret: Secret | None) -> reach.Secret | None:
    """The secrets of the tenant `owner`, for the host of one repository."""
    if secret is None or where.access is None:
        return None

    async def value(name: str) -> str:
        return await secret(owner, name, where.host)

    return value
