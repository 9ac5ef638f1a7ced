"""How the command line says that something went wrong: one line on standard error, what to do beneath it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

_CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]
"""Base of every error of parsing the command line; Typer names it nowhere in public."""


class Failure(Exception):
    """Ends the command with `code`; `hint` says what to do next, `status` is that of the API's answer, if it came."""

    def __init__(self, message: str, hint: str | None = None, code: int = 1, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.status = status


def shown(command: Callable[[], object]) -> int:
    """Run `command`, print its failure if it fails, and give the exit code."""
    try:
        result = command()
    except Failure as failure:
        report(failure.message, failure.hint)
        return failure.code
    except (typer.Abort, KeyboardInterrupt):
        report("interrupted")
        return 130
    except typer.Exit as exit_:
        return exit_.exit_code
    except _CommandLineError as error:
        show = getattr(error, "show", None)
        if show is not None:
            show(file=sys.stderr)
        else:
            report(str(error))
        return 1
    return result if isinstance(result, int) else 0


def report(message: str, hint: str | None = None) -> None:
    """`error: …` on standard error, in colour where a person reads it."""
    word = "error:"
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        word = typer.style(word, fg="red", bold=True)
    typer.echo(f"{word} {message}", err=True)
    if hint:
        typer.echo(f"  {hint}", err=True)
