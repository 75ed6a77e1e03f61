"""The trash as rows: what is deleted comes back whole, what is purged is gone to the last row."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author, Authorship, Entry, Outcome, Projection, Snapshot
from protocol.memories import ListMemories
from protocol.trash import Fate
from storage.memories import MemoryRows
from storage.trash import PURGE_BATCH, TrashRows
from storage.updates import UpdateLog
from tests.rows import add_memory, add_person

# What holds rows of a memory, and by which column.
TABLES = {
    "memories": "id",
    "documents": "id",
    "memberships": "memory_id",
    "messages": "memory_id",
    "files": "memory_id",
    "document_updates": "document_id",
    "document_snapshots": "document_id",
    "document_clients": "document_id",
    "document_reservations": "document_id",
    "document_authors": "document_id",
}


@pytest.fixture
def trash(pool: asyncpg.Pool) -> TrashRows:
    return TrashRows(pool)


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


@pytest.fixture
async def bob(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


async def full_memory(pool: asyncpg.Pool, owner: Author, **members: Author) -> UUID:
    """A memory with a row in every table that may have one."""
    memory_id = await add_memory(pool, owner, **members)
    log = UpdateLog(pool, MemoryRows(pool))
    await log.commit([Entry(memory_id, owner, b"x", ((7, owner.account_id),))])
    await log.commit([Entry(memory_id, owner, b"y")])
    assert await log.save_snapshot(memory_id, Snapshot(1, b"all", b"state"))
    await pool.execute("INSERT INTO document_reservations VALUES ($1, 8)", memory_id)
    moment = await pool.fetchval("SELECT now()")
    await log.trim(memory_id, 1, [Authorship(7, 0, 1, owner.account_id, None, moment)])
    await pool.execute("INSERT INTO messages (memory_id, content) VALUES ($1, 'm')", memory_id)
    await pool.execute(
        """
        INSERT INTO files (user_id, memory_id, filename, original_filename, file_type, file_size,
            sha256, storage_path)
        VALUES ($1, $2, 'f', 'f', 'text/plain', 1, '\\x00', 'f')
        """,
        owner.account_id,
        memory_id,
    )
    return memory_id


async def rows_of(pool: asyncpg.Pool, memory_id: UUID) -> dict[str, int]:
    return {
        table: await pool.fetchval(f"SELECT count(*) FROM {table} WHERE {column} = $1", memory_id)
        for table, column in TABLES.items()
    }


def codes(fates: Sequence[Fate]) -> list[ErrorCode | None]:
    return [fate.error.code if fate.error else None for fate in fates]


async def test_a_memory_comes_back_from_the_trash_as_it_was(
    pool: asyncpg.Pool, trash: TrashRows, ada: Author, bob: Author
) -> None:
    memory_id = await full_memory(pool, ada, editor=bob)
    rows, log = MemoryRows(pool), UpdateLog(pool, MemoryRows(pool))
    before, kept = await rows.get(memory_id, ada.account_id), await rows_of(pool, memory_id)
    [deleted] = await trash.delete(ada.account_id, [memory_id])
    assert sorted(deleted.followers) == sorted([ada.account_id, bob.account_id])
    [refused] = await log.commit([Entry(memory_id, ada, b"z")])
    assert refused.outcome is Outcome.GONE
    [restored] = await trash.restore(ada.account_id, [memory_id])
    assert restored.error is None
    assert sorted(restored.followers) == sorted([ada.account_id, bob.account_id])
    assert restored.behind
    assert await rows.get(memory_id, ada.account_id) == before
    assert await rows_of(pool, memory_id) == kept
    [committed] = await log.commit([Entry(memory_id, bob, b"z")])
    assert committed.offset == 3


async def test_repeats_answer_as_the_first_time_and_tell_nobody(
    pool: asyncpg.Pool, trash: TrashRows, ada: Author
) -> None:
    memory_id = await add_memory(pool, ada)

    async def twice(call: str) -> tuple[Fate, Fate]:
        [first] = await getattr(trash, call)(ada.account_id, [memory_id])
        [second] = await getattr(trash, call)(ada.account_id, [memory_id])
        return first, second

    for call in ("delete", "restore", "delete", "purge"):
        first, second = await twice(call)
        assert first.error is second.error is None
        assert (list(first.followers), list(second.followers)) == ([ada.account_id], [])
        if call != "restore":
            assert first.moment == second.moment


async def test_a_memory_that_was_purged_counts_as_deleted_and_does_not_come_back(
    pool: asyncpg.Pool, trash: TrashRows, ada: Author
) -> None:
    memory_id = await add_memory(pool, ada)
    await trash.delete(ada.account_id, [memory_id])
    await trash.purge(ada.account_id, [memory_id])
    assert codes(await trash.delete(ada.account_id, [memory_id])) == [None]
    assert codes(await trash.restore(ada.account_id, [memory_id])) == [ErrorCode.GONE]
    # A device that has not heard of it sends its create once more.
    entry = Entry(memory_id, ada, b"x", (), Projection("again", None, {}, [], {}, []))
    with pytest.raises(MemoError) as refused:
        await MemoryRows(pool).create(entry, category_id=None, is_favorite=False, is_archived=False)
    assert refused.value.code is ErrorCode.GONE


@pytest.mark.parametrize("call", ["delete", "restore", "purge"])
async def test_only_the_owner_may_and_others_see_nothing(
    pool: asyncpg.Pool, trash: TrashRows, ada: Author, bob: Author, call: str
) -> None:
    theirs, shared = await add_memory(pool, ada), await add_memory(pool, ada, editor=bob)
    if call != "delete":
        await trash.delete(ada.account_id, [theirs, shared])
    fates = await getattr(trash, call)(bob.account_id, [theirs, uuid4(), shared])
    assert codes(fates) == [ErrorCode.NOT_FOUND, ErrorCode.NOT_FOUND, ErrorCode.FORBIDDEN]
    query = "SELECT count(*) FROM documents WHERE deleted_at IS NULL"
    assert await pool.fetchval(query) == (2 if call == "delete" else 0)
    assert await pool.fetchval("SELECT count(*) FROM documents") == 2


async def test_only_what_is_in_the_trash_is_purged(
    pool: asyncpg.Pool, trash: TrashRows, ada: Author
) -> None:
    living, deleted = await add_memory(pool, ada), await add_memory(pool, ada)
    await trash.delete(ada.account_id, [deleted])
    fates = await trash.purge(ada.account_id, [living, deleted])
    assert codes(fates) == [ErrorCode.CONFLICT, None]
    assert (await MemoryRows(pool).get(living, ada.account_id)).id == living


async def test_purging_removes_every_row_and_leaves_tombstones_for_all_members(
    pool: asyncpg.Pool, trash: TrashRows, ada: Author, bob: Author
) -> None:
    purged, other = [await full_memory(pool, ada, viewer=bob) for _ in range(2)]
    assert all((await rows_of(pool, purged)).values()), "a table this test puts nothing into"
    kept = await rows_of(pool, other)
    file_id = await pool.fetchval("SELECT id FROM files WHERE memory_id = $1", purged)
    await trash.delete(ada.account_id, [purged])
    [fate] = await trash.purge(ada.account_id, [purged])
    assert sorted(fate.followers) == sorted([ada.account_id, bob.account_id])
    assert not any((await rows_of(pool, purged)).values())
    assert await rows_of(pool, other) == kept
    rows = await pool.fetch("SELECT user_id, kind, record_id FROM tombstones")
    assert {tuple(row) for row in rows} == {
        (ada.account_id, "memory", purged),
        (bob.account_id, "memory", purged),
        (ada.account_id, "file", file_id),
        (bob.account_id, "file", file_id),
    }


async def test_no_table_that_names_a_memory_is_forgotten(pool: asyncpg.Pool) -> None:
    """A table that is added later either refers to the memory, and goes with it, or has to be
    named where memories are purged."""
    rows = await pool.fetch(
        """
        SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace
            AND a.attname IN ('memory_id', 'document_id') AND NOT EXISTS (
                SELECT FROM pg_constraint f WHERE f.contype = 'f' AND f.conrelid = c.oid
                    AND a.attnum = ANY (f.conkey) AND f.confdeltype = 'c')
        """
    )
    loose = {row["relname"] for row in rows}
    assert loose <= set(TABLES), loose - set(TABLES)


async def test_many_are_purged_in_batches(
    pool: asyncpg.Pool, trash: TrashRows, ada: Author
) -> None:
    memories = [await add_memory(pool, ada) for _ in range(PURGE_BATCH + 3)]
    await trash.delete(ada.account_id, memories)
    fates = await trash.purge(ada.account_id, memories)
    assert [fate.id for fate in fates] == memories
    assert codes(fates) == [None] * len(memories)
    assert await pool.fetchval("SELECT count(*) FROM memories") == 0


async def test_what_expires_is_purged_once_whoever_finds_it(
    pool: asyncpg.Pool, trash: TrashRows, ada: Author
) -> None:
    old, young, restored, living = [await add_memory(pool, ada) for _ in range(4)]
    await trash.delete(ada.account_id, [old, young, restored])
    await pool.execute(
        "UPDATE documents SET deleted_at = now() - interval '31 days' WHERE id = ANY ($1)",
        [old, restored],
    )
    found = await trash.expired(30 * 86400, 10)
    assert set(found) == {old, restored}
    assert len(await trash.expired(30 * 86400, 1)) == 1
    await trash.restore(ada.account_id, [restored])
    outcomes = await asyncio.gather(
        *(trash.purge_expired(each, 30 * 86400) for each in [*found, *found, young, living] * 3)
    )
    assert [told for told in outcomes if told is not None] == [[ada.account_id]]
    left = await pool.fetch("SELECT id FROM memories")
    assert {row[0] for row in left} == {young, restored, living}


async def test_of_a_purge_and_a_restore_at_once_one_comes_first_and_nothing_is_half_done(
    pool: asyncpg.Pool, trash: TrashRows, ada: Author
) -> None:
    memories = [await full_memory(pool, ada) for _ in range(6)]
    await trash.delete(ada.account_id, memories)
    whole = await rows_of(pool, memories[0])
    purged, restored = await asyncio.gather(
        trash.purge(ada.account_id, memories), trash.restore(ada.account_id, memories[::-1])
    )
    for one, other in zip(purged, restored[::-1], strict=True):
        assert set(codes([one, other])) in (
            {None, ErrorCode.GONE},
            {ErrorCode.CONFLICT, None},
        )
        rows = await rows_of(pool, one.id)
        assert rows == whole if one.error else not any(rows.values())


async def test_a_snapshot_that_comes_late_does_not_outlive_the_memory(
    pool: asyncpg.Pool, trash: TrashRows, ada: Author
) -> None:
    memory_id = await full_memory(pool, ada)
    await trash.delete(ada.account_id, [memory_id])
    log = UpdateLog(pool, MemoryRows(pool))
    async with pool.acquire() as connection:
        purging = connection.transaction()
        await purging.start()
        await connection.execute("SELECT FROM documents WHERE id = $1 FOR UPDATE", memory_id)
        saving = asyncio.create_task(log.save_snapshot(memory_id, Snapshot(2, b"all", b"state")))
        async with asyncio.timeout(20):
            while not await connection.fetchval("SELECT true FROM pg_locks WHERE NOT granted"):
                pass
        await connection.execute("DELETE FROM document_snapshots WHERE document_id = $1", memory_id)
        await connection.execute("DELETE FROM memories WHERE id = $1", memory_id)
        await purging.commit()
    assert not await saving
    assert await pool.fetchval("SELECT count(*) FROM document_snapshots") == 0


async def test_what_is_in_the_trash_says_until_when(pool: asyncpg.Pool, ada: Author) -> None:
    rows = MemoryRows(pool, trash_seconds=86400)
    memory_id = await add_memory(pool, ada)
    assert (await rows.get(memory_id, ada.account_id)).deleted_at is None
    deleted_at, _ = await rows.delete(memory_id, ada.account_id)
    with pytest.raises(MemoError) as refused:
        await rows.get(memory_id, ada.account_id)
    assert refused.value.code is ErrorCode.GONE
    details = refused.value.details
    assert details is not None
    assert details["deletedAt"] == deleted_at
    assert details["purgeAt"] > deleted_at
    page = await rows.list(ada.account_id, ListMemories())
    assert page.memories == []
