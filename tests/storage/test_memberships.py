"""Memberships: what the owner may change, what others may not, and what is left behind."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author, Entry, Outcome
from protocol.memories import ListMemories, PrivacyLevel
from protocol.sharing import SharedRole
from storage.feed import Feed
from storage.invitations import Invitations
from storage.memberships import MAX_MEMBERS, Memberships
from storage.memories import MemoryRows
from storage.updates import UpdateLog
from tests.rows import add_member, add_memory, add_person, delete_memory

NOBODY = uuid4()


@pytest.fixture
def memberships(pool: asyncpg.Pool) -> Memberships:
    return Memberships(pool)


@pytest.fixture
def log(pool: asyncpg.Pool) -> UpdateLog:
    return UpdateLog(pool, MemoryRows(pool))


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


@pytest.fixture
async def bob(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


@pytest.fixture
async def eve(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


@pytest.fixture
async def memory(pool: asyncpg.Pool, ada: Author, bob: Author) -> UUID:
    """Ada's, with Bob as its editor."""
    return await add_memory(pool, ada, editor=bob)


async def code(call: Awaitable[Any]) -> ErrorCode:
    with pytest.raises(MemoError) as refused:
        await call
    return refused.value.code


async def tombstones(pool: asyncpg.Pool, who: Author) -> list[UUID]:
    rows = await pool.fetch(
        "SELECT record_id FROM tombstones WHERE user_id = $1 AND kind = 'memory'", who.account_id
    )
    return [row[0] for row in rows]


async def roles(pool: asyncpg.Pool, memory: UUID) -> dict[UUID, str]:
    rows = await pool.fetch("SELECT user_id, role FROM memberships WHERE memory_id = $1", memory)
    return {row[0]: row[1] for row in rows}


async def test_only_the_owner_is_told_the_addresses_of_members(
    memberships: Memberships, memory: UUID, ada: Author, bob: Author, eve: Author
) -> None:
    role, members = await memberships.members(memory, ada.account_id)
    assert role == "owner"
    assert [(member.user_id, member.role) for member in members] == [
        (ada.account_id, "owner"),
        (bob.account_id, "editor"),
    ]
    assert members[1].email == f"{bob.account_id}@example.com"
    role, members = await memberships.members(memory, bob.account_id)
    assert role == "editor"
    assert [member.email for member in members] == [None, None]
    assert await code(memberships.members(memory, eve.account_id)) is ErrorCode.NOT_FOUND
    assert await code(memberships.members(NOBODY, ada.account_id)) is ErrorCode.NOT_FOUND


async def test_a_role_is_the_owners_to_change(
    pool: asyncpg.Pool, memberships: Memberships, memory: UUID, ada: Author, bob: Author
) -> None:
    eve = await add_person(pool)
    first = await memberships.set_role(memory, ada.account_id, bob.account_id, "viewer")
    assert first.role == "viewer"
    changed = "SELECT changed_xid FROM memberships WHERE user_id = $1"
    xid = await pool.fetchval(changed, bob.account_id)
    assert await memberships.set_role(memory, ada.account_id, bob.account_id, "viewer") == first
    assert await pool.fetchval(changed, bob.account_id) == xid

    def change(by: Author, of: Author) -> Awaitable[Any]:
        return memberships.set_role(memory, by.account_id, of.account_id, "editor")

    assert await code(change(bob, bob)) is ErrorCode.FORBIDDEN
    assert await code(change(bob, ada)) is ErrorCode.FORBIDDEN
    assert await code(change(eve, bob)) is ErrorCode.NOT_FOUND
    assert await code(change(ada, ada)) is ErrorCode.CONFLICT
    assert await code(change(ada, eve)) is ErrorCode.NOT_FOUND
    await delete_memory(pool, memory)
    assert await code(change(ada, bob)) is ErrorCode.GONE
    assert (await roles(pool, memory))[bob.account_id] == "viewer"


