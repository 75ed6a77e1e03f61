"""What tests of rooms start from: a node, an account, and a memory of that account."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from protocol.log import Author
from tests.rows import add_memory, add_person
from tests.sync.doubles import Node, running


@pytest.fixture
async def node(pool: asyncpg.Pool) -> AsyncIterator[Node]:
    async with running(pool) as node:
        yield node


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


@pytest.fixture
async def memory(pool: asyncpg.Pool, ada: Author) -> UUID:
    return await add_memory(pool, ada)
