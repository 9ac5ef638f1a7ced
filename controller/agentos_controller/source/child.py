"""git as a child process that can do nothing but what it was started for.

It gets no environment but what stands here: no configuration of system or user, no hooks, no helpers, no prompt, an
empty home, no protocol but the one allowed. It runs in a process group of its own, under limits of time, memory and
file size, and what it prints is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentos_controller.source import trouble
from agentos_engine import errors

MAX_OUTPUT = 48 << 20
"""Bytes of standard output; more ends the child."""
MAX_SAID = 16 << 10
"""Bytes kept of standard error."""
MAX_MEMORY = 3 << 30
"""Bytes of address space; git maps packs in windows, so this bounds what it allocates."""

OPTIONS = (
    ("core.bigFileThreshold", "1m"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("core.packedGitLimit", "256m"),
    ("core.packedGitWindowSize", "32m"),
    ("core.symlinks", "false"),
    ("credential.helper", ""),
    ("fetch.fsckObjects", "true"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.unpackLimit", "1"),
    ("gc.auto", "0"),
    ("http.followRedirects", "false"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "30"),
    ("maintenance.auto", "false"),
    ("pack.threads", "1"),
    ("protocol.version", "2"),
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one child: seconds, and bytes of any file it writes."""

    timeout: float
    file_size: int


async def git(
    folder: Path,
    arguments: Sequence[str],
    bounds: Bounds,
    *,
    home: Path,
    protocol: str = "none",
    options: Sequence[tuple[str, str]] = (),
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run git in `folder`; what it printed.

    Raises:
        errors.Handled: what git said, by its kind; ``SourceUnavailable`` where it took too long.
    """
    child = await asyncio.create_subprocess_exec(
        *_limited(bounds),
        *arguments,
        cwd=folder,
        env={**_scrubbed(home, protocol), **_configured([*OPTIONS, *options]), **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        process_group=0,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    what = f"git {arguments[0]}"
    try:
        async with asyncio.timeout(bounds.timeout):
            out, said = await asyncio.gather(_read(child.stdout, MAX_OUTPUT), _tail(child.stderr))
            if out is None:
                raise errors.Stall("SourceTooLarge", f"{what} printed more than {MAX_OUTPUT:,} bytes: too many refs")
            await child.wait()
    except TimeoutError:
        raise errors.Retry("SourceUnavailable", f"{what} took over {bounds.timeout:g} s") from None
    finally:
        # The group, because git's own children outlive it when they hang.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
    if child.returncode == -signal.SIGXFSZ or (child.returncode or 0) == 128 + signal.SIGXFSZ:
        raise errors.Stall("SourceTooLarge", f"the fetch is larger than the {bounds.file_size:,} bytes allowed")
    if child.returncode != 0:
        raise trouble.told(what, said)
    return out.decode(errors="replace")


def _limited(bounds: Bounds) -> list[str]:
    """A shell that only sets the limits (file size in blocks of 512 bytes, memory in KiB); arguments reach git as they
    are."""
    script = f'ulimit -f {max(1, bounds.file_size // 512)}; ulimit -v {MAX_MEMORY >> 10}; exec git "$@"'
    return ["sh", "-c", script, "git"]


def _scrubbed(home: Path, protocol: str) -> dict[str, str]:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {
        "PATH": os.defpath if shutil.which("git", path=os.defpath) else os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": protocol,
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "GIT_PROTOCOL_FROM_USER": "0",
    }


def _configured(options: Sequence[tuple[str, str]]) -> dict[str, str]:
    environment = {"GIT_CONFIG_COUNT": str(len(options))}
    for index, (key, value) in enumerate(options):
        environment[f"GIT_CONFIG_KEY_{index}"] = key
        environment[f"GIT_CONFIG_VALUE_{index}"] = value
    return environment


async def _read(stream: asyncio.StreamReader, limit: int) -> bytes | None:
    """Everything, or None as soon as it is more than `limit`."""
    parts: list[bytes] = []
    size = 0
    while chunk := await stream.read(1 << 16):
        size += len(chunk)
        if size > limit:
            return None
        parts.append(chunk)
    return b"".join(parts)


async def _tail(stream: asyncio.StreamReader) -> str:
    """The end of what it says."""
    kept = b""
    while chunk := await stream.read(1 << 12):
        kept = (kept + chunk)[-MAX_SAID:]
    return kept.decode(errors="replace")
