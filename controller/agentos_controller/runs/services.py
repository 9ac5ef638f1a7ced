"""What a run gets from the controller: its tenant's artifacts and secrets, a guarded client, a recording, the time.

Everything is resolved at the call that needs it and belongs to the run's own tenant.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import httpx

from agentos_controller import clock, database, redaction
from agentos_controller.runs import bodies, segments
from agentos_controller.secrets import binding, store
from agentos_engine.runtime import cassette as cassettes
from agentos_engine.runtime import errors
from agentos_engine.runtime import services as runtime

MAX_CLIENTS = 256

Recordings = Callable[[segments.Begun], cassettes.Cassette | None]
"""The recording a run records into or is answered from, if there is one."""


class Guard(Protocol):
    """The one door for outgoing requests."""

    def client(self, hosts: Sequence[str]) -> httpx.AsyncClient:
        """A client that reaches only `hosts`, and of those only what the operator allows."""
        ...


class World:
    """What all runs of this process share."""

    def __init__(
        self,
        db: database.Database,
        source: clock.Clock,
        vault: store.Secrets,
        guard: Guard,
        recordings: Recordings | None = None,
    ) -> None:
        self.db = db
        self.clock = source
        self.vault = vault
        self._guard = guard
        self._recordings = recordings
        self._clients: OrderedDict[tuple[str, ...], httpx.AsyncClient] = OrderedDict()

    def of(self, begun: segments.Begun) -> Here:
        """The services of one segment."""
        return Here(self, begun, self._recordings(begun) if self._recordings is not None else None)

    def client(self, hosts: Sequence[str]) -> httpx.AsyncClient:
        """One client per set of hosts: its connections serve all runs."""
        key = tuple(sorted(set(hosts)))
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = self._guard.client(key)
            if len(self._clients) > MAX_CLIENTS:
                # Not closed: a run may be using it. Its connections go with its last user.
                self._clients.popitem(last=False)
        else:
            self._clients.move_to_end(key)
        return client

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()


class Here:
    """`agentos_engine.runtime.services.Services` for one segment of one run."""

    def __init__(self, world: World, begun: segments.Begun, recording: cassettes.Cassette | None) -> None:
        self._world = world
        self._tenant_id = begun.tenant_id
        self._recording = recording

    @property
    def cassette(self) -> cassettes.Cassette | None:
        return self._recording

    async def artifact(self, digest: str) -> dict[str, Any]:
        body = bodies.cached(self._tenant_id, digest)
        if body is None:
            async with self._world.db.read() as conn:
                body = await bodies.read(conn, self._tenant_id, digest)
        return body

    async def secret(self, name: str, hosts: Sequence[str]) -> str:
        try:
            return await self._world.vault.resolve(self._tenant_id, name, hosts)
        except store.SecretMissing as error:
            raise runtime.SecretNotSet(str(error)) from None
        except binding.SecretBound as error:
            raise errors.RunError("Denied", str(error)) from None

    def http(self, hosts: Sequence[str]) -> httpx.AsyncClient:
        return self._world.client(hosts)

    def now(self) -> datetime:
        return clock.to_datetime(self._world.clock.now_us())

    def redact(self, value: Any) -> Any:
        """A JSON value without any secret this process knows of the tenant."""
        return redaction.redactor.clean(value, self._tenant_id)
