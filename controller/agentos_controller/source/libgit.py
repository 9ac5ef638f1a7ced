"""Isolates libgit2 from the machine it runs on, once per process.

No system, user or XDG configuration is read. libgit2 refuses repositories that belong to another user; the paths the
operator named are exempted through `safe.directory`, one by one, in a configuration file of our own, and never by
switching the check off.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pygit2
from pygit2.enums import ConfigLevel

_trusted: dict[Path, set[str]] = {}


def isolate(home: Path) -> None:
    """Let libgit2 find its configuration in `home` only (created if missing)."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for level in (ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL):
        pygit2.settings.search_path[level] = str(home)
    if home not in _trusted:
        config = home / ".gitconfig"
        found = config.read_text() if config.is_file() else ""
        _trusted[home] = {_unquote(quoted) for quoted in re.findall(r'directory = "(.*)"', found)}


def trust(home: Path, repository: Path) -> None:
    """Exempt the one repository at `repository` (its folder, and its `.git`) from the check of ownership."""
    isolate(home)
    known = _trusted[home]
    wanted = {str(repository), str(repository / ".git")}
    if wanted <= known:
        return
    known |= wanted
    lines = "".join(f'\tdirectory = "{_quote(path)}"\n' for path in sorted(known))
    config = home / ".gitconfig"
    scratch = home / f".gitconfig.{os.getpid()}"
    scratch.write_text(f"[safe]\n{lines}")
    scratch.replace(config)


def _quote(path: str) -> str:
    return path.replace("\\", "\\\\").replace('"', '\\"')


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
