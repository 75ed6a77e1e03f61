"""The feed: exactly what changed, however late it was committed."""

import random
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.feed import Change, Changes
from protocol.log import Author, Entry, Projection
from storage.feed import Feed
from storage.memories import MemoryRows
from storage.updates import UpdateLog
from tests.rows import add_member, add_memory, add_person, delete_memory


@pytest.fixture
def feed(pool: asyncpg.Pool) -> Feed:
    return Feed(pool)


@pytest.fixture
def log(pool: asyncpg.Pool) -> UpdateLog:
    return UpdateLog(pool, MemoryRows(pool))


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


async def read(
    feed: Feed, who: Author, after: str | None = None, limit: int = 100
) -> tuple[list[UUID], str]:
    """The ids of all that changed, over as many pages as it takes, and the last cursor."""
    ids: list[UUID] = []
    while True:
        page = await feed.changes(who.account_id, after, limit)
        ids += [item.id for item in page.items]
        after = page.cursor
        if not page.more:
            return ids, after


async def test_without_a_cursor_everything_comes_and_then_nothing(
    pool: asyncpg.Pool, feed: Feed, ada: Author
) -> None:
    memories = {await add_memory(pool, ada) for _ in range(3)}
    await add_memory(pool, await add_person(pool))
    ids, cursor = await read(feed, ada)
    assert sorted(ids) == sorted(memories)
    assert await read(feed, ada, cursor) == ([], cursor)


async def test_the_cursor_of_a_moment_leaves_out_what_was_before_it(
    pool: asyncpg.Pool, feed: Feed, ada: Author
) -> None:
    await add_memory(pool, ada)
    cursor = await feed.cursor()
    later = await add_memory(pool, ada)
    assert (await read(feed, ada, cursor))[0] == [later]


async def test_exactly_what_changed_comes(
    pool: asyncpg.Pool, feed: Feed, log: UpdateLog, ada: Author
) -> None:
    bob = await add_person(pool)
    memories = [await add_memory(pool, ada) for _ in range(6)]
    shared = await add_memory(pool, bob, editor=ada)
    _, cursor = await read(feed, ada)

    async def changed() -> list[UUID]:
        nonlocal cursor
        ids, cursor = await read(feed, ada, cursor)
        return ids

    rows = MemoryRows(pool)
    await log.commit([Entry(memories[0], ada, b"x")])
    assert await changed() == [memories[0]]
    await rows.mark(memories[1], ada.account_id, {"is_favorite": True})
    assert await changed() == [memories[1]]
    await rows.save(memories[0], Projection("t", None, {}, [], {}, []), 1)
    assert await changed() == [memories[0]]
    await rows.save(memories[0], Projection("again", None, {}, [], {}, []), 1)
    assert await changed() == []
    await log.commit([Entry(shared, bob, b"x")])
    assert await changed() == [shared]
    await rows.mark(shared, bob.account_id, {"is_favorite": True})
    assert await changed() == []  # bob's own mark is none of hers
    new = await add_memory(pool, bob)
    assert await changed() == []
    await add_member(pool, new, ada, "viewer")
    assert await changed() == [new]
    await rows.delete(memories[2], ada.account_id)
    assert await changed() == [memories[2]]
    assert await changed() == []


async def test_what_a_member_sees_of_a_memory_is_their_own(
    pool: asyncpg.Pool, feed: Feed, ada: Author
) -> None:
    bob = await add_person(pool)
    memory = await add_memory(pool, ada, viewer=bob)
    await MemoryRows(pool).mark(memory, bob.account_id, {"is_archived": True})
    [hers] = (await feed.changes(ada.account_id, None, 10)).items
    [his] = (await feed.changes(bob.account_id, None, 10)).items
    assert hers.memory is not None
    assert his.memory is not None
    assert (hers.memory.role, hers.memory.is_archived) == ("owner", False)
    assert (his.memory.role, his.memory.is_archived) == ("viewer", True)
    assert his.memory.user_id == ada.account_id


async def test_a_deletion_comes_without_the_memory(
    pool: asyncpg.Pool, feed: Feed, ada: Author
) -> None:
    bob = await add_person(pool)
    memory = await add_memory(pool, ada, viewer=bob)
    kept = await add_memory(pool, ada)
    cursors = [(who, (await read(feed, who))[1]) for who in (ada, bob)]
    await MemoryRows(pool).delete(memory, ada.account_id)
    for who, cursor in cursors:
        [item] = (await feed.changes(who.account_id, cursor, 10)).items
        assert (item.id, item.deleted, item.memory) == (memory, True, None)
    # Who starts over never knew it.
    assert (await read(feed, ada))[0] == [kept]


