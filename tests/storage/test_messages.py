"""Messages as rows: whose they are, paging, files, read marks, and writing only what changed."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from msgspec.structs import replace

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author, Known, Message, Projection
from protocol.records import timestamp
from storage.files import FileRows
from storage.memories import MemoryRows
from storage.messages import MAX_UNREAD, MessageRows
from tests.rows import add_member, add_memory, add_person

START = datetime(2026, 1, 31, tzinfo=UTC)
SERVER = 1  # the Yjs client ids of these tests' documents
ADA, BOB = 2, 3


class Stage:
    """A memory of Ada's that Bob may edit. Each of them owns a Yjs client id, and the server."""

    def __init__(self, pool: asyncpg.Pool, memory: UUID, ada: Author, bob: Author) -> None:
        self.pool = pool
        self.memory = memory
        self.ada = ada.account_id
        self.bob = bob.account_id
        self.rows = MessageRows(pool)
        self.memories = MemoryRows(pool)
        self.offset = 0

    async def save(self, *messages: Message, **fields: Any) -> bool:
        self.offset += 1
        projection = Projection(None, None, {}, [], {}, list(messages), **fields)
        return (await self.memories.save(self.memory, projection, self.offset)).whole

    async def contents(self, **query: Any) -> list[str]:
        empty: dict[str, Any] = {"page": 1, "limit": 100, "before": None, "after": None}
        page = await self.rows.list(self.memory, **{**empty, **query})
        return [message.content for message in page.messages]

    async def unread(self, account_id: UUID) -> int:
        return (await self.memories.get(self.memory, account_id)).unread_count


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> Stage:
    ada, bob = await add_person(pool), await add_person(pool)
    memory = await add_memory(pool, ada, editor=bob)
    await pool.executemany(
        "INSERT INTO document_clients VALUES ($1, $2, $3)",
        [(memory, SERVER, None), (memory, ADA, ada.account_id), (memory, BOB, bob.account_id)],
    )
    return Stage(pool, memory, ada, bob)


def message(content: str, client: int | None = ADA, **fields: Any) -> Message:
    empty: dict[str, Any] = {
        "id": uuid4(),
        "message_type": "text",
        "user_id": None,
        "parent_message_id": None,
        "metadata": None,
        "attachments": None,
        "is_ai_generated": False,
        "status": "sent",
        "created_at": None,
        "digest": content.encode().ljust(8)[:8],
        "attached_by": client,
    }
    return Message(content=content, client=client, **{**empty, **fields})


async def add_file(pool: asyncpg.Pool, owner: UUID, memory_id: UUID | None = None) -> UUID:
    file_id: UUID = await pool.fetchval(
        """
        INSERT INTO files (user_id, memory_id, filename, original_filename, file_type, file_size,
            sha256, storage_path) VALUES ($1, $2, 'a', 'a', 'text/plain', 1, '', 'a') RETURNING id
        """,
        owner,
        memory_id,
    )
    return file_id


async def refusal(call: Any) -> MemoError:
    with pytest.raises(MemoError) as refused:
        await call
    return refused.value


async def test_messages_follow_the_document(stage: Stage) -> None:
    moment = datetime(2026, 1, 31, 8, 30, 0, 123456, tzinfo=UTC)
    first = message("one", created_at=moment, metadata={"a": [1]}, parent_message_id=uuid4())
    await stage.save(first, message("two"))
    await stage.save(message("ONE", id=first.id), message("three"))
    assert await stage.contents() == ["ONE", "three"]
    row = await stage.rows.find(stage.memory, first.id)
    assert row is not None
    assert (row.message.user_id, row.message.memory_id) == (stage.ada, stage.memory)
    assert row.message.created_at == "2026-01-31T08:30:00.123Z"
    assert row.message.created_at < row.message.updated_at >= row.message.received_at
    assert (row.message.metadata, row.message.parent_message_id) == (None, None)