async def test_who_is_removed_has_a_tombstone_in_place_of_the_memory(
    pool: asyncpg.Pool, memberships: Memberships, memory: UUID, ada: Author, bob: Author
) -> None:
    eve = await add_person(pool)
    assert await code(memberships.remove(memory, bob.account_id, ada.account_id)) is (
        ErrorCode.FORBIDDEN
    )
    assert await code(memberships.remove(memory, eve.account_id, bob.account_id)) is (
        ErrorCode.NOT_FOUND
    )
    assert await code(memberships.remove(memory, ada.account_id, ada.account_id)) is (
        ErrorCode.CONFLICT
    )
    feed = Feed(pool)
    cursor = await feed.cursor()
    assert await memberships.remove(memory, ada.account_id, bob.account_id)
    assert await tombstones(pool, bob) == [memory]
    [item] = (await feed.changes(bob.account_id, cursor, 10)).items
    assert (item.kind, item.id, item.deleted) == ("memory", memory, True)
    # A retry answers as the first time, and so does the removal of one who never was there.
    assert not await memberships.remove(memory, ada.account_id, bob.account_id)
    assert not await memberships.remove(memory, ada.account_id, eve.account_id)
    assert await tombstones(pool, eve) == []


async def test_who_leaves_again_is_buried_anew(
    pool: asyncpg.Pool, memberships: Memberships, memory: UUID, bob: Author
) -> None:
    assert await memberships.leave(memory, bob.account_id)
    first = await pool.fetchval("SELECT changed_xid FROM tombstones")
    assert not await memberships.leave(memory, bob.account_id)
    assert await pool.fetchval("SELECT changed_xid FROM tombstones") == first
    await add_member(pool, memory, bob, "viewer")
    assert await memberships.leave(memory, bob.account_id)
    assert await pool.fetchval("SELECT changed_xid > $1::text::xid8 FROM tombstones", str(first))


async def test_leaving_tells_nobody_what_there_is(
    pool: asyncpg.Pool, memberships: Memberships, memory: UUID, ada: Author, eve: Author
) -> None:
    assert not await memberships.leave(memory, eve.account_id)
    assert not await memberships.leave(NOBODY, eve.account_id)
    assert await tombstones(pool, eve) == []
    assert await code(memberships.leave(memory, ada.account_id)) is ErrorCode.CONFLICT


async def test_a_memory_in_the_trash_can_be_left_and_loses_members(
    pool: asyncpg.Pool, memberships: Memberships, memory: UUID, ada: Author, bob: Author
) -> None:
    eve = await add_person(pool)
    await add_member(pool, memory, eve, "viewer")
    await delete_memory(pool, memory)
    assert await memberships.leave(memory, eve.account_id)
    assert await memberships.remove(memory, ada.account_id, bob.account_id)
    assert list(await roles(pool, memory)) == [ada.account_id]


async def test_a_memory_changes_hands_whole(
    pool: asyncpg.Pool, memberships: Memberships, memory: UUID, ada: Author, bob: Author
) -> None:
    eve = await add_person(pool)
    await add_member(pool, memory, eve, "viewer")
    feed = Feed(pool)
    cursors = {who: await feed.cursor() for who in (ada, bob, eve)}

    def transfer(by: Author, to: Author) -> Any:
        return memberships.transfer(memory, by.account_id, to.account_id)

    assert await code(transfer(bob, eve)) is ErrorCode.FORBIDDEN
    assert await code(transfer(ada, await add_person(pool))) is ErrorCode.NOT_FOUND
    told = await transfer(ada, bob)
    assert set(told) == {ada.account_id, bob.account_id, eve.account_id}
    assert await transfer(ada, bob) == []
    assert await roles(pool, memory) == {
        ada.account_id: "editor",
        bob.account_id: "owner",
        eve.account_id: "viewer",
    }
    for who, cursor in cursors.items():
        [item] = (await feed.changes(who.account_id, cursor, 10)).items
        assert item.memory is not None
        assert (item.id, item.memory.user_id) == (memory, bob.account_id)
        # Edits reach the feeds of old and new owner alike.
        last = await feed.cursor()
        await UpdateLog(pool, MemoryRows(pool)).commit([Entry(memory, bob, b"1")])
        assert len((await feed.changes(who.account_id, last, 10)).items) == 1
    assert await code(memberships.leave(memory, bob.account_id)) is ErrorCode.CONFLICT
    assert await memberships.leave(memory, ada.account_id)