async def test_a_commit_that_lands_late_is_not_skipped(
    pool: asyncpg.Pool, feed: Feed, log: UpdateLog, ada: Author
) -> None:
    late, quick = await add_memory(pool, ada), await add_memory(pool, ada)
    _, cursor = await read(feed, ada)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "UPDATE documents SET changed_xid = pg_current_xact_id() WHERE id = $1", late
        )
        for _ in range(3):
            await log.commit([Entry(quick, ada, b"x")])
        ids, cursor = await read(feed, ada, cursor)
        assert ids == [quick]
        await transaction.commit()
    ids, cursor = await read(feed, ada, cursor)
    assert late in ids
    assert (await read(feed, ada, cursor))[0] == []


async def test_a_commit_that_lands_between_two_pages_behind_their_place_is_not_skipped(
    pool: asyncpg.Pool, feed: Feed, log: UpdateLog, ada: Author
) -> None:
    memories = [await add_memory(pool, ada) for _ in range(5)]
    late = await add_memory(pool, ada)
    _, cursor = await read(feed, ada)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "UPDATE documents SET changed_xid = pg_current_xact_id() WHERE id = $1", late
        )
        for memory in memories:
            await log.commit([Entry(memory, ada, b"x")])
        page = await feed.changes(ada.account_id, cursor, 2)
        assert page.more
        await transaction.commit()
    seen = [item.id for item in page.items]
    rest, cursor = await read(feed, ada, page.cursor, limit=2)
    again, cursor = await read(feed, ada, cursor, limit=2)
    assert {*seen, *rest, *again} == {*memories, late}
    assert (await read(feed, ada, cursor))[0] == []


async def test_pages_hold_each_item_once_and_end(
    pool: asyncpg.Pool, feed: Feed, ada: Author
) -> None:
    async with pool.acquire() as connection, connection.transaction():
        # All by one transaction: only the id tells their order.
        memories = []
        for _ in range(10):
            memory = uuid4()
            memories.append(memory)
            await connection.execute("INSERT INTO memories VALUES ($1, $2)", memory, ada.account_id)
            await connection.execute(
                "INSERT INTO documents (id, owner_id) VALUES ($1, $2)", memory, ada.account_id
            )
            await add_member(connection, memory, ada, "owner")
    for limit in (1, 3, 5, 9, 10, 11):
        ids, _ = await read(feed, ada, limit=limit)
        assert ids == sorted(memories)


async def test_what_changes_while_pages_are_read_comes_at_their_end(
    pool: asyncpg.Pool, feed: Feed, log: UpdateLog, ada: Author
) -> None:
    memories = [await add_memory(pool, ada) for _ in range(6)]
    page = await feed.changes(ada.account_id, None, 2)
    seen = [item.id for item in page.items]
    assert seen == memories[:2]
    await log.commit([Entry(memories[0], ada, b"x")])  # seen already
    await log.commit([Entry(memories[4], ada, b"x")])  # still to come
    rest, _ = await read(feed, ada, page.cursor, limit=2)
    assert rest == [memories[2], memories[3], memories[5], memories[0], memories[4]]


async def test_a_device_that_follows_the_feed_ends_with_what_a_fresh_one_reads(
    pool: asyncpg.Pool, feed: Feed, log: UpdateLog, ada: Author
) -> None:
    """Edits, marks, new and deleted memories in transactions that overlap and end in any order."""
    chance = random.Random(3)
    memories = [await add_memory(pool, ada) for _ in range(8)]
    rows = MemoryRows(pool)
    replica: dict[UUID, object] = {}
    cursor: str | None = None

    async def follow(limit: int) -> None:
        nonlocal cursor
        page: Changes = await feed.changes(ada.account_id, cursor, limit)
        assert not page.reset
        for item in page.items:
            if item.deleted:
                replica.pop(item.id, None)
            else:
                replica[item.id] = item.memory
        cursor = page.cursor
        if page.more:
            await follow(limit)

    marking: dict[UUID, AsyncExitStack] = {}
    for _ in range(120):
        memory = chance.choice(memories)
        action = chance.random()
        if action < 0.3 and memory not in marking and len(marking) < 4:
            marking[memory] = AsyncExitStack()
            connection = await marking[memory].enter_async_context(pool.acquire())
            await marking[memory].enter_async_context(connection.transaction())
            await connection.execute(
                """
                UPDATE memberships SET is_favorite = NOT is_favorite,
                    changed_xid = pg_current_xact_id()
                WHERE memory_id = $1
                """,
                memory,
            )
        elif action < 0.5 and marking:
            await marking.pop(chance.choice(list(marking))).aclose()  # which commits
        elif action < 0.6:
            memories.append(await add_memory(pool, ada))
        elif action < 0.65 and len(memories) > 4:
            await rows.delete(memory, ada.account_id)
            memories.remove(memory)
        elif action < 0.85:
            await log.commit([Entry(memory, ada, b"x")])
        else:
            await follow(chance.choice([1, 3, 100]))
    for transaction in marking.values():
        await transaction.aclose()
    await follow(100)
    fresh = await feed.changes(ada.account_id, None, 500)
    assert replica == {item.id: item.memory for item in fresh.items}


