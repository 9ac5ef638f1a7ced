"""Waiting for a command: the API records what is asked for, the controller does it, this tells how it went."""

from __future__ import annotations

import sys
import time
from typing import Any

from agentos_controller.cli import output
from agentos_controller.cli.client import Client
from agentos_controller.cli.failures import Failure


def follow(client: Client, command: dict[str, Any], timeout: float = 60.0) -> dict[str, Any]:
    """The finished command; a `Failure` with its error if it failed or takes longer than `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.02
    told = False
    while command["state"] in ("pending", "running"):
        if time.monotonic() > deadline:
            raise Failure(
                f"still {command['state']} after {timeout:.0f}s",
                f"It goes on; ask again with command id {command['id']}.",
            )
        if pause > 0.3 and not told and sys.stderr.isatty():
            output.note(f"waiting for {command['type']} …")
            told = True
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)
        command = client.get(f"/v1/commands/{command['id']}")
    if command["state"] == "failed":
        raise Failure(command.get("error") or f"{command['type']} failed")
    return command
