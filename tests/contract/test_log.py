"""What any `Log` promises. Another implementation joins by a parameter of `backend`."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.log import Author, Authorship, Entry, Outcome, Projection, Snapshot
from storage.memories import MemoryRows
from storage.updates import UpdateLog
from sync.interfaces import Log
from tests.rows import add_member, add_memory, add_person, delete_memory


class PostgresBackend:
    """A log in PostgreSQL, and what it takes to set a scene in it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.log: Log = UpdateLog(pool, MemoryRows(pool))

    async def person(self) -> Author:
        return await add_person(self.pool)

    async def memory(self, owner: Author, **members: Author) -> UUID:
        return await add_memory(self.pool, owner, **members)

    async def dismiss(self, memory_id: UUID, member: Author) -> None:
        await self.pool.execute(
            "DELETE FROM memberships WHERE memory_id = $1 AND user_id = $2",
            memory_id,
            member.account_id,
        )

    async def admit(self, memory_id: UUID, member: Author) -> None:
        await add_member(self.pool, memory_id, member, "editor")

    async def delete(self, memory_id: UUID) -> None:
        await delete_memory(self.pool, memory_id)

    async def age(self, memory_id: UUID, offsets: Sequence[int], days: int) -> None:
        await self.pool.execute(
            """
            UPDATE document_updates SET written_at = now() - make_interval(days => $3)
            WHERE document_id = $1 AND log_offset = ANY ($2)
            """,
            memory_id,
            offsets,
            days,
        )

    async def authors(self, memory_id: UUID) -> list[tuple[int, int, int, str | None]]:
        rows = await self.pool.fetch(
            """
            SELECT client, clock_from, clock_to, device_id FROM document_authors
            WHERE document_id = $1 ORDER BY client, clock_from
            """,
            memory_id,
        )
        return [tuple(row) for row in rows]


@pytest.fixture(params=[PostgresBackend])
def backend(request: pytest.FixtureRequest, pool: asyncpg.Pool) -> PostgresBackend:
    made: PostgresBackend = request.param(pool)
    return made


@pytest.fixture
def log(backend: PostgresBackend) -> Log:
    return backend.log


async def put(log: Log, memory_id: UUID, author: Author, *payloads: bytes) -> list[int | None]:
    outcomes = await log.commit([Entry(memory_id, author, payload) for payload in payloads])
    return [outcome.offset for outcome in outcomes]


async def test_a_new_log_is_empty_and_has_an_epoch(backend: PostgresBackend, log: Log) -> None:
    memory = await backend.memory(await backend.person())
    standing = await log.standing(memory)
    assert standing is not None
    assert str(UUID(standing.epoch)) == standing.epoch
    assert (standing.head, standing.tail, standing.snapshot_offset) == (0, [], 0)
    assert (standing.deleted, standing.state, standing.clients) == (False, None, {})


async def test_a_log_that_is_not_there_stands_nowhere(log: Log) -> None:
    assert await log.standing(uuid4()) is None
    assert await log.head(uuid4()) == 0
    assert await log.content(uuid4(), 0) == (None, [])


async def test_entries_get_consecutive_offsets_in_their_order(
    backend: PostgresBackend, log: Log
) -> None:
    ada = await backend.person()
    memory = await backend.memory(ada)
    assert await put(log, memory, ada, b"a", b"b", b"c") == [1, 2, 3]
    assert await put(log, memory, ada, b"d") == [4]
    assert await log.read(memory, 0) == [(1, b"a"), (2, b"b"), (3, b"c"), (4, b"d")]
    assert await log.head(memory) == 4


async def test_entries_of_several_documents_are_counted_apart(
    backend: PostgresBackend, log: Log
) -> None:
    ada = await backend.person()
    first, second = await backend.memory(ada), await backend.memory(ada)
    order = [first, second, first, second, second]
    outcomes = await log.commit([Entry(memory, ada, b"x") for memory in order])
    assert [outcome.offset for outcome in outcomes] == [1, 1, 2, 2, 3]


