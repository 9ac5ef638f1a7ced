"""The one client for every outgoing request: connectors, models, whatever comes.

A name is resolved once, every address of the answer is checked, and the checked address is dialled, so that a second
answer cannot lead elsewhere; TLS still verifies the name. Loopback, private and special ranges open only by the
operator's `--allow-egress`, which no manifest reaches; plain http goes only there. Each call names the hosts it may
reach. Redirects are not followed, proxies of the environment are not used, answers are bounded also when unpacked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from agentos_controller import settings
from agentos_controller.egress.addresses import Address, allowed
from agentos_engine import errors

if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = ["MAX_BYTES", "Address", "Egress", "Resolve", "allowed"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses of a host, as text."""

MAX_BYTES = 10 * 2**20


class Egress:
    """The guard of one process. Clients share its connections; `close` it before the loop ends."""

    def __init__(
        self,
        allow: Iterable[settings.Network] = (),
        *,
        resolve: Resolve | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """`allow` are the ranges opened by the operator. `context` verifies servers, by default as every browser."""
        self._allow = tuple(allow)
        # Its own threads: a slow name server must not hold up the rest of the process.
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="egress-dns")
        self._resolve = resolve or self._ask_system
        self._context = context
        self._transports: dict[str, httpx.AsyncHTTPTransport] = {}

    def client(self, hosts: Sequence[str], *, timeout: float = 60.0, max_bytes: int = MAX_BYTES) -> httpx.AsyncClient:
        """A client that reaches only `hosts`: ``name``, ``name:port`` or ``*.domain``, as in manifests.

        `timeout` is seconds between bytes, `max_bytes` bounds an answer's body. It costs nothing to make and to
        close, and keeps no cookies.
        It raises `transport.EgressDenied` beside httpx's own errors.
        """
        # Imported here: the API is up before the first call goes out.
        from agentos_controller.egress import transport

        self._transports = self._transports or transport.opened(self._addresses, self._allow, self._context)
        return transport.client(self._transports, hosts, timeout, max_bytes)

    async def dial(self, host: str, port: int) -> str:
        """The one address of `host` that may be dialled, for those who connect by themselves: git.

        Raises:
            errors.Retry: the name cannot be resolved.
            errors.Stall: it leads where the operator allows nobody to go.
        """
        try:
            found = await self._addresses(host, port)
        except OSError as error:
            raise errors.Retry("SourceUnavailable", str(error)) from None
        # As for every other call: one closed address closes the name.
        if not found or not all(allowed(address, self._allow) for address in found):
            raise errors.Stall(
                "SourceInvalid", f"{host} does not lead to a public address: the operator can allow it (--allow-egress)"
            )
        return str(found[0])

    async def close(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            pass
        try:
            found = await self._resolve(host, port)
        except OSError as error:
            raise OSError(f"{host} cannot be resolved") from error
        # A scope id (fe80::1%eth0) belongs to link-local addresses only, which are closed.
        return [ipaddress.ip_address(address.partition("%")[0]) for address in dict.fromkeys(found)]

    async def _ask_system(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(entry[4][0]) for entry in found]