async def test_the_author_is_whose_client_began_the_text_whatever_the_document_claims(
    stage: Stage,
) -> None:
    posing = message("posing", BOB, user_id=stage.ada)
    messages = {
        posing: stage.bob,
        message("not told", BOB): stage.bob,
        message("the server has restored it", SERVER, user_id=stage.bob): stage.bob,
        message("the server does not know", SERVER): None,
        message("of somebody who is gone", SERVER, user_id=uuid4()): None,
        message("of no client", None, user_id=stage.ada): None,
        message("of a client not known", 77, user_id=stage.ada): None,
    }
    await stage.save(*messages)
    for written, author in messages.items():
        row = await stage.rows.find(stage.memory, written.id)
        assert row is not None
        assert row.message.user_id == author, written.content


async def test_a_message_that_comes_back_is_its_authors_still(stage: Stage) -> None:
    """Somebody undid the deletion, and with it wrote the text anew."""
    first = message("hers", ADA, created_at=START)
    await stage.save(first)
    await stage.save()
    row = await stage.rows.find(stage.memory, first.id)
    assert row is not None
    assert (row.message.content, await stage.contents()) == ("", [])
    assert row.deleted_at is not None
    await stage.save(message("again", BOB, id=first.id))
    row = await stage.rows.find(stage.memory, first.id)
    assert row is not None
    assert (row.message.user_id, row.deleted_at) == (stage.ada, None)
    assert row.message.created_at == timestamp(START)


async def test_a_message_of_another_memory_can_neither_be_taken_over_nor_kept_out(
    pool: asyncpg.Pool, stage: Stage
) -> None:
    """Whoever reads a message's id may use it in a memory of their own, also first."""
    mine = message("mine")
    await stage.save(mine)
    other = Stage(
        pool, await add_memory(pool, await add_person(pool)), Author(uuid4()), Author(uuid4())
    )
    first = message("first")
    await other.save(message("another", id=mine.id), first)
    assert sorted(await other.contents()) == ["another", "first"]
    await stage.save(mine, message("mine too", id=first.id))
    await other.save()
    assert sorted(await stage.contents()) == ["mine", "mine too"]
    assert await other.contents() == []


async def test_of_rows_that_are_known_only_what_differs_is_written(stage: Stage) -> None:
    kept, changed, removed = message("kept"), message("changed"), message("removed")
    await stage.save(kept, changed, removed)
    known = await stage.rows.known(stage.memory)
    assert known.offset == 1
    assert {known.digests[at : at + 24] for at in range(0, 72, 24)} == {
        each.id.bytes + each.digest for each in (kept, changed, removed)
    }
    before = await stage.rows.find(stage.memory, kept.id)
    new = message("CHANGED", id=changed.id)
    assert await stage.save(new, known=1, gone=[removed.id])
    assert sorted(await stage.contents()) == ["CHANGED", "kept"]
    assert await stage.rows.find(stage.memory, kept.id) == before
    assert (await stage.rows.known(stage.memory)).offset == 2


async def test_rows_that_others_wrote_meanwhile_are_left_for_another_turn(stage: Stage) -> None:
    await stage.save(message("a"))
    await stage.save(message("b"), known=1)
    # It was made of the rows as they stood at 1.
    assert not await stage.save(message("c"), known=1)
    assert sorted(await stage.contents()) == ["a", "b"]
    assert (await stage.rows.known(stage.memory)).offset == 2
    assert await stage.save(message("c"), known=2)
    # What is older than the rows needs no other turn.
    stage.offset = 0
    assert await stage.save(message("late"), known=0)
    assert sorted(await stage.contents()) == ["a", "b", "c"]


async def test_a_part_of_the_rows_is_written_and_stands_for_no_offset_yet(stage: Stage) -> None:
    await stage.save(message("a"))
    assert not await stage.save(message("b"), known=1, more=True)
    known = await stage.rows.known(stage.memory)
    assert (known.offset, len(known.digests)) == (1, 48)
    stage.offset = 1
    assert await stage.save(message("c"), known=1)
    assert sorted(await stage.contents()) == ["a", "b", "c"]
    assert (await stage.rows.known(stage.memory)).offset == 2
    # Of rows as they stood at 1, no part is written any more.
    assert not await stage.save(message("d"), known=1, more=True)
    assert sorted(await stage.contents()) == ["a", "b", "c"]


