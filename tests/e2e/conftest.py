"""One server for the tests of a module: what one test does to it, the others must not notice."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.conftest import fresh_database, fresh_directory
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
