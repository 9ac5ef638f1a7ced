"""Secrets from a directory the operator mounts, `<dir>/<tenant>/<name>`, as orchestrators and vault agents write them.

Links are followed, since such directories are made of links, but never out of the directory.
"""

from __future__ import annotations

import re
from pathlib import Path

from agentos_controller import settings
from agentos_engine import fields

_TENANT = re.compile(fields.NAME_PATTERN)
_NAME = re.compile(fields.SECRET_PATTERN)
MAXIMUM = 65_536
"""Bytes of a secret."""


class Mounted:
    """One mounted directory. Reads at each call: its files change under a running server."""

    def __init__(self, directory: Path) -> None:
        """
        Raises:
            settings.ConfigurationError: it is no directory.
        """
        if not directory.is_dir():
            raise settings.ConfigurationError(f"the secrets directory {directory} is no directory")
        self._directory = directory.resolve()

    def names(self, tenant: str) -> list[str]:
        """Names of the tenant's secrets, sorted; `tenant` is its name."""
        folder = self._inside(tenant)
        if folder is None or not folder.is_dir():
            return []
        return sorted(entry.name for entry in folder.iterdir() if _NAME.fullmatch(entry.name) and entry.is_file())

    def read(self, tenant: str, name: str) -> str | None:
        """The value without its last line break; None if there is none, or if it is no text of bounded size."""
        file = self._inside(tenant, name)
        if file is None or not file.is_file() or file.stat().st_size > MAXIMUM:
            return None
        try:
            return file.read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError):
            return None

    def _inside(self, tenant: str, *name: str) -> Path | None:
        if not _TENANT.fullmatch(tenant) or not all(_NAME.fullmatch(part) for part in name):
            return None
        path = self._directory.joinpath(tenant, *name).resolve()
        return path if path.is_relative_to(self._directory) else None
