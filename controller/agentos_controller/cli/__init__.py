"""The command line: one file per verb, each imported only when it is the one asked for.

Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 error or wrong usage, and those
a verb documents itself (`plan --detailed-exitcode`: 2 when there are changes).
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from agentos_controller.cli import app, failures


def main() -> NoReturn:
    """Entry point of the `agentos` command."""
    if "NO_COLOR" in os.environ or not sys.stdout.isatty():
        os.environ["TYPER_USE_RICH"] = "0"
    try:
        code = failures.shown(lambda: app.build(sys.argv[1:])(standalone_mode=False, prog_name="agentos"))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
