"""How one remote is reached: the address that may be dialled, the credentials, and whom to trust.

Credentials exist for the life of one look: a token in the environment of the child, a deploy key in a file only we can
read. An ssh server is known by the keys the source names and by nothing else; an https server by the system's
authorities or, in their place, the source's.
"""

from __future__ import annotations

import base64
import contextlib
import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from agentos_controller.source import address
from agentos_engine import errors

Dial = Callable[[str, int], Awaitable[str]]
"""Host and port to the one IP address that may be dialled; raises `errors.Handled` if there is none."""
Secret = Callable[[str], Awaitable[str]]
"""Name of a secret to its value, for the host of the remote."""

REFERENCE = "secret/"
_PORTS = {"https": 443, "http": 80, "ssh": 22}


@dataclass(frozen=True, slots=True)
class Reached:
    """What a child needs: options of git, and environment."""

    protocol: str
    options: tuple[tuple[str, str], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@contextlib.asynccontextmanager
async def open(  # noqa: A001
    where: address.Address, scratch: Path, *, dial: Dial | None, secret: Secret | None
) -> AsyncIterator[Reached]:
    """Everything a child needs to reach `where`, while the block lasts. `scratch` is a folder of ours.

    Raises:
        errors.Handled: a secret is not to be had, or the address may not be dialled.
    """
    parts = urlsplit(where.url)
    access = where.access or address.Access()
    folder = _private(scratch)
    try:
        port = parts.port or _PORTS[parts.scheme]
        dialled = await dial(parts.hostname or "", port) if dial is not None else None
        auth = await _value(access.auth and REFERENCE + access.auth, secret)
        if parts.scheme == "ssh":
            known = await _value(access.known_hosts, secret)
            yield Reached("ssh", environment=_ssh(parts, port, dialled, folder, auth, known))
        else:
            ca = await _value(access.ca, secret)
            yield Reached(parts.scheme, tuple(_https(where.url, parts, port, dialled, folder, auth, ca)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _value(given: str | None, secret: Secret | None) -> str | None:
    if given is None or not given.startswith(REFERENCE):
        return given
    if secret is None:
        raise errors.Stall("SourceUnauthorized", f"{given} is needed, and there are no secrets here")
    return await secret(given.removeprefix(REFERENCE))


def _https(
    url: str, parts: SplitResult, port: int, dialled: str | None, folder: Path, token: str | None, ca: str | None
) -> list[tuple[str, str]]:
    options = []
    if dialled is not None:
        options.append(("http.curloptResolve", f"{parts.hostname}:{port}:{dialled}"))
    if token is not None:
        basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        options.append((f"http.{url}.extraHeader", f"Authorization: Basic {basic}"))
    if ca is not None:
        options.append(("http.sslCAInfo", str(_file(folder / "ca.pem", ca))))
        options.append(("http.sslCAPath", str(folder)))
    return options


def _ssh(
    parts: SplitResult, port: int, dialled: str | None, folder: Path, key: str | None, known: str | None
) -> dict[str, str]:
    if known is None:
        raise errors.Stall("SourceUntrustedHost", "an ssh source needs `knownHosts`: nobody else says who the host is")
    host = parts.hostname or ""
    options = [
        "BatchMode=yes", "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null", "UpdateHostKeys=no",
        "CheckHostIP=no", "VerifyHostKeyDNS=no", "IdentitiesOnly=yes", "IdentityAgent=none", "AddKeysToAgent=no",
        "PreferredAuthentications=publickey", "PasswordAuthentication=no", "KbdInteractiveAuthentication=no",
        "ForwardAgent=no", "ForwardX11=no", "ClearAllForwardings=yes", "PermitLocalCommand=no", "ProxyCommand=none",
        "ControlMaster=no", "ControlPath=none", "ConnectTimeout=20", "ServerAliveInterval=15", "LogLevel=ERROR",
        f"UserKnownHostsFile={_file(folder / 'known_hosts', known)}",
        # The address that was checked is dialled; the name is what `known_hosts` lists.
        f"HostKeyAlias={host if port == 22 else f'[{host}]:{port}'}",
    ]  # fmt: skip
    if dialled is not None:
        options.append(f"HostName={dialled}")
    identity = ["-i", str(_file(folder / "key", key))] if key is not None else ["-o", "IdentityFile=none"]
    command = ["ssh", "-F", "/dev/null", *identity, *(word for option in options for word in ("-o", option))]
    return {"GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"}


def _private(scratch: Path) -> Path:
    """A new folder that nobody else can enter."""
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Path(tempfile.mkdtemp(dir=scratch))


def _file(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text.strip() + "\n")
    return path