async def test_a_cursor_of_another_epoch_or_of_the_future_starts_over(
    pool: asyncpg.Pool, feed: Feed, ada: Author
) -> None:
    memory = await add_memory(pool, ada)
    await delete_memory(pool, await add_memory(pool, ada))
    cursor = await feed.cursor()
    epoch, floor = cursor.split(".")
    for other in (
        f"{uuid4()}.{floor}",
        f"{uuid4()}.{floor}.{floor}.{uuid4()}",
        f"{epoch}.{int(floor) + 1_000_000}",
        f"{epoch}.{(1 << 63) - 1}",
    ):
        page = await feed.changes(ada.account_id, other, 10)
        assert page.reset
        assert [item.id for item in page.items] == [memory]
        assert not (await feed.changes(ada.account_id, page.cursor, 10)).reset
    await pool.execute("UPDATE installation SET feed_epoch = gen_random_uuid()")
    assert (await feed.changes(ada.account_id, cursor, 10)).reset


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "..",
        "{epoch}",
        "{epoch}.",
        "{epoch}.x",
        "{epoch}.-1",
        "{epoch}.1.2",
        "{epoch}.1.2.not-an-id",
        "{epoch}.1.-2.00000000-0000-0000-0000-000000000001",
        "{epoch}.1.99999999999999999999999.00000000-0000-0000-0000-000000000001",
        "{epoch}.99999999999999999999999",
        "{epoch}.1.2.00000000-0000-0000-0000-000000000001.3",
        "\x00.1",
    ],
)
async def test_what_is_no_cursor_is_refused_by_name(feed: Feed, ada: Author, cursor: str) -> None:
    epoch = (await feed.cursor()).split(".")[0]
    if cursor == "\x00.1":
        assert (await feed.changes(ada.account_id, cursor, 10)).reset
        return
    with pytest.raises(MemoError) as refused:
        await feed.changes(ada.account_id, cursor.format(epoch=epoch), 10)
    assert refused.value.code is ErrorCode.INVALID_REQUEST
    assert refused.value.details is not None
    assert "after" in refused.value.details


async def test_a_page_of_large_memories_is_cut_short_and_the_next_goes_on(
    pool: asyncpg.Pool, feed: Feed, ada: Author
) -> None:
    memories = [await add_memory(pool, ada) for _ in range(4)]
    await pool.execute(
        """
        UPDATE memories SET content = jsonb_build_object('text', (
            SELECT string_agg(md5(number::text), '') FROM generate_series(1, 120000) AS number))
        """
    )
    page = await feed.changes(ada.account_id, None, 100)
    assert page.more
    assert 0 < len(page.items) < len(memories)
    ids, _ = await read(feed, ada)
    assert ids == memories


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_a_brief_answer_says_where_documents_stand_and_not_what_they_hold(
    pool: asyncpg.Pool, feed: Feed, log: UpdateLog, ada: Author, limit: int
) -> None:
    bob = await add_person(pool)
    mine, shared = await add_memory(pool, ada), await add_memory(pool, bob, viewer=ada)
    deleted = await add_memory(pool, ada)
    _, cursor = await read(feed, ada)
    await log.commit([Entry(mine, ada, b"1"), Entry(mine, ada, b"2"), Entry(shared, bob, b"3")])
    await pool.execute(
        "UPDATE memberships SET is_favorite = true WHERE memory_id = $1 AND user_id = $2",
        shared,
        ada.account_id,
    )
    await MemoryRows(pool).delete(deleted, ada.account_id)
    items: dict[UUID, Change] = {}
    after, more = cursor, True
    while more:
        page = await feed.changes(ada.account_id, after, limit, brief=True)
        items |= {item.id: item for item in page.items}
        after, more = page.cursor, page.more
    rows = await pool.fetch("SELECT id, epoch::text FROM documents")
    epochs: dict[UUID, str] = {row[0]: row[1] for row in rows}
    assert items == {
        mine: Change(kind="memory", id=mine, epoch=epochs[mine], offset=2),
        shared: Change(
            kind="memory",
            id=shared,
            epoch=epochs[shared],
            offset=1,
            role="viewer",
            is_favorite=True,
        ),
        deleted: Change(kind="memory", id=deleted, deleted=True),
    }
    assert (await feed.changes(ada.account_id, after, limit, brief=True)).items == []