async def test_a_memory_that_is_not_there_has_no_rows(stage: Stage) -> None:
    assert await stage.rows.known(uuid4()) == Known(0, b"")
    assert await stage.rows.find(stage.memory, uuid4()) is None
    assert not await stage.rows.behind(uuid4())


async def test_pages_go_back_from_the_newest_and_do_not_overlap(stage: Stage) -> None:
    # Three each are of one moment.
    moments = [START + timedelta(seconds=number // 3) for number in range(9)]
    await stage.save(*(message(str(at), created_at=at) for at in moments))
    seen: list[Any] = []
    for page in (1, 2, 3, 4, 5):
        answer = await stage.rows.list(stage.memory, page=page, limit=2, before=None, after=None)
        assert (answer.pagination.total, answer.pagination.total_pages) == (9, 5)
        assert [m.created_at for m in answer.messages] == sorted(
            m.created_at for m in answer.messages
        )
        seen = [*answer.messages, *seen]
    assert len({each.id for each in seen}) == 9
    assert [(each.created_at, each.id) for each in seen] == sorted(
        (each.created_at, each.id) for each in seen
    )
    past = await stage.rows.list(stage.memory, page=6, limit=2, before=None, after=None)
    assert (past.messages, past.pagination.total) == ([], 9)


async def test_before_and_after_leave_out_their_own_moment(stage: Stage) -> None:
    moments = [START + timedelta(seconds=number) for number in range(6)]
    await stage.save(*(message(str(number), created_at=at) for number, at in enumerate(moments)))
    assert await stage.contents(before=moments[4]) == ["0", "1", "2", "3"]
    assert await stage.contents(before=moments[4], limit=2) == ["2", "3"]
    assert await stage.contents(before=moments[4], limit=2, page=2) == ["0", "1"]
    assert await stage.contents(after=moments[1]) == ["2", "3", "4", "5"]
    assert await stage.contents(after=moments[1], limit=2) == ["2", "3"]
    assert await stage.contents(after=moments[1], limit=2, page=2) == ["4", "5"]
    assert await stage.contents(after=moments[0], before=moments[4], limit=2) == ["2", "3"]
    assert await stage.contents(after=moments[5]) == []
    assert await stage.contents(before=moments[0]) == []


async def test_a_message_is_never_of_the_future(stage: Stage) -> None:
    late = message("late", created_at=datetime(9999, 1, 1, tzinfo=UTC))
    await stage.save(late)
    row = await stage.rows.find(stage.memory, late.id)
    assert row is not None
    assert row.message.created_at == row.message.received_at


async def test_unread_are_others_messages_behind_the_mark(stage: Stage) -> None:
    hers, his = message("hers", ADA), message("his", BOB)
    await stage.save(hers, his, message("nobody's", None))
    assert (await stage.unread(stage.ada), await stage.unread(stage.bob)) == (2, 2)
    assert await stage.rows.mark_read(stage.memory, stage.ada)
    assert (await stage.unread(stage.ada), await stage.unread(stage.bob)) == (0, 2)
    # What was written long ago, offline, has come just now.
    late = message("late", BOB, created_at=START)
    await stage.save(late, known=1)
    assert await stage.unread(stage.ada) == 1
    await stage.save(known=2, gone=[late.id])
    assert await stage.unread(stage.ada) == 0


async def test_a_read_mark_goes_forward_only(stage: Stage) -> None:
    messages = [message(str(number), BOB) for number in range(3)]
    for known, each in enumerate(messages):
        await stage.save(each, known=known)

    async def mark(**where: Any) -> tuple[bool, int]:
        moved = await stage.rows.mark_read(stage.memory, stage.ada, **where)
        return moved, await stage.unread(stage.ada)

    assert await mark(at=START) == (True, 3)
    assert await mark(message_id=messages[1].id) == (True, 1)
    assert await mark(message_id=messages[1].id) == (False, 1)
    assert await mark(message_id=messages[0].id) == (False, 1)
    assert await mark(at=START) == (False, 1)
    assert await mark(at=datetime(9999, 1, 1, tzinfo=UTC)) == (True, 0)
    memory = await stage.memories.get(stage.memory, stage.ada)
    assert memory.last_read_at is not None
    assert memory.last_read_at < "2100"
    await stage.save(message("news", BOB), known=3)
    assert await stage.unread(stage.ada) == 1


async def test_a_mark_of_an_empty_thread_or_of_a_stranger_moves_nothing(
    pool: asyncpg.Pool, stage: Stage
) -> None:
    assert not await stage.rows.mark_read(stage.memory, stage.ada)
    await stage.save(message("a", BOB))
    stranger = (await add_person(pool)).account_id
    assert not await stage.rows.mark_read(stage.memory, stranger)
    other = await add_memory(pool, await add_person(pool))
    elsewhere = message("b")
    await stage.memories.save(other, Projection(None, None, {}, [], {}, [elsewhere]), 1)
    assert not await stage.rows.mark_read(stage.memory, stage.ada, message_id=elsewhere.id)


async def test_more_than_a_hundred_unread_are_a_hundred(stage: Stage) -> None:
    await stage.save(*(message(str(number), BOB) for number in range(MAX_UNREAD + 20)))
    assert await stage.unread(stage.ada) == MAX_UNREAD


async def test_files_of_the_author_go_with_the_message_and_only_with_it(
    pool: asyncpg.Pool, stage: Stage
) -> None:
    other = await add_memory(pool, await add_person(pool))
    hers = await add_file(pool, stage.ada)
    his = await add_file(pool, stage.bob)
    elsewhere = await add_file(pool, stage.ada, other)

    async def places() -> list[tuple[UUID | None, UUID | None]]:
        rows = await pool.fetch("SELECT id, memory_id, message_id FROM files")
        found = {row[0]: (row[1], row[2]) for row in rows}
        return [found[each] for each in (hers, his, elsewhere)]

    before = await pool.fetchval("SELECT changed_xid::text FROM files WHERE id = $1", hers)
    # A device may name any file: only its own account's are shown to the others by that.
    first = message("a", ADA, attachments=[hers, his, elsewhere, uuid4()])
    await stage.save(first)
    attached = [(stage.memory, first.id), (None, None), (other, None)]
    assert await places() == attached
    after = await pool.fetchval("SELECT changed_xid::text FROM files WHERE id = $1", hers)
    assert int(before) < int(after)
    second = message("b", ADA, attachments=[hers])
    await stage.save(second, known=1)
    assert await places() == attached
    await stage.save(message("a", ADA, id=first.id), known=2)
    assert (await places())[0] == (None, None)
    await stage.save(message("a", ADA, id=first.id, attachments=[hers]), known=3)
    assert (await places())[0] == (stage.memory, first.id)
    await stage.save(known=4, gone=[first.id])
    assert (await places())[0] == (None, None)


async def place(stage: Stage, file_id: UUID) -> tuple[UUID | None, UUID | None]:
    row = await stage.pool.fetchrow(
        "SELECT memory_id, message_id FROM files WHERE id = $1", file_id
    )
    assert row is not None
    return row[0], row[1]


async def test_a_file_goes_with_a_message_by_the_word_of_its_owner_only(stage: Stage) -> None:
    """Ada wrote the message; who listed her file in it is another question."""
    hers = await add_file(stage.pool, stage.ada)
    first = message("a", ADA, attachments=[hers])
    for client in (BOB, SERVER, 77, None):
        await stage.save(replace(first, attached_by=client, digest=uuid4().bytes[:8]))
        assert await place(stage, hers) == (None, None), client
    await stage.save(first)
    assert await place(stage, hers) == (stage.memory, first.id)


async def test_a_file_that_was_taken_out_stays_out(stage: Stage) -> None:
    files = FileRows(stage.pool, 10_000)
    hers = await add_file(stage.pool, stage.ada)
    messages = [message(text, ADA, attachments=[hers]) for text in "ab"]
    for number, each in enumerate(messages):
        await stage.save(each, known=2 * number)
        assert await place(stage, hers) == (stage.memory, each.id)
        await files.update(hers, stage.ada, memory_id=None)
        # The message still lists it, and is written again.
        await stage.save(*messages[: number + 1], known=2 * number + 1)
        assert await place(stage, hers) == (None, None)
    # Its owner may put it back.
    assert set(await stage.rows.attach(stage.ada, stage.memory, messages[0].id, [hers])) == {
        stage.ada,
        stage.bob,
    }
    assert await place(stage, hers) == (stage.memory, messages[0].id)
    assert await stage.rows.attach(stage.ada, stage.memory, messages[0].id, [hers]) == []


async def test_files_are_put_with_their_owners_own_message_that_lists_them(stage: Stage) -> None:
    hers, his, other = [
        await add_file(stage.pool, owner) for owner in (stage.ada, stage.bob, stage.ada)
    ]
    first = message("a", ADA, attachments=[hers, his], attached_by=BOB)
    await stage.save(first)
    for account in (stage.bob, stage.ada):
        await stage.rows.attach(account, stage.memory, first.id, [hers, his, other])
        assert await place(stage, his) == await place(stage, other) == (None, None)
        expected = (stage.memory, first.id) if account == stage.ada else (None, None)
        assert await place(stage, hers) == expected


async def test_a_file_uploaded_for_a_message_stays_while_others_write(stage: Stage) -> None:
    first, second = message("a", ADA), message("b", ADA)
    early, late = [await add_file(stage.pool, stage.ada, stage.memory) for _ in range(2)]
    for file_id, each in ((early, first), (late, second)):
        await stage.pool.execute("UPDATE files SET message_id = $2 WHERE id = $1", file_id, each.id)
    await stage.save(first)
    await stage.save(message("c", BOB), known=1)
    assert await place(stage, early) == (stage.memory, first.id)
    # It is about to be written, and to list its file.
    assert await place(stage, late) == (stage.memory, second.id)
    await stage.save(replace(second, attachments=[late]), known=2)
    await stage.save(message("d", BOB), known=3)
    assert await place(stage, late) == (stage.memory, second.id)
    await stage.save(replace(second, digest=bytes(8)), known=4)
    assert await place(stage, late) == (None, None)
    await stage.save(known=5, gone=[first.id])
    assert await place(stage, early) == (None, None)


async def test_files_that_cannot_be_attached_are_named(pool: asyncpg.Pool, stage: Stage) -> None:
    first = message("a", ADA)
    mine, theirs = await add_file(pool, stage.ada), await add_file(pool, stage.bob)
    other = await add_memory(pool, await add_person(pool))
    elsewhere = await add_file(pool, stage.ada, other)

    async def check(*file_ids: UUID) -> None:
        await stage.rows.check_files(stage.ada, stage.memory, first.id, file_ids)

    await check(mine)
    for unknown in (theirs, uuid4()):
        error = await refusal(check(mine, unknown))
        assert error.code is ErrorCode.NOT_FOUND
        assert error.details == {"attachments": f"{unknown} is not one of your files"}
    error = await refusal(check(mine, elsewhere))
    assert error.code is ErrorCode.CONFLICT
    await stage.save(message("a", ADA, id=first.id, attachments=[mine]))
    await check(mine)
    with pytest.raises(MemoError):
        await stage.rows.check_files(stage.ada, stage.memory, uuid4(), [mine])


async def test_a_thousand_messages_and_more_are_written_at_once(stage: Stage) -> None:
    await stage.save(*(message(str(number)) for number in range(2500)))
    assert await stage.pool.fetchval("SELECT count(DISTINCT content) FROM messages") == 2500
    # The messages of a memory go with it.
    await stage.pool.execute("DELETE FROM memories")
    assert await stage.pool.fetchval("SELECT count(*) FROM messages") == 0


async def test_members_who_come_later_find_all_unread(pool: asyncpg.Pool, stage: Stage) -> None:
    await stage.save(message("a", ADA), message("b", BOB))
    guest = await add_person(pool)
    await add_member(pool, stage.memory, guest, "viewer")
    memory = await stage.memories.get(stage.memory, guest.account_id)
    assert (memory.last_read_at, memory.unread_count) == (None, 2)