async def test_a_commit_of_nothing_is_none(log: Log) -> None:
    assert await log.commit([]) == []


async def test_each_reason_to_refuse_has_its_outcome(backend: PostgresBackend, log: Log) -> None:
    ada, viewer, stranger = [await backend.person() for _ in range(3)]
    editor, commenter = await backend.person(), await backend.person()
    memory = await backend.memory(ada, viewer=viewer, editor=editor, commenter=commenter)
    deleted = await backend.memory(ada)
    await backend.delete(deleted)

    async def outcome(memory_id: UUID, author: Author) -> Outcome:
        [committed] = await log.commit([Entry(memory_id, author, b"x")])
        assert (committed.offset is not None) == (committed.outcome is Outcome.COMMITTED)
        return committed.outcome

    assert await outcome(uuid4(), ada) is Outcome.NOT_FOUND
    assert await outcome(deleted, ada) is Outcome.GONE
    assert await outcome(memory, stranger) is Outcome.FORBIDDEN
    assert await outcome(memory, viewer) is Outcome.FORBIDDEN
    assert await outcome(memory, commenter) is Outcome.FORBIDDEN
    assert await outcome(memory, editor) is Outcome.COMMITTED
    assert await outcome(memory, ada) is Outcome.COMMITTED
    assert await log.head(deleted) == 0


async def test_a_message_needs_the_right_to_comment_alone(
    backend: PostgresBackend, log: Log
) -> None:
    ada, viewer, stranger = [await backend.person() for _ in range(3)]
    editor, commenter = await backend.person(), await backend.person()
    memory = await backend.memory(ada, viewer=viewer, editor=editor, commenter=commenter)
    deleted = await backend.memory(ada, commenter=commenter)
    await backend.delete(deleted)

    def entry(memory_id: UUID, author: Author, client: int = 7) -> Entry:
        commenting = Author(author.account_id, author.device_id, commenting=True)
        claims = ((client, author.account_id),)
        return Entry(memory_id, commenting, b"x", claims, Projection(None, None, {}, [], {}, []))

    async def outcomes(*entries: Entry) -> list[Outcome]:
        committed = await log.commit(entries)
        assert all((c.offset is None) != (c.outcome is Outcome.COMMITTED) for c in committed)
        return [c.outcome for c in committed]

    for number, author in enumerate((ada, editor, commenter)):
        assert await outcomes(entry(memory, author, number)) == [Outcome.COMMITTED]
    for author in (viewer, stranger):
        assert await outcomes(entry(memory, author)) == [Outcome.FORBIDDEN]
    assert await outcomes(entry(deleted, commenter)) == [Outcome.GONE]
    assert await outcomes(entry(uuid4(), ada)) == [Outcome.FORBIDDEN]
    assert await outcomes(entry(memory, commenter, 0)) == [Outcome.CLIENT_ID_TAKEN]
    # Whoever is refused takes those beside it along, and no other document.
    other = await backend.memory(ada)
    beside = Entry(memory, ada, b"x"), Entry(other, ada, b"x")
    assert await outcomes(entry(memory, viewer), *beside) == [
        Outcome.FORBIDDEN,
        Outcome.AGAIN,
        Outcome.COMMITTED,
    ]
    # An editor's own update is refused when it is no editor any more; the message is not.
    bad = Entry(memory, commenter, b"x")
    assert await outcomes(entry(memory, commenter), bad) == [Outcome.AGAIN, Outcome.FORBIDDEN]
    assert await log.head(memory) == 3


async def test_the_right_to_write_is_looked_up_at_each_commit(
    backend: PostgresBackend, log: Log
) -> None:
    ada, bob = await backend.person(), await backend.person()
    memory = await backend.memory(ada)
    await backend.admit(memory, bob)
    assert await put(log, memory, bob, b"x") == [1]
    await backend.dismiss(memory, bob)
    assert await put(log, memory, bob, b"y") == [None]
    assert await log.role(memory, bob.account_id) is None


