"""The HTTP side of the guard: what one call may reach, over connections that dial only checked addresses.

Apart from the rest because httpx and the certificates take a while to load, and a start needs neither.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from http import cookiejar
from typing import Any, Literal

import httpcore
import httpx

from agentos_controller import settings
from agentos_controller.egress import addresses
from agentos_engine.runtime import errors

Resolver = Callable[[str, int], Awaitable[Sequence[addresses.Address]]]
"""Every address of a host; raises OSError where there is none to be had."""
Reason = Literal["host", "scheme", "address", "size", "encoding"]

CONNECT_TIMEOUT_S = 10.0


class EgressDenied(httpx.RequestError):
    """A request that the guard did not let out, or an answer it did not let in. Trying again does not help.

    It is caused by a `RunError` of class Denied, which is how a run shows it.
    """

    def __init__(self, reason: Reason, message: str, request: httpx.Request | None = None) -> None:
        super().__init__(message, request=request)
        self.reason = reason
        self.__cause__ = errors.RunError("Denied", message)


def opened(
    resolve: Resolver, allow: tuple[settings.Network, ...], context: ssl.SSLContext | None
) -> dict[str, httpx.AsyncHTTPTransport]:
    """The shared connections, by scheme. `context` verifies servers, by default as every browser."""
    context = context or httpx.create_ssl_context()
    return {scheme: _transport(_Guard(resolve, allow, scheme == "http"), context) for scheme in ("http", "https")}


def client(
    transports: Mapping[str, httpx.AsyncHTTPTransport], hosts: Sequence[str], timeout: float, max_bytes: int
) -> httpx.AsyncClient:
    """A client over `transports` that reaches only `hosts`; see `Egress.client`."""
    return httpx.AsyncClient(
        transport=_Bounded(transports, tuple(host.lower() for host in hosts), max_bytes),
        timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT_S)),
        headers={"accept-encoding": "gzip, deflate"},
        # Whoever keeps a client over several calls must not carry one tenant's session into another's.
        cookies=cookiejar.CookieJar(cookiejar.DefaultCookiePolicy(allowed_domains=[])),
        trust_env=False,
        follow_redirects=False,
    )


class _Guard(httpcore.AsyncNetworkBackend):
    """Dials what it has checked. TLS is started by the caller with the name, so the certificate is for the name."""

    def __init__(
        self,
        resolve: Resolver,
        allow: tuple[settings.Network, ...],
        plain: bool,
    ) -> None:
        self._resolve = resolve
        self._allow = allow
        self._plain = plain
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                found = await self._resolve(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        # One closed address closes the name: mixed answers are how names are bound anew.
        if closed := [address for address in found if not addresses.allowed(address, self._allow)]:
            raise EgressDenied(
                "address",
                f"{host} leads to {closed[0]}, which is not public: the operator can allow it (--allow-egress)",
            )
        if self._plain and (public := [address for address in found if not self._listed(address)]):
            raise EgressDenied("scheme", f"plain http to the public address {public[0]} ({host}): use https")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in found:
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _listed(self, address: addresses.Address) -> bool:
        return any(address in network for network in self._allow if network.version == address.version)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise EgressDenied("scheme", "sockets of this machine are closed")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


def _transport(guard: _Guard, context: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
    transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False)
    # httpx offers no way to hand in a network backend; a test shows that this one is asked.
    transport._pool = httpcore.AsyncConnectionPool(
        ssl_context=context,
        max_connections=1_000,
        max_keepalive_connections=100,
        keepalive_expiry=30.0,
        network_backend=guard,
    )
    return transport


class _Bounded(httpx.AsyncBaseTransport):
    """What one call may reach and how much may come back. Closing it leaves the shared connections open."""

    def __init__(
        self, transports: Mapping[str, httpx.AsyncHTTPTransport], hosts: tuple[str, ...], max_bytes: int
    ) -> None:
        self._transports = transports
        self._hosts = hosts
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        transport = self._transports.get(request.url.scheme)
        if transport is None:
            raise EgressDenied("scheme", f"{request.url.scheme}: only http and https go out", request)
        if not self._reaches(request.url):
            named = ", ".join(self._hosts) or "none"
            raise EgressDenied(
                "host", f"{request.url.netloc.decode()} is not among the hosts of this call ({named})", request
            )
        try:
            response = await transport.handle_async_request(request)
        except EgressDenied as denied:
            # Anew: the connection pool has taken its cause away.
            raise EgressDenied(denied.reason, str(denied), request)  # noqa: B904
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
            await response.aclose()
            raise EgressDenied(
                "encoding", f"the answer is packed as {encoding[:40]!r}, which was not asked for", request
            )
        assert isinstance(response.stream, httpx.AsyncByteStream)
        body = _Body(response.stream, self._max_bytes, packed=encoding != "identity", request=request)
        dropped = (b"content-encoding", b"content-length") if encoding != "identity" else ()
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in dropped]
        return httpx.Response(response.status_code, headers=headers, stream=body, extensions=response.extensions)

    def _reaches(self, url: httpx.URL) -> bool:
        host = url.host.rstrip(".").lower()
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        names = (host, f"[{host}]" if ":" in host else host)
        for pattern in self._hosts:
            if pattern in names or pattern in (f"{names[1]}:{port}",):
                return True
            if pattern.startswith("*.") and host.endswith(pattern[1:]) and not _is_address(host):
                return True
        return False


class _Body(httpx.AsyncByteStream):
    """An answer's body, unpacked and counted as it comes: a packed bomb stops at the bound."""

    def __init__(self, stream: httpx.AsyncByteStream, max_bytes: int, *, packed: bool, request: httpx.Request) -> None:
        self._stream = stream
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if packed else None
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            for part in self._parts(chunk):
                yield self._counted(part)
        if self._unpack is not None:
            yield self._counted(self._unpack.flush())

    def _counted(self, part: bytes) -> bytes:
        self._left -= len(part)
        if self._left < 0:
            raise EgressDenied("size", f"the answer is larger than {self._max_bytes:,} bytes", self._request)
        return part

    def _parts(self, chunk: bytes) -> Iterable[bytes]:
        if self._unpack is None:
            yield chunk
            return
        try:
            while chunk and not self._unpack.eof:
                yield self._unpack.decompress(chunk, 65_536)
                chunk = self._unpack.unconsumed_tail
        except zlib.error as error:
            raise httpx.DecodingError("the answer is not packed as it says", request=self._request) from error

    async def aclose(self) -> None:
        await self._stream.aclose()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
