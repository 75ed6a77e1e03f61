"""Exports as rows: one at a time, taken over after a crash, gone when their time is over."""

from uuid import uuid4

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author
from storage.exports import MAX_ATTEMPTS, MAX_KEPT, ExportRows
from tests.rows import add_memory, add_person, delete_memory

SHA = b"s" * 32


@pytest.fixture
def exports(pool: asyncpg.Pool) -> ExportRows:
    return ExportRows(pool)


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


async def abandon(pool: asyncpg.Pool) -> None:
    """The node that makes archives is gone, and its time over."""
    await pool.execute("UPDATE exports SET claimed_until = now() - interval '1 second'")


async def test_an_archive_is_made_by_one_node(exports: ExportRows, ada: Author) -> None:
    begun = await exports.begin(ada.account_id, uuid4())
    claimed = await exports.claim()
    assert claimed is not None
    assert (claimed.id, claimed.account_id, claimed.last) == (begun.id, ada.account_id, False)
    assert await exports.claim() is None
    assert await exports.renew(claimed)
    assert await exports.finish(claimed, 7, ["a", "b"], SHA)
    assert not await exports.renew(claimed)
    [row] = await exports.of(ada.account_id)
    assert (row.status, row.size) == ("ready", 7)
    blob, sha, _ = await exports.content(begun.id, ada.account_id)
    assert (blob.size, blob.parts, sha) == (7, ["a", "b"], SHA)


async def test_what_a_node_left_is_made_by_another_elsewhere(
    exports: ExportRows, ada: Author, pool: asyncpg.Pool
) -> None:
    await exports.begin(ada.account_id, uuid4())
    lost = await exports.claim()
    await abandon(pool)
    taken = await exports.claim()
    assert lost is not None
    assert taken is not None
    assert lost.path != taken.path
    assert not await exports.renew(lost)
    assert not await exports.finish(lost, 1, [], SHA)
    assert await exports.finish(taken, 2, [], SHA)
    freed = await pool.fetch("SELECT path FROM blobs WHERE freed_at IS NOT NULL")
    assert [row["path"] for row in freed] == [lost.path]


async def test_an_archive_that_cannot_be_made_fails_in_the_end(
    exports: ExportRows, ada: Author, pool: asyncpg.Pool
) -> None:
    await exports.begin(ada.account_id, uuid4())
    for attempt in range(1, MAX_ATTEMPTS + 1):
        claimed = await exports.claim()
        assert claimed is not None
        assert claimed.last is (attempt == MAX_ATTEMPTS)
        await exports.give_up(claimed)
        await abandon(pool)
    assert await exports.claim() is None
    assert [row.status for row in await exports.of(ada.account_id)] == ["failed"]
    again = await exports.begin(ada.account_id, uuid4())
    assert again.status == "preparing"


async def test_few_archives_are_kept_and_not_for_ever(
    exports: ExportRows, ada: Author, pool: asyncpg.Pool
) -> None:
    for _ in range(MAX_KEPT + 2):
        await exports.begin(ada.account_id, uuid4())
        claimed = await exports.claim()
        assert claimed is not None
        await exports.finish(claimed, 1, [], SHA)
        with pytest.raises(MemoError) as refused:
            await exports.begin(ada.account_id, uuid4())
        assert refused.value.code is ErrorCode.RATE_LIMITED
        await pool.execute("UPDATE exports SET created_at = created_at - interval '1 hour'")
    assert len(await exports.of(ada.account_id)) == MAX_KEPT
    await pool.execute("UPDATE exports SET expires_at = now() - interval '1 second'")
    assert await exports.of(ada.account_id) == []
    assert await exports.expire() == MAX_KEPT
    assert await pool.fetchval("SELECT bool_and(freed_at IS NOT NULL) FROM blobs")


async def test_an_archive_goes_with_its_account(
    exports: ExportRows, ada: Author, pool: asyncpg.Pool
) -> None:
    await exports.begin(ada.account_id, uuid4())
    claimed = await exports.claim()
    assert claimed is not None
    await pool.execute("DELETE FROM users WHERE id = $1", ada.account_id)
    assert not await exports.renew(claimed)
    assert not await exports.finish(claimed, 3, ["a"], SHA)
    assert await pool.fetchval("SELECT bool_and(freed_at IS NOT NULL) FROM blobs")


async def test_files_in_memories_that_one_may_not_read_are_loose(
    exports: ExportRows, ada: Author, pool: asyncpg.Pool
) -> None:
    bob = await add_person(pool)
    own, trashed = await add_memory(pool, ada), await add_memory(pool, ada)
    shared = await add_memory(pool, bob, editor=ada)
    left = await add_memory(pool, bob)
    gone = await add_memory(pool, bob, editor=ada)
    for memory_id in (trashed, gone):
        await delete_memory(pool, memory_id)
    places = {
        "own": own,
        "trashed": trashed,
        "shared": shared,
        "left": left,
        "gone": gone,
        "none": None,
    }
    for name, place in places.items():
        for owner in (ada, bob):
            await pool.execute(
                """
                INSERT INTO files (user_id, memory_id, filename, original_filename, file_type,
                    file_size, sha256, storage_path)
                VALUES ($1, $2, $3, $3, 'text/plain', 1, '', 'somewhere')
                """,
                owner.account_id,
                place,
                name,
            )
    found = await exports.loose_files(ada.account_id)
    assert sorted(file.filename for file in found) == ["gone", "left", "none"]
    assert {file.user_id for file in found} == {ada.account_id}