async def test_private_again_ends_all_that_is_not_the_owners(
    pool: asyncpg.Pool, memberships: Memberships, memory: UUID, ada: Author, bob: Author
) -> None:
    await pool.execute(
        "INSERT INTO invitations (id, memory_id, invited_by, role, email)"
        " VALUES ($1, $2, $3, 'viewer', 'x@example.com')",
        uuid4(),
        memory,
        ada.account_id,
    )
    assert await code(memberships.set_privacy(memory, bob.account_id, "public")) is (
        ErrorCode.FORBIDDEN
    )
    followers = await memberships.set_privacy(memory, ada.account_id, "private")
    assert set(followers) == {ada.account_id, bob.account_id}
    assert list(await roles(pool, memory)) == [ada.account_id]
    assert await tombstones(pool, bob) == [memory]
    assert await tombstones(pool, ada) == []
    assert await pool.fetchval("SELECT outcome FROM invitations") == "revoked"
    assert await memberships.set_privacy(memory, ada.account_id, "private") == [ada.account_id]


async def test_a_privacy_level_is_in_every_members_feed(
    pool: asyncpg.Pool, memberships: Memberships, memory: UUID, ada: Author, bob: Author
) -> None:
    feed = Feed(pool)
    cursor = await feed.cursor()
    await memberships.set_privacy(memory, ada.account_id, "public")
    for who in (ada, bob):
        [item] = (await feed.changes(who.account_id, cursor, 10)).items
        assert item.memory is not None
        assert item.memory.privacy_level == "public"


async def test_a_public_memory_can_be_read_by_who_knows_it_and_is_in_nobodys_lists(
    pool: asyncpg.Pool, log: UpdateLog, memory: UUID, ada: Author, bob: Author
) -> None:
    rows, memberships, eve = MemoryRows(pool), Memberships(pool), await add_person(pool)
    assert await log.role(memory, eve.account_id) is None
    assert await code(rows.get(memory, eve.account_id)) is ErrorCode.NOT_FOUND
    await memberships.set_privacy(memory, ada.account_id, "public")
    pairs = [(memory, who.account_id) for who in (eve, ada, bob)]
    assert [await log.role(*pair) for pair in pairs] == ["viewer", "owner", "editor"]
    assert await log.roles([*pairs, (NOBODY, eve.account_id)]) == [
        "viewer",
        "owner",
        "editor",
        None,
    ]
    seen = await rows.get(memory, eve.account_id)
    assert (seen.role, seen.is_favorite, seen.category_id) == ("viewer", False, None)
    assert (await rows.list(eve.account_id, ListMemories())).memories == []
    listed = (await Feed(pool).changes(eve.account_id, None, 10)).items
    assert [item.kind for item in listed] == ["account"]
    mark = rows.mark(memory, eve.account_id, {"is_favorite": True})
    assert await code(mark) is ErrorCode.FORBIDDEN
    assert await code(memberships.members(memory, eve.account_id)) is ErrorCode.FORBIDDEN
    assert await code(memberships.set_privacy(memory, eve.account_id, "private")) is (
        ErrorCode.FORBIDDEN
    )
    [refused] = await log.commit([Entry(memory, eve, b"1")])
    assert refused.outcome is Outcome.FORBIDDEN
    await memberships.set_privacy(memory, ada.account_id, "shared")
    assert await log.roles(pairs) == [None, "owner", "editor"]


