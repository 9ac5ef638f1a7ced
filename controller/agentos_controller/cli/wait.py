"""`agentos wait`: until something is as it shall be; when that takes too long, what blocks it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from agentos_controller.cli import completing, options, pausing
from agentos_controller.cli.app import Verb
from agentos_controller.cli.client import Client
from agentos_controller.cli.failures import Failure
from agentos_engine import literals

LONGEST_PAUSE = 1.0
"""Seconds between two looks, at most."""
Shown = Mapping[str, Any] | None
"""What the API answers of something; None where it is not there."""


def register(app: typer.Typer, verb: Verb) -> None:
    @app.command(
        verb.name,
        help=verb.summary + " Ends with 1 and says what blocks when the time is over.",
        rich_help_panel=verb.group,
        epilog="Examples: agentos wait agent/triage; agentos wait tenant/acme --for generation=7; "
        "agentos wait source/main --for revision=4be1c2d; agentos wait model/fast --for condition=Stalled=False; "
        "agentos wait agent/old --for deleted --timeout 10m",
    )
    def wait(
        what: Annotated[
            list[str],
            typer.Argument(
                help="KIND/NAME, tenant/NAME or source/NAME; all of several.", autocompletion=completing.things
            ),
        ],
        for_: Annotated[
            str,
            typer.Option(
                "--for",
                help="ready, deleted, generation=N, revision=SHA, or condition=TYPE=STATUS.",
            ),
        ] = "ready",
        timeout: Annotated[str, typer.Option(help="How long at most: 30s, 5m, 1h.")] = "5m",
        tenant: options.Tenant = options.DEFAULT_TENANT,
        server: options.Server = None,
    ) -> None:
        holds = _wanted(for_)
        try:
            deadline = time.monotonic() + literals.duration_ms(timeout) / 1_000
        except ValueError as error:
            raise Failure(f"--timeout: {error}") from None
        with Client(server) as client:
            left = [_Target(client, tenant, one) for one in what]
            pause = 0.05
            while left := [target for target in left if not target.holds(holds)]:
                if time.monotonic() + pause > deadline:
                    raise Failure(_blocked(left, for_, timeout), "`agentos describe` shows all of it.")
                time.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 1.5)
        for one in what:
            typer.echo(f"{one} {for_}")


@dataclass(slots=True)
class _Target:
    """One thing that is waited for, as it was last seen."""

    client: Client
    tenant: str
    called: str
    shown: Shown = None
    trouble: str | None = None
    answered: bool = False

    def holds(self, holds: Callable[[Shown], bool]) -> bool:
        """Look at it. A server that does not answer any more may be restarting: that is waited for too."""
        try:
            self.shown, self.trouble = self._look(), None
        except Failure as failure:
            if failure.status is not None or not self.answered:
                raise
            self.trouble = failure.message
            return False
        self.answered = True
        return holds(self.shown)

    def _look(self) -> Shown:
        try:
            found: Mapping[str, Any] = self.client.get(pausing.meant(self.client, self.called, None, self.tenant).path)
        except Failure as failure:
            if failure.status == 404:
                return None
            raise
        return found

    @property
    def why(self) -> str:
        """What blocks it: the first condition that is not as it should be, and where it comes from."""
        if self.trouble is not None:
            return f"{self.called}: {self.trouble}"
        if self.shown is None:
            return f"{self.called}: there is no such thing"
        at = f" ({self.shown['path']}:{self.shown['line']})" if self.shown.get("line") else ""
        ready = _condition(self.shown, "Ready")
        if ready is None or ready["status"] == "True":
            return f"{self.called}: Ready{at}, generation {_generation(self.shown)}"
        told = ready["message"]
        return f"{self.called}: {ready['reason']}: {told}{'' if (self.shown.get('path') or '-') in told else at}"


def _blocked(left: list[_Target], wanted: str, timeout: str) -> str:
    return f"not {wanted} after {timeout}\n" + "\n".join(f"  {target.why}" for target in left)


def _wanted(text: str) -> Callable[[Shown], bool]:
    """What `--for` asks of something."""
    word, _, value = text.partition("=")
    if text == "ready":
        return lambda shown: shown is not None and bool(shown["ready"])
    if text == "deleted":
        return lambda shown: shown is None
    if word == "generation" and value.isdecimal():
        return lambda shown: shown is not None and (_generation(shown) or 0) >= int(value)
    if word == "revision" and value:
        return lambda shown: shown is not None and (shown.get("revision") or "").startswith(value)
    if word == "condition" and value:
        type_, _, status = value.partition("=")
        return lambda shown: (_condition(shown, type_) or {}).get("status") == (status or "True")
    raise Failure(
        f"--for {text!r} is not understood",
        "Write ready, deleted, generation=N, revision=SHA or condition=TYPE=STATUS.",
    )


def _condition(shown: Shown, type_: str) -> Mapping[str, Any] | None:
    conditions = (shown or {}).get("conditions") or ()
    return next((one for one in conditions if one["type"].lower() == type_.lower()), None)


def _generation(shown: Mapping[str, Any]) -> int | None:
    value: int | None = shown.get("activeGeneration", shown.get("generation"))
    return value
