"""A real `agentos serve` in a process of its own: started, asked, stopped or killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

AGENTOS = str(Path(sys.executable).parent / "agentos")
KEY = "aos_e2etests_" + "k" * 43
"""The admin key of every controller started here, unless it is told to make one itself."""
PATIENCE = 60.0
_READY = "AgentOS is ready at "


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would lead the command astray."""
    leads = ("AGENTOS_", "GIT_", "XDG_", "PYTEST_")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(leads)}
    return {**ours, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1", **more}


@dataclass
class Controller:
    """One controller over `source`, with its state in `state_dir`. `start` after `stop` or `kill` goes on with it."""

    source: str
    state_dir: Path
    flags: tuple[str, ...] = ()
    database_url: str | None = None
    key: str | None = KEY
    """The bootstrap key; None lets `serve` make an admin key of its own."""
    listen: str = "127.0.0.1:0"
    url: str = ""
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        """What it wrote to both its streams, over all its starts."""
        return self.state_dir.with_name(f"{self.state_dir.name}.log")

    @property
    def words(self) -> str:
        return self.log.read_text()

    def command(self, listen: str | None = None) -> list[str]:
        return [
            AGENTOS, "serve", "--source", self.source, "--listen", listen or self.listen,
            "--state-dir", str(self.state_dir), *self.flags,
        ]  # fmt: skip

    def variables(self) -> dict[str, str]:
        """Environment of the controller."""
        given = {"AGENTOS_BOOTSTRAP_KEY": self.key, "AGENTOS_DATABASE_URL": self.database_url}
        return environment(**{name: value for name, value in given.items() if value})

    def start(self) -> Controller:
        """Start it; returns when it answers."""
        before = len(self.words) if self.log.exists() else 0
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command(), env=self.variables(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True
            )
        until = time.monotonic() + PATIENCE
        while _READY not in (words := self.words[before:]):
            assert self.process.poll() is None, f"the controller ended: {words}"
            assert time.monotonic() < until, f"the controller is not ready: {words}"
            time.sleep(0.02)
        self.url = words.partition(_READY)[2].split()[0]
        if self.key is None:
            # Written after the first requests can be answered.
            while not (file := self.state_dir / "admin.key").exists() or not file.read_text().endswith("\n"):
                assert time.monotonic() < until, f"no admin key: {self.words[before:]}"
                time.sleep(0.02)
            self.key = file.read_text().strip()
        return self

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """End it as Ctrl-C does, or a service manager with SIGTERM; its exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(timeout=PATIENCE)

    def kill(self) -> None:
        """End it as a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=PATIENCE)

    def client(self, key: str | None = None) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self._headers(key), timeout=PATIENCE, trust_env=False)

    def aclient(self, key: str | None = None) -> httpx.AsyncClient:
        """For tests whose own loop has to go on answering while the controller works."""
        return httpx.AsyncClient(base_url=self.url, headers=self._headers(key), timeout=PATIENCE, trust_env=False)

    def agentos(self, *arguments: str, given: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """The command line against this controller; `given` is its standard input, `variables` its environment."""
        return agentos(*arguments, given=given, **{**self._known(), **variables})

    def asking(self) -> dict[str, str]:
        """Environment of a command line that asks this controller."""
        return environment(**self._known())

    def _known(self) -> dict[str, str]:
        return {"AGENTOS_SERVER": self.url, "AGENTOS_API_KEY": self.key or ""}

    def _headers(self, key: str | None) -> dict[str, str]:
        return {"authorization": f"Bearer {key or self.key}"}


def agentos(
    *arguments: str, given: str | None = None, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """The command line by itself."""
    return subprocess.run(
        [AGENTOS, *arguments],
        env=environment(**variables),
        input=given if given is not None else "",
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=PATIENCE,
    )


@contextlib.contextmanager
def serving(source: Path | str, state_dir: Path, *flags: str, **given: Any) -> Iterator[Controller]:
    """A controller that is ready, stopped at the end of the block if it still runs."""
    controller = Controller(str(source), state_dir, flags, **given)
    try:
        yield controller.start()
    finally:
        if controller.process is not None and controller.process.poll() is None:
            controller.process.terminate()
            try:
                controller.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                controller.kill()
                raise


def reconciled(client: httpx.Client, **what: str) -> Mapping[str, Any]:
    """Let the controller look at its sources, and wait until it did; the finished command."""
    answer = client.post("/v1/reconcile", json=what)
    assert answer.status_code == 202, answer.text
    command: Mapping[str, Any] = client.get(f"/v1/commands/{answer.json()['id']}", params={"wait": 60}).json()
    assert command["state"] == "done", command
    return command


def until(look: Any, patience: float = PATIENCE) -> Any:
    """What `look` gives once it gives something true."""
    end = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
    return found
