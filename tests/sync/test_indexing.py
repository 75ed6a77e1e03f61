"""The indexer: what is queued is read again, whatever the documents hold."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pycrdt import Doc, Map

from protocol.log import Author, Entry
from protocol.memories import ListMemories
from storage.memories import MemoryRows
from storage.texts import TextRows
from sync.broker import LocalBroker
from sync.indexing import Indexer
from tests.rows import add_memory, add_person, delete_memory
from tests.sync.doubles import Node, running


@asynccontextmanager
async def indexing(pool: asyncpg.Pool) -> AsyncIterator[tuple[Node, Indexer]]:
    async with running(pool, LocalBroker()) as node:
        texts = TextRows(pool)
        yield node, Indexer(node.log, texts, node.workers, observer=node.watcher, tasks=node.tasks)


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


def titled(title: str) -> bytes:
    doc: Doc[Any] = Doc()
    doc.get("properties", type=Map)["title"] = title
    return doc.get_update()


async def found(pool: asyncpg.Pool, account: Author, words: str) -> list[UUID]:
    page = await MemoryRows(pool).list(account.account_id, ListMemories(search=words))
    return [memory.id for memory in page.memories]


async def queue(pool: asyncpg.Pool) -> None:
    """As a migration leaves it, where nothing has been indexed yet."""
    await pool.execute("DELETE FROM search_texts")
    await pool.execute("INSERT INTO search_queue (memory_id) SELECT id FROM memories")


async def test_memories_from_before_are_found_and_nobody_is_told_of_it(
    pool: asyncpg.Pool, ada: Author
) -> None:
    async with indexing(pool) as (node, indexer):
        memories = [await add_memory(pool, ada) for _ in range(3)]
        await node.log.commit([Entry(each, ada, titled(f"Café {each}")) for each in memories[1:]])
        await delete_memory(pool, memories[2])
        await queue(pool)
        place = "SELECT array_agg(d::text || m::text) FROM documents d JOIN memories m USING (id)"
        before = await pool.fetchval(place)
        assert await indexer.index_queued(rest=0) == 3
        assert node.watcher.counts["indexed"] == 3
        seen = node.watcher.unindexed_memories
        assert (seen[0], seen[-1]) == (3, 0)
        assert await indexer.index_queued(rest=0) == 0
        assert await found(pool, ada, "cafe") == [memories[1]]
        assert await pool.fetchval(place) == before
        await pool.execute("UPDATE documents SET deleted_at = NULL")
        assert sorted(await found(pool, ada, "cafe")) == sorted(memories[1:])


async def test_a_document_that_cannot_be_read_is_reported_and_not_tried_again(
    pool: asyncpg.Pool, ada: Author
) -> None:
    async with indexing(pool) as (node, indexer):
        memories = [await add_memory(pool, ada) for _ in range(2)]
        await node.log.commit([Entry(memories[0], ada, b"\xff\xff not an update")])
        await node.log.commit([Entry(memories[1], ada, titled("sound"))])
        await queue(pool)
        assert await indexer.index_queued(rest=0) == 2
        assert await indexer.index_queued(rest=0) == 0
        assert await found(pool, ada, "sound") == [memories[1]]
        assert [failure[0] for failure in node.watcher.failures] == ["indexing"]
