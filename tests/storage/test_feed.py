"""The feed: exactly what changed, however late it was committed."""

import random
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.feed import Change, Changes
from protocol.log import Author, Entry, Projection
from storage.accounts import Accounts
from storage.categories import CategoryRows
from storage.feed import TOMBSTONE_SECONDS, Feed
from storage.memories import MemoryRows
from storage.trash import TrashRows
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
    """The ids of all memories that changed, over as many pages as it takes, and the last cursor."""
    ids: list[UUID] = []
    while True:
        page = await feed.changes(who.account_id, after, limit)
        ids += [item.id for item in memories_of(page)]
        after = page.cursor
        if not page.more:
            return ids, after


def memories_of(page: Changes) -> list[Change]:
    return [item for item in page.items if item.kind == "memory"]


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
    [hers] = memories_of(await feed.changes(ada.account_id, None, 10))
    [his] = memories_of(await feed.changes(bob.account_id, None, 10))
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


async def test_transactions_are_ordered_as_numbers(
    pool: asyncpg.Pool, feed: Feed, ada: Author
) -> None:
    memories = [await add_memory(pool, ada) for _ in range(4)]
    for number, memory in zip((9, 10, 99, 100), memories, strict=True):
        for query in (
            "UPDATE documents SET changed_xid = $2::text::xid8 WHERE id = $1",
            "UPDATE memberships SET changed_xid = $2::text::xid8 WHERE memory_id = $1",
        ):
            await pool.execute(query, memory, str(number))
    for limit in (1, 3, 100):
        assert (await read(feed, ada, limit=limit))[0] == memories


async def test_what_changes_while_pages_are_read_comes_at_their_end(
    pool: asyncpg.Pool, feed: Feed, log: UpdateLog, ada: Author
) -> None:
    start = await feed.cursor()
    memories = [await add_memory(pool, ada) for _ in range(6)]
    page = await feed.changes(ada.account_id, start, 2)
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
        for item in memories_of(page):
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
    assert replica == {item.id: item.memory for item in memories_of(fresh)}


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
        assert [item.id for item in memories_of(page)] == [memory]
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


@pytest.mark.parametrize("letters", ["md5(number::text)", "repeat('x', 32)"])
async def test_a_page_of_large_memories_is_cut_short_and_the_next_goes_on(
    pool: asyncpg.Pool, feed: Feed, ada: Author, letters: str
) -> None:
    """Also if they take little room in their rows."""
    start = await feed.cursor()
    memories = [await add_memory(pool, ada) for _ in range(4)]
    await pool.execute(
        f"""
        UPDATE memories SET content = jsonb_build_object('text', (
            SELECT string_agg({letters}, '') FROM generate_series(1, 120000) AS number))
        """
    )
    page = await feed.changes(ada.account_id, start, 100)
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


def kinds(page: Changes) -> dict[str, list[UUID]]:
    found: dict[str, list[UUID]] = {}
    for item in page.items:
        found.setdefault(item.kind, []).append(item.id)
    return found


def tombstone(pool: asyncpg.Pool, who: Author, kind: str, record_id: UUID) -> Awaitable[str]:
    return pool.execute(
        "INSERT INTO tombstones (user_id, kind, record_id) VALUES ($1, $2, $3)",
        who.account_id,
        kind,
        record_id,
    )


@pytest.mark.parametrize("brief", [False, True])
async def test_an_account_and_its_categories_are_followed_like_memories(
    pool: asyncpg.Pool, feed: Feed, brief: bool
) -> None:
    accounts, categories = Accounts(pool), CategoryRows(pool)
    user = await accounts.create(email="ada@example.com", password_hash=None)
    await accounts.create(email="bob@example.com", password_hash=None)
    page = await feed.changes(user.id, None, 100, brief=brief)
    assert {item.id: item.category for item in page.items if item.kind == "category"} == {
        category.id: category for category in await categories.list(user.id)
    }
    [account] = [item for item in page.items if item.kind == "account"]
    assert (account.id, account.user) == (user.id, user)

    cursor = page.cursor
    first, second, *_ = await categories.list(user.id)
    changed = await categories.update(user.id, first.id, {"name": "changed"})
    await categories.delete(user.id, second.id)
    page = await feed.changes(user.id, cursor, 100, brief=brief)
    assert page.items == [
        Change(kind="category", id=first.id, category=changed),
        Change(kind="category", id=second.id, deleted=True),
    ]
    assert (await feed.changes(user.id, page.cursor, 100, brief=brief)).items == []


