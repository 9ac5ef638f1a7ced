"""Makes the process use a SQLite new enough for DBOS, before anything else imports one.

Several supported distributions ship 3.40; DBOS needs 3.42. Where the standard library's is too old, `pysqlite3` takes
its name. `database` calls this as it is imported, and nobody else.
"""

from __future__ import annotations

import importlib
import sys

MINIMUM = (3, 42, 0)


class SqliteTooOld(ImportError):
    """SQLite 3.42 or newer is needed, and neither Python's own nor `pysqlite3-binary` is; install the latter."""


def install() -> None:
    """Take the name `sqlite3` for a version that is new enough.

    Raises:
        SqliteTooOld: there is none, or the driver has already bound the old one.
    """
    own = importlib.import_module("sqlite3")
    if own.sqlite_version_info >= MINIMUM:
        return
    try:
        newer = importlib.import_module("pysqlite3")
    except ImportError as error:
        raise SqliteTooOld(
            f"SQLite {own.sqlite_version} is too old, 3.42 is needed: install pysqlite3-binary"
        ) from error
    if newer.sqlite_version_info < MINIMUM:
        raise SqliteTooOld(f"pysqlite3 brings SQLite {newer.sqlite_version}, 3.42 is needed: update pysqlite3-binary")
    driver = sys.modules.get("aiosqlite.core")
    if driver is not None and driver.sqlite3 is own:
        raise SqliteTooOld("aiosqlite was imported before agentos_controller.database: import the latter first")
    sys.modules["sqlite3"] = newer
    sys.modules["sqlite3.dbapi2"] = importlib.import_module("pysqlite3.dbapi2")