async def test_a_refused_update_takes_those_beside_it_along_but_no_other_document(
    backend: PostgresBackend, log: Log
) -> None:
    ada, stranger = await backend.person(), await backend.person()
    memory, other = await backend.memory(ada), await backend.memory(ada)
    outcomes = await log.commit(
        [
            Entry(memory, ada, b"before"),
            Entry(other, ada, b"elsewhere"),
            Entry(memory, stranger, b"bad"),
            Entry(memory, ada, b"behind"),
        ]
    )
    assert [outcome.outcome for outcome in outcomes] == [
        Outcome.AGAIN,
        Outcome.COMMITTED,
        Outcome.FORBIDDEN,
        Outcome.AGAIN,
    ]
    assert await log.head(memory) == 0
    assert await log.head(other) == 1


async def test_a_client_id_belongs_to_the_first_account_that_claims_it(
    backend: PostgresBackend, log: Log
) -> None:
    ada, bob = await backend.person(), await backend.person()
    memory = await backend.memory(ada, editor=bob)
    claim = ((7, ada.account_id), (2**53 - 1, ada.account_id))
    [first] = await log.commit([Entry(memory, ada, b"x", claim)])
    assert first.outcome is Outcome.COMMITTED
    [second] = await log.commit([Entry(memory, bob, b"y", ((7, bob.account_id),))])
    assert second.outcome is Outcome.CLIENT_ID_TAKEN
    [again] = await log.commit([Entry(memory, ada, b"z", ((7, ada.account_id),))])
    assert again.offset == 2
    standing = await log.standing(memory)
    assert standing is not None
    assert standing.clients == {7: ada.account_id, 2**53 - 1: ada.account_id}


async def test_the_server_owns_a_client_id_like_an_account_does(
    backend: PostgresBackend, log: Log
) -> None:
    ada = await backend.person()
    memory = await backend.memory(ada)
    await log.commit([Entry(memory, ada, b"x", ((7, None),))])
    [taken] = await log.commit([Entry(memory, ada, b"y", ((7, ada.account_id),))])
    assert taken.outcome is Outcome.CLIENT_ID_TAKEN
    standing = await log.standing(memory)
    assert standing is not None
    assert standing.clients == {7: None}


async def test_a_claim_of_a_refused_update_is_not_kept(backend: PostgresBackend, log: Log) -> None:
    ada, stranger = await backend.person(), await backend.person()
    memory = await backend.memory(ada)
    await log.commit([Entry(memory, stranger, b"x", ((7, stranger.account_id),))])
    [committed] = await log.commit([Entry(memory, ada, b"y", ((7, ada.account_id),))])
    assert committed.outcome is Outcome.COMMITTED


async def test_commits_at_once_leave_no_gap_and_keep_each_writers_order(
    backend: PostgresBackend, log: Log
) -> None:
    ada = await backend.person()
    memories = [await backend.memory(ada) for _ in range(3)]
    landed: dict[UUID, dict[int, bytes]] = {memory: {} for memory in memories}

    async def write(writer: int) -> None:
        for number in range(15):
            waiting = [(memory, b"%d:%d" % (writer, number)) for memory in memories]
            while waiting:  # a document another transaction holds is to be tried again
                outcomes = await log.commit([Entry(memory, ada, p) for memory, p in waiting])
                for (memory, payload), outcome in zip(waiting, outcomes, strict=True):
                    if outcome.offset is not None:
                        landed[memory][outcome.offset] = payload
                waiting = [
                    entry
                    for entry, outcome in zip(waiting, outcomes, strict=True)
                    if outcome.outcome is Outcome.LOCKED
                ]

    await asyncio.gather(*(write(writer) for writer in range(6)))
    for memory in memories:
        rows = await log.read(memory, 0)
        assert [offset for offset, _ in rows] == list(range(1, 91))
        assert dict(rows) == landed[memory]
        for writer in range(6):
            own = [p for _, p in rows if p.startswith(b"%d:" % writer)]
            assert own == [b"%d:%d" % (writer, number) for number in range(15)]


