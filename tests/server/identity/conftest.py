"""A database for a module's tests, emptied for each: they look at few tables, and are many."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from storage.postgres import connect
from tests.conftest import fresh_database
from tests.server.identity.doorway import Doorway


@pytest.fixture(scope="module")
def emptied(postgres: str) -> Iterator[str]:
    """The address of a database that the tests of a module share."""
    with asyncio.Runner() as runner:
        database = fresh_database(postgres)
        yield runner.run(database.__aenter__())
        runner.run(database.__aexit__(None, None, None))


@pytest.fixture
async def pool(emptied: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await connect(emptied)
    await pool.execute("DELETE FROM users")
    await pool.execute("DELETE FROM outgoing_mail")
    await pool.execute("DELETE FROM oauth_attempts")
    yield pool
    await asyncio.wait_for(pool.close(), 10)


@pytest.fixture
async def door(pool: asyncpg.Pool) -> AsyncIterator[Doorway]:
    door = Doorway(pool)
    yield door
    door.passwords.close()
