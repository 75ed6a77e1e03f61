"""Changes of many memories at once, from several connections: they wait for each other, and none
is ended by PostgreSQL because two wait crosswise."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.log import Author, Projection
from storage.categories import CategoryRows
from storage.files import FileRows
from storage.memberships import Memberships
from storage.memories import MemoryRows
from storage.postgres import connect
from storage.texts import TextRows
from storage.trash import TrashRows
from tests.rows import add_person

MEMORIES = 60
ROUNDS = 12
# PostgreSQL looks for a cycle when a lock has been waited for so long.
LOOKS_AFTER = "ALTER DATABASE {} SET deadlock_timeout = '20ms'"
_REPORTED = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
_FILL = """
WITH m AS (
    INSERT INTO memories (id, user_id, title) SELECT gen_random_uuid(), $1, 'title'
    FROM generate_series(1, $3) RETURNING id
), d AS (
    INSERT INTO documents (id, owner_id, head) SELECT id, $1, 1000000 FROM m
), ms AS (
    INSERT INTO memberships (memory_id, user_id, role)
    SELECT id, $1, 'owner' FROM m UNION ALL SELECT id, unnest($2::uuid[]), 'editor' FROM m
)
SELECT id FROM m
"""
_WORDS = """
INSERT INTO search_texts (memory_id, user_id, created_at, updated_at, title_key, category_id,
    is_favorite, is_archived, deleted_at, log_offset, digest, vector)
SELECT l.*, 0, gen_random_uuid(), 'word'::tsvector FROM listings l ORDER BY random()
"""
_FILES = """
INSERT INTO files (user_id, memory_id, filename, original_filename, file_type, file_size, sha256,
    storage_path)
