"""A log in partitions promises what any log promises: its whole contract, run again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from protocol.log import Author
from storage.memories import MemoryRows
from storage.postgres import connect
from storage.updates import UpdateLog
from tests.contract.test_log import *  # noqa: F403 (every test, and what it stands on)
from tests.contract.test_log import put
from tests.rows import add_memory, add_person

SCRIPT = Path(__file__).parents[2] / "deploy" / "partition.sql"


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await connect(database)
    await _partition(pool)
    yield pool
    await asyncio.wait_for(pool.close(), 10)


@pytest.fixture
async def whole(database: str) -> AsyncIterator[asyncpg.Pool]:
    """A database whose log is as the migrations make it."""
    pool = await connect(database)
    yield pool
    await asyncio.wait_for(pool.close(), 10)


async def _partition(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(SCRIPT.read_text())


async def test_what_is_in_the_log_stays_in_it(whole: asyncpg.Pool) -> None:
    log = UpdateLog(whole, MemoryRows(whole))
    author: Author = await add_person(whole)
    memories = [await add_memory(whole, author) for _ in range(8)]
    for memory_id in memories:
        await put(log, memory_id, author, b"one", b"two")
    before = await whole.fetch("SELECT * FROM document_updates ORDER BY document_id, log_offset")
    shape = await whole.fetch(_SHAPE)
    await _partition(whole)
    after = await whole.fetch("SELECT * FROM document_updates ORDER BY document_id, log_offset")
    assert after == before
    assert await whole.fetch(_SHAPE) == shape
    used = await whole.fetch("SELECT DISTINCT tableoid::regclass::text FROM document_updates")
    assert len(used) > 1
    for memory_id in memories:
        assert await put(log, memory_id, author, b"three") == [3]
        assert [offset for offset, _ in await log.read(memory_id, 0)] == [1, 2, 3]


async def test_a_read_looks_at_one_partition(pool: asyncpg.Pool) -> None:
    plan = await pool.fetch(
        "EXPLAIN SELECT payload FROM document_updates WHERE document_id = $1 AND log_offset > 7",
        uuid4(),
    )
    scanned = [line[0] for line in plan if "document_updates_" in line[0] and "Scan" in line[0]]
    assert len({line.split(" on ")[1].split()[0] for line in scanned}) == 1, plan


_SHAPE = """
SELECT attname, atttypid, attnotnull, attstorage, pg_get_expr(adbin, adrelid)
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid IN (SELECT 'document_updates'::regclass) AND attnum > 0 ORDER BY attnum
"""
