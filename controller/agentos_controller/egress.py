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
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import cookiejar
from typing import Any, Literal

import httpcore
import httpx

from agentos_controller import settings
from agentos_engine import errors as handling
from agentos_engine.runtime import errors

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses of a host, as text."""
Reason = Literal["host", "scheme", "address", "size", "encoding"]

CONNECT_TIMEOUT_S = 10.0
MAX_BYTES = 10 * 2**20

# The special-purpose registries of RFC 6890 and what followed. `is_global` of the standard library is not enough: it
# lets translated and tunnelled forms of private addresses through.
_CLOSED_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = [
    ipaddress.IPv6Network(text)
    # Protocol assignments with Teredo, documentation (two), 6to4; everything outside 2000::/3 is closed already.
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48")
]
# Cloud metadata services: opened only by naming exactly this address, never by a range around it.
_METADATA = {
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "fd00:ec2::254")
}


class EgressDenied(httpx.RequestError):
    """A request that the guard did not let out, or an answer it did not let in. Trying again does not help.

    It is caused by a `RunError` of class Denied, which is how a run shows it.
    """

    def __init__(self, reason: Reason, message: str, request: httpx.Request | None = None) -> None:
        super().__init__(message, request=request)
        self.reason = reason
        self.__cause__ = errors.RunError("Denied", message)


def allowed(address: Address, allow: Iterable[settings.Network] = ()) -> bool:
    """Whether an address may be dialled: it is public, or lies in a range of `allow`."""
    if address in _METADATA:
        return any(network.num_addresses == 1 and address in network for network in allow)
    if any(address in network for network in allow if network.version == address.version):
        return True
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)


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
        context = context or httpx.create_ssl_context()
        self._transports = {
            scheme: _transport(_Guard(self._addresses, self._allow, scheme == "http"), context)
            for scheme in ("http", "https")
        }

    def client(self, hosts: Sequence[str], *, timeout: float = 60.0, max_bytes: int = MAX_BYTES) -> httpx.AsyncClient:
        """A client that reaches only `hosts`: ``name``, ``name:port`` or ``*.domain``, as in manifests.

        `timeout` is seconds between bytes, `max_bytes` bounds an answer's body. It costs nothing to make and to
        close, and keeps no cookies.
        It raises `EgressDenied` beside httpx's own errors.
        """
        return httpx.AsyncClient(
            transport=_Bounded(self._transports, tuple(host.lower() for host in hosts), max_bytes),
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT_S)),
            headers={"accept-encoding": "gzip, deflate"},
            # Whoever keeps a client over several calls must not carry one tenant's session into another's.
            cookies=cookiejar.CookieJar(cookiejar.DefaultCookiePolicy(allowed_domains=[])),
            trust_env=False,
            follow_redirects=False,
        )

    async def dial(self, host: str, port: int) -> str:
        """The one address of `host` that may be dialled, for those who connect by themselves: git.

        Raises:
            errors.Retry: the name cannot be resolved.
            errors.Stall: it leads where the operator allows nobody to go.
        """
        try:
            found = await self._addresses(host, port)
        except httpcore.ConnectError as error:
            raise handling.Retry("SourceUnavailable", str(error)) from None
        # As for every other call: one closed address closes the name.
        if not found or not all(allowed(address, self._allow) for address in found):
            raise handling.Stall(
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
            raise httpcore.ConnectError(f"{host} cannot be resolved") from error
        # A scope id (fe80::1%eth0) belongs to link-local addresses only, which are closed.
        return [ipaddress.ip_address(address.partition("%")[0]) for address in dict.fromkeys(found)]

    async def _ask_system(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(entry[4][0]) for entry in found]


class _Guard(httpcore.AsyncNetworkBackend):
    """Dials what it has checked. TLS is started by the caller with the name, so the certificate is for the name."""

    def __init__(
        self,
        addresses: Callable[[str, int], Awaitable[list[Address]]],
        allow: tuple[settings.Network, ...],
        plain: bool,
    ) -> None:
        self._addresses = addresses
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
                addresses = await self._addresses(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from error
        # One closed address closes the name: mixed answers are how names are bound anew.
        if closed := [address for address in addresses if not allowed(address, self._allow)]:
            raise EgressDenied(
                "address",
                f"{host} leads to {closed[0]}, which is not public: the operator can allow it (--allow-egress)",
            )
        if self._plain and (public := [address for address in addresses if not self._listed(address)]):
            raise EgressDenied("scheme", f"plain http to the public address {public[0]} ({host}): use https")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _listed(self, address: Address) -> bool:
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

    def __init__(self, transports: dict[str, httpx.AsyncHTTPTransport], hosts: tuple[str, ...], max_bytes: int) -> None:
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