async def test_a_read_is_bounded_but_brings_at_least_one(
    backend: PostgresBackend, log: Log
) -> None:
    ada = await backend.person()
    memory = await backend.memory(ada)
    await put(log, memory, ada, b"x" * 1000, b"y" * 10, b"z" * 10, b"w" * 10)
    assert [offset for offset, _ in await log.read(memory, 0, max_bytes=10)] == [1]
    assert [offset for offset, _ in await log.read(memory, 1, max_bytes=15)] == [2, 3]
    assert [offset for offset, _ in await log.read(memory, 1, up_to=3)] == [2, 3]
    assert await log.read(memory, 4) == []


async def test_content_without_a_snapshot_is_the_rows_behind_the_offset(
    backend: PostgresBackend, log: Log
) -> None:
    ada = await backend.person()
    memory = await backend.memory(ada)
    await put(log, memory, ada, b"a", b"b", b"c")
    assert await log.content(memory, 0) == (None, [(1, b"a"), (2, b"b"), (3, b"c")])
    assert await log.content(memory, 2) == (None, [(3, b"c")])
    assert await log.content(memory, 3) == (None, [])


async def test_content_takes_the_cheaper_of_snapshot_and_rows(
    backend: PostgresBackend, log: Log
) -> None:
    ada = await backend.person()
    memory = await backend.memory(ada)
    await put(log, memory, ada, b"a" * 100, b"b" * 100, b"c" * 5, b"d" * 5)
    snapshot = Snapshot(3, b"s" * 50, b"state")
    assert await log.save_snapshot(memory, snapshot)
    assert await log.content(memory, 0) == (snapshot, [(4, b"ddddd")])
    assert await log.content(memory, 2) == (None, [(3, b"ccccc"), (4, b"ddddd")])
    assert await log.content(memory, 4) == (None, [])


async def test_a_snapshot_gives_way_to_newer_ones_only(backend: PostgresBackend, log: Log) -> None:
    ada = await backend.person()
    memory = await backend.memory(ada)
    await put(log, memory, ada, b"a", b"b", b"c")
    assert await log.save_snapshot(memory, Snapshot(2, b"two", b""))
    assert not await log.save_snapshot(memory, Snapshot(1, b"one", b""))
    assert not await log.save_snapshot(memory, Snapshot(2, b"other", b""))
    assert not await log.save_snapshot(memory, Snapshot(9, b"past the head", b""))
    standing = await log.standing(memory)
    assert standing is not None
    assert (standing.snapshot_offset, standing.snapshot_bytes) == (2, 3)
    assert (standing.tail, standing.state) == ([b"c"], b"")
    assert await log.save_snapshot(memory, Snapshot(3, b"three", b"s"))


def sent(client: int, start: int, end: int, author: Author) -> Authorship:
    return Authorship(client, start, end, author.account_id, author.device_id, datetime.now(UTC))


async def test_only_what_a_snapshot_has_and_is_old_can_be_trimmed(
    backend: PostgresBackend, log: Log
) -> None:
    ada = await backend.person()
    memory = await backend.memory(ada)
    await put(log, memory, ada, b"a", b"b", b"c", b"d")
    await backend.age(memory, [1, 2, 3], days=30)
    week = 7 * 86400.0
    assert await log.trimmable(memory, week) == []
    assert await log.overgrown(week, 10) == []
    await log.save_snapshot(memory, Snapshot(2, b"ab", b""))
    assert [row.offset for row in await log.trimmable(memory, week)] == [1, 2]
    assert await log.overgrown(week, 10) == [memory]
    assert await log.overgrown(365 * 86400.0, 10) == []


async def test_old_rows_that_outweigh_their_snapshot_are_named(
    backend: PostgresBackend, log: Log
) -> None:
    ada = await backend.person()
    small, large, fresh = [await backend.memory(ada) for _ in range(3)]
    week = 7 * 86400.0
    for memory in (small, large, fresh):
        await put(log, memory, ada, b"x" * 500, b"y" * 500)
    for memory in (small, large):
        await backend.age(memory, [1, 2], days=30)
    await log.save_snapshot(large, Snapshot(1, b"z" * 2000, b""))

    async def named(least: int, share: float) -> set[UUID]:
        return set(await log.unfolded(week, 10, least=least, share=share))

    assert await named(1000, 0.25) == {small}  # all of it; of the other 580 bytes
    assert await named(500, 0.25) == {small, large}
    assert await named(500, 0.5) == {small}
    assert await named(5000, 0.25) == set()
    await log.save_snapshot(large, Snapshot(2, b"z" * 2000, b""))
    assert await named(500, 0.0) == {small}


