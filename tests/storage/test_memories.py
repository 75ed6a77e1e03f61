"""Memories as rows: creating, listing, marking and projecting them."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.lexemes import lexemes_of
from protocol.log import Author, Entry, Projection
from protocol.memories import ListMemories, Memory
from storage.memories import MemoryRows
from tests.rows import add_member, add_person, delete_memory


@pytest.fixture
def rows(pool: asyncpg.Pool) -> MemoryRows:
    return MemoryRows(pool)


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


def holding(title: str | None = None, **fields: Any) -> Projection:
    empty: dict[str, Any] = {
        "description": None,
        "content": {},
        "tags": [],
        "metadata": {},
        "messages": [],
    }
    projection = Projection(title=title, **{**empty, **fields})
    return msgspec.structs.replace(projection, words=lexemes_of(projection))


async def create(
    rows: MemoryRows,
    owner: Author,
    title: str | None = None,
    *,
    memory_id: UUID | None = None,
    payload: bytes = b"x",
    category_id: UUID | None = None,
    **fields: Any,
) -> Memory:
    entry = Entry(memory_id or uuid4(), owner, payload, ((1, None),), holding(title, **fields))
    return await rows.create(entry, category_id=category_id, is_favorite=False, is_archived=False)


async def add_category(pool: asyncpg.Pool, owner: Author) -> UUID:
    category: UUID = await pool.fetchval(
        "INSERT INTO memory_categories (user_id, name) VALUES ($1, 'Work') RETURNING id",
        owner.account_id,
    )
    return category


async def refusal(call: Any) -> ErrorCode:
    with pytest.raises(MemoError) as refused:
        await call
    return refused.value.code


async def test_a_memory_begins_with_its_rows_and_its_log(
    pool: asyncpg.Pool, rows: MemoryRows, ada: Author
) -> None:
    memory = await create(rows, ada, "a", tags=["x"], content={"text": "body"})
    assert (memory.title, memory.tags, memory.content) == ("a", ["x"], {"text": "body"})
    assert (memory.offset, memory.role, memory.user_id) == (1, "owner", ada.account_id)
    assert memory == await rows.get(memory.id, ada.account_id)
    assert await rows.unprojected(10) == []
    assert await pool.fetchval("SELECT client FROM document_clients") == 1


async def test_an_empty_memory_has_an_empty_log(rows: MemoryRows, ada: Author) -> None:
    assert (await create(rows, ada, payload=b"")).offset == 0


async def test_creating_again_answers_the_memory_that_is_there(
    pool: asyncpg.Pool, rows: MemoryRows, ada: Author
) -> None:
    category = await add_category(pool, ada)
    taken = uuid4()
    first = await create(rows, ada, "first", memory_id=taken, category_id=category)
    await pool.execute("DELETE FROM memory_categories")
    again = await create(rows, ada, "second", memory_id=taken, category_id=category)
    assert (again.title, again.offset, again.created_at) == ("first", 1, first.created_at)


async def test_an_id_is_created_once_however_many_try_at_once(
    rows: MemoryRows, ada: Author
) -> None:
    taken = uuid4()
    made = await asyncio.gather(*(create(rows, ada, str(n), memory_id=taken) for n in range(6)))
    assert len({memory.title for memory in made}) == 1


async def test_another_accounts_id_is_a_conflict_even_for_a_member(
    pool: asyncpg.Pool, rows: MemoryRows, ada: Author
) -> None:
    bob = await add_person(pool)
    memory = await create(rows, ada)
    assert await refusal(create(rows, bob, memory_id=memory.id)) is ErrorCode.CONFLICT
    await add_member(pool, memory.id, bob, "editor")
    assert await refusal(create(rows, bob, memory_id=memory.id)) is ErrorCode.CONFLICT


async def test_an_id_of_a_deleted_memory_is_gone(rows: MemoryRows, ada: Author) -> None:
    memory = await create(rows, ada)
    await rows.delete(memory.id, ada.account_id)
    assert await refusal(create(rows, ada, memory_id=memory.id)) is ErrorCode.GONE
    assert await refusal(rows.get(memory.id, ada.account_id)) is ErrorCode.GONE


async def test_a_category_of_another_account_is_not_found_and_nothing_is_made(
    pool: asyncpg.Pool, rows: MemoryRows, ada: Author
) -> None:
    theirs = await add_category(pool, await add_person(pool))
    assert await refusal(create(rows, ada, category_id=theirs)) is ErrorCode.NOT_FOUND
    assert await pool.fetchval("SELECT count(*) FROM memories") == 0
    memory = await create(rows, ada)
    mark = rows.mark(memory.id, ada.account_id, {"category_id": theirs})
    assert await refusal(mark) is ErrorCode.NOT_FOUND


async def test_marks_are_each_members_own(
    pool: asyncpg.Pool, rows: MemoryRows, ada: Author
) -> None:
    bob = await add_person(pool)
    memory = await create(rows, ada)
    await add_member(pool, memory.id, bob, "viewer")
    category = await add_category(pool, bob)
    marks = {"category_id": category, "is_favorite": True, "is_archived": True}
    await rows.mark(memory.id, bob.account_id, marks)
    his, hers = await rows.get(memory.id, bob.account_id), await rows.get(memory.id, ada.account_id)
    assert (his.category_id, his.is_favorite, his.is_archived) == (category, True, True)
    assert (hers.category_id, hers.is_favorite, hers.is_archived) == (None, False, False)
    await rows.mark(memory.id, bob.account_id, {"category_id": None})
    assert (await rows.get(memory.id, bob.account_id)).category_id is None


async def test_only_the_owner_deletes_and_a_retry_answers_the_same(
    pool: asyncpg.Pool, rows: MemoryRows, ada: Author
) -> None:
    bob = await add_person(pool)
    memory = await create(rows, ada)
    assert await refusal(rows.delete(memory.id, bob.account_id)) is ErrorCode.NOT_FOUND
    await add_member(pool, memory.id, bob, "editor")
    assert await refusal(rows.delete(memory.id, bob.account_id)) is ErrorCode.FORBIDDEN
    first, followers = await rows.delete(memory.id, ada.account_id)
    assert sorted(followers) == sorted([ada.account_id, bob.account_id])
    assert (await rows.delete(memory.id, ada.account_id))[0] == first


async def test_lists_filter_sort_and_page(
    pool: asyncpg.Pool, rows: MemoryRows, ada: Author
) -> None:
    made = [
        await create(rows, ada, title, tags=tags, content={"text": text})
        for title, tags, text in (
            ("Beta", ["x", "y"], "100% sure"),
            ("alpha", ["x"], "a_b"),
            (None, [], "back\\slash"),
            ("gamma", ["y"], "nothing"),
        )
    ]
    await create(rows, await add_person(pool), "someone else's")
    await rows.mark(made[3].id, ada.account_id, {"is_favorite": True})

    async def titles(**query: Any) -> list[str | None]:
        page = await rows.list(ada.account_id, ListMemories(**query))
        assert page.pagination.total == len(page.memories)
        return [memory.title for memory in page.memories]

    assert await titles(sort_by="title", sort_order="asc") == ["alpha", "Beta", "gamma", None]
    assert await titles(sort_by="title") == ["gamma", "Beta", "alpha", None]
    assert await titles(sort_by="created_at", sort_order="asc") == ["Beta", "alpha", None, "gamma"]
    assert await titles(tags=["x", "y"]) == ["Beta"]
    assert await titles(is_favorite=True) == ["gamma"]
    assert await titles(search="100%") == ["Beta"]
    assert await titles(search="a_b") == ["alpha"]
    assert await titles(search="k\\s") == []
    assert await titles(search="k\\sl") == []
    assert await titles(search="back\\sl") == [None]
    assert await titles(search="GAMMA") == ["gamma"]
    assert await titles(search="y", tags=["y"], sort_by="title") == ["gamma", "Beta"]
    assert await titles(is_archived=True) == []
    await delete_memory(pool, made[0].id)
    assert await titles(tags=["x"]) == ["alpha"]


async def test_pages_do_not_overlap_though_all_keys_are_equal(
    rows: MemoryRows, ada: Author
) -> None:
    made = {(await create(rows, ada, "same")).id for _ in range(7)}
    seen: list[UUID] = []
    for page in (1, 2, 3):
        answer = await rows.list(ada.account_id, ListMemories(page=page, limit=3, sort_by="title"))
        assert (answer.pagination.total, answer.pagination.total_pages) == (7, 3)
        seen += [memory.id for memory in answer.memories]
    assert (len(seen), set(seen)) == (7, made)
    past = await rows.list(ada.account_id, ListMemories(page=9, limit=3))
    assert (past.memories, past.pagination.total) == ([], 7)


async def test_rows_are_guarded_by_the_offset_they_stand_for(rows: MemoryRows, ada: Author) -> None:
    memory = await create(rows, ada, "first")
    await rows.save(memory.id, holding("third"), 3)
    await rows.save(memory.id, holding("second"), 2)
    await rows.save(memory.id, holding("other third"), 3)
    assert (await rows.get(memory.id, ada.account_id)).title == "third"
