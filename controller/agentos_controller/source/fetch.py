"""Fetching a remote repository into a bare mirror, by a hardened `git fetch` that can be killed.

The child gets no environment but what stands here: no configuration of system or user, no hooks, no helpers, no prompt,
an empty home, one allowed protocol, no redirects. The address it dials is the one `dial` checked. A credential
travels in the environment, never in the arguments. Reading what was fetched is `git`'s job.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from agentos_controller.source import address, git, snapshot
from agentos_engine import errors

Dial = Callable[[str, int], Awaitable[str]]
"""Host and port to the one IP address that may be dialled; raises `errors.Handled` if there is none."""

TIMEOUT = 120.0
"""Seconds after which a fetch is killed."""
MAX_FILE = 2 << 30
"""Bytes; no file the child writes (a pack) may grow larger."""

_OPTIONS = (
    ("core.hooksPath", "/dev/null"),
    ("core.symlinks", "false"),
    ("credential.helper", ""),
    ("fetch.fsckObjects", "true"),
    ("fetch.recurseSubmodules", "false"),
    ("gc.auto", "0"),
    ("http.followRedirects", "false"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "30"),
    ("maintenance.auto", "false"),
    ("protocol.version", "2"),
)


class Mirrors:
    """The bare mirrors of remote repositories under `root`, one per URL."""

    def __init__(
        self,
        root: Path,
        *,
        dial: Dial | None = None,
        counters: snapshot.Counters | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.root = root
        self.counters = counters or snapshot.Counters()
        self._dial = dial
        self._timeout = timeout

    def folder(self, url: str) -> Path:
        return self.root / (hashlib.sha256(url.encode()).hexdigest()[:32] + ".git")

    @property
    def home(self) -> Path:
        return self.root / "home"

    async def fetch(self, where: address.Address, token: str | None = None) -> None:
        """Bring the mirror of `where` up to date with the branches and tags of its remote.

        `token` is sent as the password of basic authentication, which the large hosts accept for tokens.

        Raises:
            errors.Retry: ``SourceUnavailable``, with what git said.
        """
        folder = self.folder(where.url)
        if not (folder / "HEAD").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            await self._git(self.root, "init", "--quiet", "--bare", "--template=", "--", str(folder))
        environment = await self._network(where, token)
        self.counters.fetches += 1
        refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        command = ["fetch", "--quiet", "--prune", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head"]
        await self._git(folder, *command, "--", where.url, *refs, environment=environment)
        head = await self._git(folder, "ls-remote", "--symref", "--", where.url, "HEAD", environment=environment)
        for line in head.splitlines():
            if line.startswith("ref: refs/heads/") and line.endswith("\tHEAD"):
                branch = line[len("ref: ") : -len("\tHEAD")]
                address.check_ref(branch.removeprefix("refs/heads/"))
                await self._git(folder, "symbolic-ref", "HEAD", branch)

    async def _network(self, where: address.Address, token: str | None) -> dict[str, str]:
        options: list[tuple[str, str]] = []
        parts = urlsplit(where.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if self._dial is not None:
            options.append(("http.curloptResolve", f"{host}:{port}:{await self._dial(host, port)}"))
        if token is not None:
            basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
            options.append((f"http.{where.url}.extraHeader", f"Authorization: Basic {basic}"))
        environment = {"GIT_ALLOW_PROTOCOL": parts.scheme}
        for index, (key, value) in enumerate([*_OPTIONS, *options]):
            environment[f"GIT_CONFIG_KEY_{index}"] = key
            environment[f"GIT_CONFIG_VALUE_{index}"] = value
        return {**environment, "GIT_CONFIG_COUNT": str(len(_OPTIONS) + len(options))}

    async def _git(self, folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        scrubbed = {
            "PATH": os.defpath if shutil.which("git", path=os.defpath) else os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_ASKPASS": "/bin/false",
            "GIT_PROTOCOL_FROM_USER": "0",
            **(environment or {}),
        }
        # The shell only sets the limit on file size (in 512-byte blocks); arguments reach git as they are.
        limited = ["sh", "-c", f'ulimit -f {MAX_FILE // 512}; exec git "$@"', "git", *arguments]
        child = await asyncio.create_subprocess_exec(
            *limited,
            cwd=folder,
            env=scrubbed,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            process_group=0,
        )
        try:
            out, err = await asyncio.wait_for(child.communicate(), self._timeout)
        except TimeoutError:
            raise errors.Retry("SourceUnavailable", f"git {arguments[0]} took over {self._timeout:g} s") from None
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                await child.wait()
        if child.returncode != 0:
            said = " ".join(err.decode(errors="replace").split())[-400:]
            raise errors.Retry("SourceUnavailable", f"git {arguments[0]} failed: {said}")
        return out.decode(errors="replace")

    def open(self, where: address.Address) -> git.Repository:
        """The mirror of `where` as it was last fetched. Raises `errors.Stall` if it never was."""
        return git.Repository(self.folder(where.url), self.home, self.counters)