SELECT user_id, memory_id, 'a', 'a', 'image/png', 1, '', 'same' FROM memberships ORDER BY random()
"""


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    """Many connections, that look soon."""
    name = database.rpartition("/")[2].partition("?")[0]
    server = await asyncpg.connect(database)
    await server.execute(LOOKS_AFTER.format(name))
    await server.close()
    pool = await connect(database, min_size=8, max_size=8)
    yield pool
    await asyncio.wait_for(pool.close(), 10)


class Stage:
    """Ada's memories, with Bob and Cyd as editors and a file of each in each."""

    def __init__(self, pool: asyncpg.Pool, people: list[Author], memories: list[UUID]) -> None:
        self.pool = pool
        self.ada, *self.others = (each.account_id for each in people)
        self.memories = memories
        self.rows = MemoryRows(pool)
        self.trash = TrashRows(pool)

    @classmethod
    async def filled(cls, pool: asyncpg.Pool) -> "Stage":
        people = [await add_person(pool) for _ in range(3)]
        ada, *others = (each.account_id for each in people)
        rows = await pool.fetch(_FILL, ada, others, MEMORIES)
        await pool.execute(_WORDS)
        await pool.execute(_FILES)
        return cls(pool, people, [row[0] for row in rows])

    def some(self, chance: Random) -> list[UUID]:
        return chance.sample(self.memories, MEMORIES * 2 // 3)


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> Stage:
    return await Stage.filled(pool)


async def deadlocks(pool: asyncpg.Pool, database: str) -> int:
    """How many PostgreSQL has counted. A connection tells what it knows when it ends."""
    await asyncio.wait_for(pool.close(), 10)
    connection = await asyncpg.connect(database)
    count: int = await connection.fetchval(_REPORTED)
    await connection.close()
    return count


async def hammer(*actions: Callable[[Random], Awaitable[object]]) -> None:
    """Each action again and again, all at a time."""

    async def repeat(number: int, action: Callable[[Random], Awaitable[object]]) -> None:
        chance = Random(number)
        for _ in range(ROUNDS):
            await action(chance)

    await asyncio.gather(*(repeat(number, action) for number, action in enumerate(actions)))


async def test_bulk_changes_of_the_same_memories_never_wait_crosswise(
    stage: Stage, database: str
) -> None:
    bob, cyd = stage.others
    rows, trash, texts = stage.rows, stage.trash, TextRows(stage.pool)
    files, categories = FileRows(stage.pool, 1 << 30), CategoryRows(stage.pool)

    async def mark(who: UUID, chance: Random) -> None:
        column = chance.choice(["is_favorite", "is_archived"])
        await rows.mark_each(stage.some(chance), who, {column: chance.random() < 0.5})

    async def come_and_go(chance: Random) -> None:
        memories = stage.some(chance)
        await trash.delete(stage.ada, memories)
        await trash.restore(stage.ada, memories[::-1])

    async def project(chance: Random) -> None:
        for memory in stage.some(chance)[:10]:
            title = str(chance.random())
            words = f"'{chance.choice('abc')}'"
            made = Projection(title, None, {}, [], {}, [], known=0, words=words)
            await rows.save(memory, made, chance.randrange(1000))

    async def index(chance: Random) -> None:
        for memory in stage.some(chance)[:10]:
            await stage.pool.execute(
                """
                INSERT INTO search_queue (memory_id) VALUES ($1)
                ON CONFLICT (memory_id) DO UPDATE SET queued_at = clock_timestamp()
                """,
                memory,
            )
        for queued in await texts.queued(UUID(int=0), 20):
            words = f"'{chance.choice('xyz')}'"
            made = Projection("t", None, {}, [], {}, [], known=0, words=words)
            await texts.index(queued, made, chance.randrange(1000))

    async def categorize(chance: Random) -> None:
        category = uuid4()
        await stage.pool.execute(
            "INSERT INTO memory_categories (id, user_id, name) VALUES ($1, $2, $3)",
            category,
            bob,
            category.hex,
        )
        await rows.mark_each(stage.some(chance), bob, {"category_id": category})
        await categories.delete(bob, category)

    async def process(_: Random) -> None:
        await stage.pool.execute(
            "UPDATE files SET is_processed = false WHERE id = (SELECT id FROM files LIMIT 1)"
        )
        await files.processed("same", {"width": 1}, None)

    await hammer(
        lambda chance: mark(stage.ada, chance),
        lambda chance: mark(stage.ada, chance),
        lambda chance: mark(bob, chance),
        lambda chance: mark(cyd, chance),
        come_and_go,
        come_and_go,
        project,
        project,
        index,
        categorize,
        process,
    )
    assert await deadlocks(stage.pool, database) == 0


async def test_nor_do_purges_and_those_who_come_and_go(stage: Stage, database: str) -> None:
    bob, cyd = stage.others
    files, memberships = FileRows(stage.pool, 1 << 30), Memberships(stage.pool)

    async def purge(chance: Random) -> None:
        memories = chance.sample(stage.memories, 6)
        await stage.trash.delete(stage.ada, memories)
        await stage.trash.purge(stage.ada, memories)

    async def mark(who: UUID, chance: Random) -> None:
        await stage.rows.mark_each(stage.some(chance), who, {"is_favorite": chance.random() < 0.5})

    async def leave(chance: Random) -> None:
        for memory in stage.some(chance)[:5]:
            await memberships.leave(memory, cyd)

    async def move(chance: Random) -> None:
        rows = await stage.pool.fetch("SELECT id FROM files WHERE user_id = $1 LIMIT 5", bob)
        for row in rows:
            there = chance.choice(stage.memories)
            # The memory may just have gone, with the file or without it.
            outcome = await asyncio.gather(
                files.update(row["id"], bob, memory_id=there, filename="b"), return_exceptions=True
            )
            assert not isinstance(outcome[0], asyncpg.PostgresError), outcome

    await hammer(
        purge,
        purge,
        lambda chance: mark(stage.ada, chance),
        lambda chance: mark(bob, chance),
        lambda chance: mark(cyd, chance),
        leave,
        move,
    )
    assert await deadlocks(stage.pool, database) == 0