async def test_an_old_row_behind_a_young_one_stays(backend: PostgresBackend, log: Log) -> None:
    ada = await backend.person()
    memory = await backend.memory(ada)
    await put(log, memory, ada, b"a", b"b", b"c")
    await log.save_snapshot(memory, Snapshot(3, b"abc", b""))
    await backend.age(memory, [1, 3], days=30)
    assert [row.offset for row in await log.trimmable(memory, 7 * 86400.0)] == [1]


async def test_a_trimmed_log_opens_with_the_snapshot_whatever_the_device_has(
    backend: PostgresBackend, log: Log
) -> None:
    ada = await backend.person()
    memory = await backend.memory(ada)
    await put(log, memory, ada, b"a", b"b", b"c")
    snapshot = Snapshot(2, b"a snapshot larger than what it replaces", b"")
    await log.save_snapshot(memory, snapshot)
    await log.trim(memory, 2, [])
    assert await log.read(memory, 0) == [(3, b"c")]
    for offset in (0, 1):
        assert await log.content(memory, offset) == (snapshot, [(3, b"c")])
    assert await log.content(memory, 2) == (None, [(3, b"c")])
    standing = await log.standing(memory)
    assert standing is not None
    assert (standing.head, standing.tail) == (3, [b"c"])


async def test_nothing_is_trimmed_past_the_snapshot(backend: PostgresBackend, log: Log) -> None:
    ada = await backend.person()
    memory = await backend.memory(ada)
    await put(log, memory, ada, b"a", b"b", b"c")
    await log.trim(memory, 2, [sent(1, 0, 5, ada)])
    await log.save_snapshot(memory, Snapshot(1, b"a", b""))
    await log.trim(memory, 2, [sent(1, 0, 5, ada)])
    assert len(await log.read(memory, 0)) == 3
    assert await backend.authors(memory) == []


async def test_clocks_sent_again_stay_their_first_authors(
    backend: PostgresBackend, log: Log
) -> None:
    ada = await backend.person()
    phone, laptop = Author(ada.account_id, "phone"), Author(ada.account_id, "laptop")
    memory = await backend.memory(ada)
    await put(log, memory, ada, b"a", b"b", b"c")
    await log.save_snapshot(memory, Snapshot(3, b"abc", b""))
    await log.trim(memory, 1, [sent(1, 0, 5, phone)])
    await log.trim(memory, 2, [sent(1, 0, 5, laptop), sent(1, 5, 8, phone), sent(1, 0, 11, laptop)])
    # A second node, with rows that it read before the first one trimmed them.
    await log.trim(memory, 3, [sent(1, 0, 5, phone), sent(1, 5, 8, phone), sent(1, 2, 12, laptop)])
    assert await backend.authors(memory) == [
        (1, 0, 5, "phone"),
        (1, 5, 8, "phone"),
        (1, 8, 11, "laptop"),
        (1, 11, 12, "laptop"),
    ]


async def test_two_nodes_that_trim_at_once_lose_no_author(
    backend: PostgresBackend, log: Log
) -> None:
    ada = await backend.person()
    memory = await backend.memory(ada)
    await put(log, memory, ada, *[b"x"] * 20)
    await log.save_snapshot(memory, Snapshot(20, b"s", b""))
    await asyncio.gather(*(log.trim(memory, up, [sent(1, 0, up, ada)]) for up in range(20, 0, -1)))
    authors = await backend.authors(memory)
    assert [start for _, start, _, _ in authors] == [0, *(end for _, _, end, _ in authors[:-1])]
    assert authors[-1][2] == 20