async def test_what_an_account_shows_its_owner_is_news_and_a_sign_in_is_not(
    pool: asyncpg.Pool, feed: Feed
) -> None:
    accounts = Accounts(pool)
    user = await accounts.create(email="ada@example.com", password_hash="old")
    cursor = (await feed.changes(user.id, None, 100)).cursor
    await accounts.sign_in(user.id, b"hash", address=None, user_agent=None)
    assert (await feed.changes(user.id, cursor, 100)).items == []
    await pool.execute("UPDATE users SET avatar_url = 'a' WHERE id = $1", user.id)
    [item] = (await feed.changes(user.id, cursor, 100)).items
    assert item.user is not None
    assert item.user.avatar_url == "a"
    assert await feed.changed([user.id], int(cursor.split(".")[1])) == [user.id]


async def test_a_category_that_goes_shows_at_the_memories_that_had_it(
    pool: asyncpg.Pool, feed: Feed
) -> None:
    user = await Accounts(pool).create(email="ada@example.com", password_hash=None)
    ada, categories = Author(user.id), CategoryRows(pool)
    memory, other = await add_memory(pool, ada), await add_memory(pool, ada)
    category = (await categories.list(user.id))[0]
    await MemoryRows(pool).mark(memory, user.id, {"category_id": category.id})
    cursor = (await feed.changes(user.id, None, 100)).cursor
    await categories.delete(user.id, category.id)
    page = await feed.changes(user.id, cursor, 100)
    assert kinds(page) == {"memory": [memory], "category": [category.id]}
    assert other not in kinds(page)["memory"]
    [item] = memories_of(page)
    assert item.memory is not None
    assert item.memory.category_id is None


@pytest.mark.parametrize("brief", [False, True])
async def test_what_is_gone_comes_without_its_rows(
    pool: asyncpg.Pool, feed: Feed, ada: Author, brief: bool
) -> None:
    bob = await add_person(pool)
    trash = TrashRows(pool)
    memory = await add_memory(pool, ada, viewer=bob)
    left, file = uuid4(), uuid4()
    cursors = [(who, (await read(feed, who))[1]) for who in (ada, bob)]
    await trash.delete(ada.account_id, [memory])
    await trash.purge(ada.account_id, [memory])
    for who, cursor in cursors:
        page = await feed.changes(who.account_id, cursor, 100, brief=brief)
        assert page.items == [Change(kind="memory", id=memory, deleted=True)]
    await tombstone(pool, bob, "memory", left)
    await tombstone(pool, bob, "file", file)
    page = await feed.changes(bob.account_id, page.cursor, 100, brief=brief)
    assert kinds(page) == {"memory": [left], "file": [file]}
    assert all(item.deleted for item in page.items)
    # Who starts over never knew them.
    fresh = await feed.changes(bob.account_id, None, 100, brief=brief)
    assert kinds(fresh) == {"account": [bob.account_id]}


async def test_a_restored_memory_comes_again(pool: asyncpg.Pool, feed: Feed, ada: Author) -> None:
    bob = await add_person(pool)
    trash = TrashRows(pool)
    memory = await add_memory(pool, ada, viewer=bob)
    await trash.delete(ada.account_id, [memory])
    cursors = [(who, (await read(feed, who))[1]) for who in (ada, bob)]
    await trash.restore(ada.account_id, [memory])
    for who, cursor in cursors:
        [item] = (await feed.changes(who.account_id, cursor, 100)).items
        assert item.memory is not None
        assert (item.id, item.memory.deleted_at) == (memory, None)


async def test_who_comes_back_to_a_memory_sees_it_though_a_tombstone_is_left(
    pool: asyncpg.Pool, feed: Feed, ada: Author
) -> None:
    bob = await add_person(pool)
    memory = await add_memory(pool, ada)
    _, cursor = await read(feed, bob)
    await tombstone(pool, bob, "memory", memory)
    await add_member(pool, memory, bob, "viewer")
    [item] = (await feed.changes(bob.account_id, cursor, 100)).items
    assert item.memory is not None


async def test_pages_go_through_all_kinds_together(pool: asyncpg.Pool, feed: Feed) -> None:
    user = await Accounts(pool).create(email="ada@example.com", password_hash=None)
    ada, categories = Author(user.id), CategoryRows(pool)
    start = await feed.cursor()
    expected = []
    for category in await categories.list(user.id):
        expected.append(await add_memory(pool, ada))
        await categories.update(user.id, category.id, {"name": "changed"})
        expected += [category.id, uuid4()]
        await tombstone(pool, ada, "memory", expected[-1])
    for limit in (1, 2, 3, 100):
        seen, after, more = list[UUID](), start, True
        while more:
            page = await feed.changes(user.id, after, limit)
            assert 0 < len(page.items) <= limit
            seen += [item.id for item in page.items]
            after, more = page.cursor, page.more
        assert seen == expected


