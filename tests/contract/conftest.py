"""Fixtures of the API's contract: a world on either database, a tenant in it, a client that may do everything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from agentos_controller import clock, database
from tests.support.apiworld import Tenant, World


@pytest.fixture
async def world(database: database.Database, clock: clock.ManualClock, tmp_path: Path) -> World:
    return World(database, clock, tmp_path)


@pytest.fixture
async def acme(world: World) -> Tenant:
    return await world.populate("acme")


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(await world.key(roles=("lead",))) as made:
        yield made
