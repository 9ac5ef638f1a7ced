"""What goes out and what does not: real servers on loopback, names resolved by the test."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agentos_controller import clock as clocks
from agentos_controller import egress
from agentos_controller.egress import Egress
from agentos_controller.egress.transport import EgressDenied
from agentos_engine import errors as handling
from agentos_engine.runtime import errors

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]


class Server:
    """An HTTP server that answers everything with `answer` and keeps what it was sent."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.heads: list[str] = []
        self.connections = 0
        self.names: list[str | None] = []
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(self.answer)
                await writer.drain()
                if b"Content-Length" not in self.answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()


def names(**known: Sequence[str]) -> egress.Resolve:
    async def resolve(host: str, _port: int) -> Sequence[str]:
        if host not in known:
            raise OSError("unknown")
        return known[host]

    return resolve


async def get(guard: Egress, url: str, hosts: Sequence[str] = ("*.test", "a.test"), **options: int) -> httpx.Response:
    async with guard.client(hosts, **options) as client:
        return await client.get(url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1", "100.127.255.255", "100.100.100.200", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1",
        "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16", "192.88.99.1",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "2001:db8::1", "3fff::1", "100::1", "fc00::1", "fd00:ec2::254",
        "fe80::1", "fec0::1", "ff02::1", "5f00::1",
    ],
)  # fmt: skip
def test_special_addresses_are_closed(address: str) -> None:
    assert not egress.allowed(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"])
def test_public_addresses_are_open(address: str) -> None:
    assert egress.allowed(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254"])
def test_metadata_opens_only_by_its_exact_address(address: str) -> None:
    parsed = ipaddress.ip_address(address)
    wide = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    assert not egress.allowed(parsed, wide)
    assert egress.allowed(parsed, [ipaddress.ip_network(address)])


async def test_an_allowed_range_is_reached_under_the_names_host(server: Server) -> None:
    guard = Egress(LOOPBACK, resolve=names(**{"a.test": ["127.0.0.1"]}))
    answer = await get(guard, f"http://a.test:{server.port}/x")
    assert (answer.status_code, answer.text) == (200, "ok")
    assert f"host: a.test:{server.port}" in server.heads[0].lower()
    await guard.close()


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:{}/", "http://[::1]:{}/", "http://localhost:{}/", "http://2130706433:{}/", "http://0x7f.1:{}/"],
)
async def test_loopback_is_closed_however_it_is_written(server: Server, url: str) -> None:
    guard = Egress()
    wanted = url.format(server.port)
    with pytest.raises((EgressDenied, httpx.ConnectError)) as raised:
        await get(guard, wanted, [httpx.URL(wanted).host, "[::1]"])
    if isinstance(raised.value, EgressDenied):
        assert raised.value.reason == "address"
    assert server.connections == 0
    await guard.close()


async def test_one_closed_address_closes_the_name(server: Server) -> None:
    guard = Egress(resolve=names(**{"a.test": ["93.184.216.34", "127.0.0.1"]}))
    with pytest.raises(EgressDenied, match=r"a\.test leads to 127") as raised:
        await get(guard, f"http://a.test:{server.port}/")
    assert raised.value.reason == "address"
    assert isinstance(raised.value.__cause__, errors.RunError)
    assert server.connections == 0
    await guard.close()


async def test_a_name_is_resolved_once_and_the_checked_address_dialled(server: Server) -> None:
    asked: list[str] = []

    async def rebinding(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    guard = Egress(LOOPBACK, resolve=rebinding)
    assert (await get(guard, f"http://a.test:{server.port}/")).text == "ok"
    assert (await get(guard, f"http://a.test:{server.port}/")).text == "ok"
    assert (asked, server.connections) == (["a.test"], 1)
    await guard.close()


async def test_plain_http_to_a_public_address_is_refused() -> None:
    guard = Egress(LOOPBACK, resolve=names(**{"a.test": ["93.184.216.34"]}))
    with pytest.raises(EgressDenied, match="use https") as raised:
        await get(guard, "http://a.test/")
    assert raised.value.reason == "scheme"
    await guard.close()


@pytest.mark.parametrize(
    ("hosts", "host", "reached"),
    [
        (["a.test"], "a.test", True),
        (["A.Test"], "a.test", True),
        (["a.test"], "A.TEST", True),
        (["a.test"], "a.test.", True),
        (["a.test"], "b.test", False),
        (["a.test"], "a.test.evil.test", False),
        (["a.test"], "evil-a.test", False),
        (["*.test"], "b.a.test", True),
        (["*.a.test"], "a.test", False),
        (["*.a.test"], "eviла.test", False),
        ([], "a.test", False),
        (["a.test:1"], "a.test", False),
        (["a.test:{port}"], "a.test", True),
        (["user@a.test"], "a.test", False),
    ],
)
async def test_only_the_hosts_of_the_call_are_reached(
    server: Server, hosts: list[str], host: str, reached: bool
) -> None:
    async def anywhere(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    guard = Egress(LOOPBACK, resolve=anywhere)
    hosts = [each.format(port=server.port) for each in hosts]
    if reached:
        assert (await get(guard, f"http://{host}:{server.port}/", hosts)).text == "ok"
    else:
        with pytest.raises(EgressDenied) as raised:
            await get(guard, f"http://{host}:{server.port}/", hosts)
        assert raised.value.reason == "host"
        assert server.connections == 0
    await guard.close()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a.test/", "gopher://a.test/"])
async def test_other_schemes_are_refused(url: str) -> None:
    guard = Egress(LOOPBACK)
    with pytest.raises((EgressDenied, httpx.UnsupportedProtocol)):
        await get(guard, url)
    await guard.close()


async def test_redirects_are_answers(server: Server) -> None:
    server.answer = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    guard = Egress(LOOPBACK, resolve=names(**{"a.test": ["127.0.0.1"]}))
    assert (await get(guard, f"http://a.test:{server.port}/")).status_code == 302
    await guard.close()


async def test_cookies_are_not_kept(server: Server) -> None:
    server.answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=of-somebody\r\nContent-Length: 0\r\n\r\n"
    guard = Egress(LOOPBACK, resolve=names(**{"a.test": ["127.0.0.1"]}))
    async with guard.client(["a.test"]) as client:
        for _ in range(2):
            await client.get(f"http://a.test:{server.port}/")
    assert len(server.heads) == 2
    assert not any("of-somebody" in head for head in server.heads)
    await guard.close()


async def test_the_environments_proxy_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.port}")
    guard = Egress(LOOPBACK, resolve=names(**{"a.test": ["127.0.0.2"]}))
    with pytest.raises(httpx.ConnectError):
        await get(guard, "http://a.test:1/")
    assert server.connections == 0
    await guard.close()


@pytest.mark.parametrize("packed", [False, True])
async def test_large_answers_stop_at_the_bound(server: Server, packed: bool) -> None:
    body = b"0" * 3_000_000
    sent = gzip.compress(body) if packed else body
    head = "Content-Encoding: gzip\r\n" if packed else ""
    server.answer = f"HTTP/1.1 200 OK\r\n{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent
    guard = Egress(LOOPBACK, resolve=names(**{"a.test": ["127.0.0.1"]}))
    with pytest.raises(EgressDenied, match="larger than 1,000,000 bytes") as raised:
        await get(guard, f"http://a.test:{server.port}/", max_bytes=1_000_000)
    assert raised.value.reason == "size"
    assert (await get(guard, f"http://a.test:{server.port}/", max_bytes=3_000_000)).content == body
    await guard.close()


async def test_an_unknown_packing_is_refused(server: Server) -> None:
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"
    guard = Egress(LOOPBACK, resolve=names(**{"a.test": ["127.0.0.1"]}))
    with pytest.raises(EgressDenied, match="'br'"):
        await get(guard, f"http://a.test:{server.port}/")
    await guard.close()


async def test_an_unknown_name_is_a_failed_connection() -> None:
    guard = Egress(resolve=names())
    with pytest.raises(httpx.ConnectError, match=r"b\.test cannot be resolved"):
        await get(guard, "https://b.test/")
    await guard.close()


async def test_a_slow_name_server_is_a_timeout() -> None:
    async def never(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    guard = Egress(resolve=never)
    async with guard.client(["a.test"], timeout=0.01) as client:
        with pytest.raises(httpx.ConnectTimeout):
            await client.get("https://a.test/")
    await guard.close()


async def test_who_dials_by_himself_gets_a_checked_address() -> None:
    known = names(**{"a.test": ["93.184.216.34"], "b.test": ["93.184.216.34", "10.0.0.1"], "c.test": ["127.0.0.1"]})
    guard = Egress(LOOPBACK, resolve=known)
    assert await guard.dial("a.test", 443) == "93.184.216.34"
    assert await guard.dial("c.test", 443) == "127.0.0.1"
    with pytest.raises(handling.Stall, match="--allow-egress"):
        await guard.dial("b.test", 443)
    with pytest.raises(handling.Retry):
        await guard.dial("unknown.test", 443)
    await guard.close()


async def test_tls_verifies_the_name_not_the_address(tmp_path: Path) -> None:
    key, certificate = _certificate("a.test", tmp_path)
    answering = Server()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _socket, name, _context: answering.names.append(name)
    listening = await asyncio.start_server(answering.handle, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    trusting = ssl.create_default_context(cafile=str(certificate))
    known = names(**{"a.test": ["127.0.0.1"], "b.test": ["127.0.0.1"]})
    guard = Egress(LOOPBACK, resolve=known, context=trusting)
    assert (await get(guard, f"https://a.test:{port}/")).text == "ok"
    with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
        await get(guard, f"https://b.test:{port}/")
    assert answering.names == ["a.test", "b.test"]
    assert len(answering.heads) == 1
    await guard.close()
    listening.close()


def _certificate(name: str, folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = clocks.to_datetime(clocks.SystemClock().now_us())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.replace(year=now.year - 1, day=1))
        .not_valid_after(now.replace(year=now.year + 1, day=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return folder / "key.pem", folder / "certificate.pem"