async def test_once_a_role_is_answered_nothing_is_committed_under_the_old_one(
    pool: asyncpg.Pool, log: UpdateLog, memory: UUID, ada: Author, bob: Author
) -> None:
    async with pool.acquire() as committing, committing.transaction():
        # A commit of Bob's that has found him an editor, and is not through.
        await committing.execute("UPDATE documents SET head = head + 1 WHERE id = $1", memory)
        demoting = asyncio.create_task(
            Memberships(pool).set_role(memory, ada.account_id, bob.account_id, "viewer")
        )
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while not await pool.fetchval(waiting):  # noqa: ASYNC110 (it waits within PostgreSQL)
            await asyncio.sleep(0)
        assert not demoting.done()
    assert (await demoting).role == "viewer"
    [refused] = await log.commit([Entry(memory, bob, b"1")])
    assert refused.outcome is Outcome.FORBIDDEN


async def test_members_have_room_for_so_many(
    pool: asyncpg.Pool, memberships: Memberships, memory: UUID, ada: Author
) -> None:
    await pool.execute(
        """
        WITH people AS (
            INSERT INTO users (email) SELECT n || '@crowd.example.com' FROM generate_series(1, $2) n
            RETURNING id
        )
        INSERT INTO memberships (memory_id, user_id, role) SELECT $1, id, 'viewer' FROM people
        """,
        memory,
        MAX_MEMBERS - 2,
    )
    assert len((await memberships.members(memory, ada.account_id))[1]) == MAX_MEMBERS
    assert len(await memberships.set_privacy(memory, ada.account_id, "private")) == MAX_MEMBERS
    assert list(await roles(pool, memory)) == [ada.account_id]


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_done_at_once_there_is_one_owner_and_no_member_is_buried(
    pool: asyncpg.Pool, memory: UUID, ada: Author, bob: Author, seed: int
) -> None:
    random = Random(seed)
    memberships, invitations = Memberships(pool), Invitations(pool, verified_only=False)
    people = [each.account_id for each in (ada, bob, *[await add_person(pool) for _ in range(3)])]
    tokens: list[bytes] = []

    async def link(who: UUID, role: SharedRole) -> None:
        tokens.append(b"%d" % len(tokens))
        await invitations.link(memory, who, uuid4(), role, tokens[-1], expires_at=None, max_uses=2)

    def draw() -> Awaitable[Any]:
        who, other = random.choice(people), random.choice(people)
        role: SharedRole = random.choice(("editor", "commenter", "viewer"))
        level: PrivacyLevel = random.choice(("private", "shared", "public", "shared", "public"))
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: memberships.leave(memory, who),
            lambda: memberships.remove(memory, who, other),
            lambda: memberships.set_role(memory, who, other, role),
            lambda: memberships.transfer(memory, who, other),
            lambda: memberships.set_privacy(memory, who, level),
            lambda: invitations.accept(who, token_hash=random.choice(tokens)),
            lambda: invitations.accept(who, token_hash=tokens[-1]),
            lambda: link(who, role),
        ]
        return random.choice(calls)()

    await link(ada.account_id, "editor")  # and shared it is
    done = 0
    for _ in range(15):
        answers = await asyncio.gather(*(draw() for _ in range(8)), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                assert isinstance(answer, MemoError), answer
            else:
                done += 1
        held = await roles(pool, memory)
        [owner] = [user_id for user_id, role in held.items() if role == "owner"]
        assert await pool.fetchval("SELECT user_id FROM memories") == owner
        assert await pool.fetchval("SELECT owner_id FROM documents") == owner
        buried = {row[0] for row in await pool.fetch("SELECT user_id FROM tombstones")}
        assert not buried & held.keys()
        if await pool.fetchval("SELECT privacy_level FROM memories") == "private":
            assert list(held) == [owner]
    assert done > 15
