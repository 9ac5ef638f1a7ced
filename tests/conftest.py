"""Fixtures every test may use: a fresh migrated database of either sort, a clock that stands still, ids."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis
import pytest

from agentos_controller import clock as clocks
from agentos_controller import database as databases
from agentos_controller import ids as id_sources
from tests.support import postgres

hypothesis.settings.register_profile("quick", max_examples=50, deadline=None, derandomize=True)
hypothesis.settings.register_profile("thorough", max_examples=1_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

_numbers = itertools.count(1)


def _migrated(url: str) -> str:
    async def migrate() -> None:
        database = databases.Database(url)
        await database.migrate()
        await database.close()

    with ThreadPoolExecutor(1) as pool:  # a thread of its own: the test's loop is not to be touched
        pool.submit(asyncio.run, migrate()).result()
    return url


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgres.Server]:
    """One PostgreSQL server for the session (and for each worker of it)."""
    with postgres.server() as server:
        yield server


@pytest.fixture(scope="session")
def _postgresql_template(postgresql_server: postgres.Server) -> str:
    postgresql_server.create("template_agentos")
    _migrated(postgresql_server.url("template_agentos"))
    return "template_agentos"


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "agentos.db"
    _migrated(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a new, migrated SQLite file."""
    path = tmp_path / "agentos.db"
    shutil.copyfile(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgresql_server: postgres.Server, _postgresql_template: str) -> Iterator[str]:
    """The URL of a new, migrated PostgreSQL database."""
    name = f"test_{next(_numbers)}"
    postgresql_server.create(name, _postgresql_template)
    yield postgresql_server.url(name)
    postgresql_server.drop(name)


@pytest.fixture
def empty_postgresql_url(postgresql_server: postgres.Server) -> Iterator[str]:
    """The URL of a new PostgreSQL database without any table."""
    name = f"empty_{next(_numbers)}"
    postgresql_server.create(name)
    yield postgresql_server.url(name)
    postgresql_server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a new, migrated database; the test runs once on each sort."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[databases.Database]:
    """A new, migrated database; the test runs once on each sort."""
    opened = databases.Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[databases.Database]:
    """A new, migrated SQLite database, for tests in which the sort cannot matter."""
    opened = databases.Database(sqlite_url)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> clocks.ManualClock:
    return clocks.ManualClock()


@pytest.fixture
def ids(clock: clocks.ManualClock) -> id_sources.Ids:
    return id_sources.Ids(clock)
