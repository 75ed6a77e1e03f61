"""One server for the tests of a module: what one test does to it, the others must not notice."""

from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio

from tests.conftest import fresh_database, fresh_directory
from tests.e2e.person import Person
from tests.serving import LocalServer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_database(postgres: str) -> AsyncIterator[str]:
    """The address of the database of `server`."""
    async with fresh_database(postgres) as address:
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(shared_database: str) -> AsyncIterator[LocalServer]:
    """A running server in the test's process."""
    with fresh_directory() as directory:
        server = LocalServer(directory, shared_database)
        await server.start()
        yield server
        await server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def ada(server: LocalServer) -> AsyncIterator[Person]:
    """Somebody signed in on `server`."""
    async with Person(server) as person:
        yield person


@pytest_asyncio.fixture(loop_scope="module")
async def bob(server: LocalServer) -> AsyncIterator[Person]:
    """Somebody else."""
    async with Person(server) as person:
        yield person


@pytest_asyncio.fixture(loop_scope="module")
async def records(shared_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database of `server`."""
    connection = await asyncpg.connect(shared_database)
    yield connection
    await connection.close()
