"""A real `agentos serve` for the benchmarks: started as a user would, watched from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil

READY = "AgentOS is ready at "


class Server:
    """The process, a client with its first admin key, and its peak memory."""

    def __init__(
        self, source: str, state: Path, *flags: str, database: str | None = None, path: Path | None = None
    ) -> None:
        """`path` comes first where Python looks for modules."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AGENTOS_")}
        if path is not None:
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(path), environment.get("PYTHONPATH", "")]))
        command = [str(Path(sys.executable).parent / "agentos"), "serve", "--source", source, "--listen", "127.0.0.1:0"]
        command += ["--state-dir", str(state), "--log-level", "warning", *flags]
        command += ["--database-url", database] if database else []
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=(state.parent / "serve.log").open("ab"), text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith(READY):
            raise SystemExit(f"the controller did not start; see {state.parent / 'serve.log'}")
        self.ready_s = time.perf_counter() - self.began
        """Seconds from the start of the process to its ready line."""
        self.address = line.removeprefix(READY).strip()
        key = state / "admin.key"
        while not (key.exists() and key.read_text()):
            time.sleep(0.005)
        self.key = key.read_text().strip()
        self.client = httpx.Client(base_url=self.address, headers={"authorization": f"Bearer {self.key}"}, timeout=120)
        self.peak_pss = 0
        """Bytes: the largest sum over the process and its children."""
        self._watched = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watched.set()
        self._watcher.join()
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)

    def get(self, path: str, **params: Any) -> Any:
        return self.client.get(path, params=params).raise_for_status().json()

    def pages(self, path: str) -> list[Any]:
        """Every item of a list."""
        found: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, limit=500, **cursor)
            found += page["items"]
            if page["nextCursor"] is None:
                return found
            cursor = {"cursor": page["nextCursor"]}

    def post(self, path: str, body: Any, **params: Any) -> Any:
        return self.client.post(path, json=body, params=params).raise_for_status().json()

    def command(self, path: str, body: Any) -> Any:
        """A command, done."""
        asked = self.post(path, body)
        while asked["state"] in ("pending", "running"):
            asked = self.get(f"/v1/commands/{asked['id']}", wait=30)
        if asked["state"] != "done":
            raise SystemExit(f"the command failed: {asked}")
        return asked

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name) and line[0] != "#")

    def cpu_seconds(self) -> float:
        """User and system time of the process and its children so far."""
        every = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        return sum(each.cpu_times().user + each.cpu_times().system for each in every)

    def _watch(self) -> None:
        while not self._watched.wait(0.2):
            total = 0
            try:
                root = psutil.Process(self.process.pid)
                for each in (root, *root.children(recursive=True)):
                    total += each.memory_full_info().pss
            except psutil.Error:
                continue
            self.peak_pss = max(self.peak_pss, total)
