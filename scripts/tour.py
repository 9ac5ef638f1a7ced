"""Walks through the README's tour as a newcomer would, and exits non-zero when it does not do what it says.

It reads the ``sh`` blocks of README.md in order and runs them in one shell, in a fresh clone of this repository, beside
a controller it starts itself on a free port with a state directory of its own. ``<!-- expect: REGEX -->`` beneath a
block must be found in its output; ``<!-- restart -->`` stops the controller and starts it again; ``<!-- notour -->``
skips the block above.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
END = "__tour_block_ends__"


@dataclass
class Block:
    """A block of commands and what must come of it."""

    commands: str
    expect: list[str] = field(default_factory=list)
    restart: bool = False
    skip: bool = False


def blocks(readme: str) -> Iterator[Block]:
    """The ``sh`` blocks of the README with the remarks beneath each."""
    block: Block | None = None
    for match in re.finditer(r"```sh\n(.*?)```|<!-- (expect: (.*?)|restart|notour) -->", readme, re.DOTALL):
        if match[1] is not None:
            if block is not None:
                yield block
            block = Block(match[1])
        elif block is not None:
            if match[3]:
                block.expect.append(match[3])
            block.restart |= match[2] == "restart"
            block.skip |= match[2] == "notour"
    if block is not None:
        yield block


class Controller:
    """`agentos serve` on the clone, started and stopped by the tour."""

    def __init__(self, clone: Path, environment: dict[str, str]) -> None:
        self._clone = clone
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> float:
        """Start it, pass its words on, and give the seconds until it said that it is ready."""
        began = time.monotonic()
        command = ["agentos", "serve", "--source", ".", "--dev", "--replay", "cassettes"]
        self._process = subprocess.Popen(
            command, cwd=self._clone, env=self._environment, stdout=subprocess.PIPE, stderr=sys.stderr, text=True
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            say(f"  | {line.rstrip()}")
            if "ready" in line.lower():
                return time.monotonic() - began
        raise SystemExit("the controller ended before it was ready")

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise SystemExit("the controller did not stop within 20 s of Ctrl-C") from None


class Shell:
    """One bash for the whole tour, so that a variable set in one block is there in the next."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "-e", "-o", "pipefail"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, commands: str) -> str:
        """Output of the commands; ends the tour when one of them fails."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{commands}\necho {END}\n")
        self._process.stdin.flush()
        output: list[str] = []
        for line in _lines(self._process.stdout):
            if line.strip() == END:
                return "".join(output)
            output.append(line)
            say(f"  {line.rstrip()}")
        raise SystemExit(f"this block of the tour failed:\n{commands}")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="agentos-tour-") as scratch:
        clone = Path(scratch) / "agentos"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        environment = _environment(Path(scratch))
        controller = Controller(clone, environment)
        shell = Shell(clone, environment)
        try:
            say(f"ready after {controller.start():.1f} s\n")
            for block in blocks((ROOT / "README.md").read_text()):
                if not block.skip:
                    _walk(block, shell, controller)
        finally:
            shell.close()
            controller.stop()
    say("The tour is over; everything it made is gone.")
    return 0


def _walk(block: Block, shell: Shell, controller: Controller) -> None:
    for line in block.commands.rstrip().splitlines():
        say(f"$ {line}")
    began = time.monotonic()
    output = shell.run(block.commands)
    say(f"  ({time.monotonic() - began:.1f} s)\n")
    for pattern in block.expect:
        if not re.search(pattern, output):
            raise SystemExit(f"the tour promises {pattern!r}, which this block did not print:\n{block.commands}")
    if block.restart:
        say("^C")
        controller.stop()
        say(f"ready again after {controller.start():.1f} s\n")


def _environment(scratch: Path) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("AGENTOS_", "GIT_"))}
    return ours | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "AGENTOS_LISTEN": address,
        "AGENTOS_SERVER": f"http://{address}",
        "AGENTOS_STATE_DIR": str(scratch / "state"),
        "GIT_AUTHOR_NAME": "Tour",
        "GIT_AUTHOR_EMAIL": "tour@example.com",
        "GIT_COMMITTER_NAME": "Tour",
        "GIT_COMMITTER_EMAIL": "tour@example.com",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _lines(stream: IO[str] | None) -> Iterator[str]:
    assert stream is not None
    return iter(stream.readline, "")


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    if shutil.which("git") is None:
        sys.exit("the tour needs git")
    sys.exit(main())