async def test_large_memories_leave_room_for_none_behind_them_and_nothing_is_skipped(
    pool: asyncpg.Pool, feed: Feed
) -> None:
    user = await Accounts(pool).create(email="ada@example.com", password_hash=None)
    ada, categories = Author(user.id), CategoryRows(pool)
    start = await feed.cursor()
    expected = []
    for category in (await categories.list(user.id))[:4]:
        expected.append(await add_memory(pool, ada))
        await categories.update(user.id, category.id, {"name": "changed"})
        expected.append(category.id)
    await pool.execute(
        """
        UPDATE memories SET content = jsonb_build_object('text', (
            SELECT string_agg(md5(number::text), '') FROM generate_series(1, 120000) AS number))
        """
    )
    seen, after, pages, more = list[UUID](), start, 0, True
    while more:
        page = await feed.changes(user.id, after, 100)
        seen += [item.id for item in page.items]
        after, more, pages = page.cursor, page.more, pages + 1
    assert seen == expected
    assert pages > 1


async def test_a_document_without_a_membership_does_not_hold_the_feed_up(
    pool: asyncpg.Pool, feed: Feed, ada: Author
) -> None:
    lost, whole = await add_memory(pool, ada), await add_memory(pool, ada)
    start = (await read(feed, ada))[1]
    await pool.execute("UPDATE documents SET changed_xid = pg_current_xact_id()")
    await pool.execute("DELETE FROM memberships WHERE memory_id = $1", lost)
    for brief in (False, True):
        seen, after, more = dict[UUID, bool](), start, True
        while more:
            page = await feed.changes(ada.account_id, after, 1, brief=brief)
            seen |= {item.id: item.deleted for item in page.items}
            after, more = page.cursor, page.more
        assert seen == {lost: True, whole: False}


async def test_a_cursor_from_before_a_tombstone_that_was_removed_starts_over(
    pool: asyncpg.Pool, feed: Feed, ada: Author
) -> None:
    memory = await add_memory(pool, ada)
    _, early = await read(feed, ada)
    for _ in range(3):
        await tombstone(pool, ada, "memory", uuid4())
    _, late = await read(feed, ada)
    kept = uuid4()
    await tombstone(pool, ada, "memory", kept)
    await pool.execute(
        "UPDATE tombstones SET created_at = now() - interval '181 days' WHERE record_id <> $1", kept
    )
    assert not (await feed.changes(ada.account_id, early, 100)).reset
    assert await feed.forget(TOMBSTONE_SECONDS, 2) == 2
    assert await feed.forget(TOMBSTONE_SECONDS, 2) == 1
    assert await feed.forget(TOMBSTONE_SECONDS, 2) == 0
    page = await feed.changes(ada.account_id, early, 100)
    assert page.reset
    assert [item.id for item in memories_of(page)] == [memory]
    page = await feed.changes(ada.account_id, late, 100)
    assert not page.reset
    assert [item.id for item in page.items] == [kept]
    assert not (await feed.changes(ada.account_id, await feed.cursor(), 100)).reset


async def test_a_reading_that_began_before_a_removed_tombstone_starts_over_in_its_midst(
    pool: asyncpg.Pool, feed: Feed, ada: Author
) -> None:
    _, start = await read(feed, ada)
    memories = [await add_memory(pool, ada) for _ in range(2)]
    await tombstone(pool, ada, "memory", uuid4())
    memories += [await add_memory(pool, ada) for _ in range(2)]
    page = await feed.changes(ada.account_id, start, 1)
    fresh = await feed.changes(ada.account_id, None, 1)
    assert page.more
    assert await feed.forget(0, 10) == 1
    # It would have come on a page behind this one.
    assert (await feed.changes(ada.account_id, page.cursor, 1)).reset
    # Who began with nothing did not need it.
    ids: list[UUID] = []
    while fresh.more:
        fresh = await feed.changes(ada.account_id, fresh.cursor, 1)
        assert not fresh.reset
        ids += [item.id for item in fresh.items]
    assert ids == memories


async def test_every_source_is_news_to_those_it_concerns(pool: asyncpg.Pool, feed: Feed) -> None:
    accounts, categories = Accounts(pool), CategoryRows(pool)
    users = [
        (await accounts.create(email=f"{name}@example.com", password_hash=None)).id
        for name in ("ada", "bob", "eve", "joe")
    ]
    floor = await feed.floor()
    assert await feed.changed(users, floor) == []
    [first, *_] = await categories.list(users[0])
    await categories.update(users[0], first.id, {"name": "x"})
    await tombstone(pool, Author(users[1]), "file", uuid4())
    await pool.execute("UPDATE users SET is_verified = true WHERE id = $1", users[2])
    assert set(await feed.changed(users, floor)) == set(users[:3])
