"""Real git servers on loopback: `git http-backend` behind HTTP or TLS, `git-upload-pack` behind SSH.

Both serve the bare repositories below one folder, count what they are asked, and can be told to misbehave. They run in
threads of their own, so that the loop under test stays free, and end with their block.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import http.server
import ipaddress
import os
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_BACKEND = subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True).stdout.strip()
_SERVING = {
    "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
}  # fmt: skip

Misbehaviour = Callable[[http.server.BaseHTTPRequestHandler], bool]
"""Answers a request in place of git, or gives False and leaves it to git."""


@dataclass
class HttpServer:
    """`url` is followed by a repository's path. `asked` counts ``info/refs`` and ``git-upload-pack``."""

    url: str
    ca: str | None
    asked: Counter[str] = field(default_factory=Counter)
    authorizations: set[str | None] = field(default_factory=set)
    token: str | None = None
    """Where set, requests need it as the password of basic authentication."""
    misbehave: Misbehaviour | None = None


@contextlib.contextmanager
def serving_http(root: Path, *, tls: bool = True) -> Iterator[HttpServer]:
    """The repositories below `root` over smart HTTP, with a certificate of an authority made for it."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as listening:
        listening.daemon_threads = True
        scheme, ca = "http", None
        if tls:
            scheme, (ca, context) = "https", _authority(root)
            listening.socket = context.wrap_socket(listening.socket, server_side=True, do_handshake_on_connect=False)
        server = HttpServer(f"{scheme}://127.0.0.1:{listening.server_address[1]}", ca)
        listening.ours = (root, server)  # type: ignore[attr-defined]
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    given: bytes | None = None
    """The body, where a misbehaviour has read it already."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *arguments: object) -> None:
        pass

    def _serve(self) -> None:
        root, server = self.server.ours  # type: ignore[attr-defined]
        path, _, query = self.path.partition("?")
        server.asked[path.rpartition("/")[2] if not path.endswith("info/refs") else "info/refs"] += 1
        server.authorizations.add(self.headers.get("Authorization"))
        if server.misbehave is not None and server.misbehave(self):
            self.close_connection = True
            return
        if server.token is not None and self.headers.get("Authorization") != _basic(server.token):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.given if self.given is not None else self._body()
        self.given = None
        done = subprocess.run(
            [f"{_BACKEND}/git-http-backend"],
            input=body,
            capture_output=True,
            env={
                **_SERVING,
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_ADDR": "127.0.0.1",
            },
        )
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        headers = [line.partition(": ") for line in head.decode().splitlines()]
        status = next((value for name, _, value in headers if name == "Status"), "200 OK")
        self.send_response(int(status.split()[0]))
        for name, _, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


def _basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()


def _authority(root: Path) -> tuple[str, ssl.SSLContext]:
    """PEM of a new authority, and a server's context with a certificate of it for 127.0.0.1."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test Authority")])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        return made.not_valid_after(now + datetime.timedelta(days=1))

    ca = builder(ca_name, ca_key.public_key()).add_extension(x509.BasicConstraints(True, None), True)
    authority = ca.sign(ca_key, hashes.SHA256())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder(name, key.public_key()).add_extension(names, False).sign(ca_key, hashes.SHA256())
    file = root / ".server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    file.unlink()
    return authority.public_bytes(serialization.Encoding.PEM).decode(), context


@dataclass
class SshServer:
    """`url` is followed by a repository's path. `key` is the private deploy key that may read."""

    url: str
    known_hosts: str
    key: str
    asked: Counter[str] = field(default_factory=Counter)
    refusing: bool = False
    """Whether commands end at once, with an error."""


@contextlib.contextmanager
def serving_ssh(root: Path) -> Iterator[SshServer]:
    """The repositories below `root` over SSH, for the user ``git`` with one key."""
    host_key, client_key = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = SshServer("", "", client_key.export_private_key().decode())

    async def handle(process: Any) -> None:
        server.asked[process.command or "shell"] += 1
        words = (process.command or "").split(" ", 1)
        wanted = root / words[-1].strip("'").lstrip("/")
        if server.refusing or words[0] != "git-upload-pack" or not wanted.is_dir():
            process.stderr.write(b"fatal: refused\n")
            process.exit(1)
            return
        protocol = process.env.get("GIT_PROTOCOL", "")
        child = await asyncio.create_subprocess_exec(
            "git", "upload-pack", "--", str(wanted), env={**_SERVING, "GIT_PROTOCOL": protocol},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        asking = asyncio.ensure_future(_pump(process.stdin, child.stdin, ends=True))
        await _pump(child.stdout, process.stdout)
        asking.cancel()
        process.exit(await child.wait())

    async def listen() -> Any:
        return await asyncssh.create_server(
            lambda: _Door(client_key), "127.0.0.1", 0, server_host_keys=[host_key], process_factory=handle,
            encoding=None, allow_scp=False,
        )  # fmt: skip

    listening = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"ssh://git@127.0.0.1:{port}"
    server.known_hosts = f"[127.0.0.1]:{port} {host_key.export_public_key().decode()}"

    async def close() -> None:
        listening.close()
        await listening.wait_closed()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pump(source: Any, sink: Any, *, ends: bool = False) -> None:
    with contextlib.suppress(ConnectionError, asyncssh.Error):
        while chunk := await source.read(1 << 16):
            sink.write(chunk)
            await sink.drain()
        if ends:
            sink.write_eof()


class _Door(asyncssh.SSHServer):
    def __init__(self, client_key: Any) -> None:
        self._key = client_key.convert_to_public()

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: Any) -> bool:
        return username == "git" and key.public_data == self._key.public_data
