"""The process uses one SQLite that is new enough, or says what to do."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_every_importer_gets_the_same_new_library() -> None:
    done = run(
        "from agentos_controller import database\n"
        "import sqlite3, sqlite3.dbapi2, aiosqlite.core\n"
        "assert sqlite3.sqlite_version_info >= (3, 42), sqlite3.sqlite_version\n"
        "assert sqlite3.dbapi2.sqlite_version == sqlite3.sqlite_version\n"
        "assert aiosqlite.core.sqlite3 is sqlite3\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_driver_bound_too_early_is_refused() -> None:
    done = run(
        "import sqlite3\n"
        "sqlite3.sqlite_version_info = (3, 40, 1)\n"
        "import aiosqlite.core\n"
        "from agentos_controller import database\n"
    )
    assert "import the latter first" in done.stderr


def test_an_old_library_without_a_replacement_is_refused() -> None:
    done = run(
        "import sys, sqlite3\n"
        "sqlite3.sqlite_version_info = (3, 40, 1)\n"
        "sys.modules['pysqlite3'] = None\n"
        "from agentos_controller import database\n"
    )
    assert "install pysqlite3-binary" in done.stderr


def test_settings_and_tables_import_no_driver() -> None:
    done = run(
        "import sys\n"
        "from agentos_controller import settings, tables\n"
        "assert not {'sqlite3', 'alembic', 'dbos', 'langgraph'} & set(sys.modules), 'too much'\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_start_on_a_current_schema_does_without_alembic(sqlite_url: str) -> None:
    done = run(
        "import asyncio, sys\n"
        "from agentos_controller.database import Database\n"
        "async def main():\n"
        f"    db = Database({sqlite_url!r})\n"
        "    assert await db.migrate() is False\n"
        "    await db.close()\n"
        "asyncio.run(main())\n"
        "assert 'alembic' not in sys.modules\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
