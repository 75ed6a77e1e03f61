"""Categories as rows: made, changed, sorted and deleted, by one device or by several at once."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.categories import MAX_CATEGORIES, Category
from protocol.errors import ErrorCode, MemoError
from protocol.log import Author, Entry, Projection
from storage.accounts import DEFAULT_CATEGORIES, Accounts
from storage.categories import CategoryRows
from storage.memories import MemoryRows
from tests.rows import add_memory, add_person


@pytest.fixture
def rows(pool: asyncpg.Pool) -> CategoryRows:
    return CategoryRows(pool)


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


async def create(
    rows: CategoryRows, who: Author, name: str = "Work", taken: UUID | None = None, **fields: Any
) -> Category:
    empty = {"description": None, "icon": None, "color": None, "sort_order": None}
    return await rows.create(who.account_id, taken or uuid4(), name=name, **{**empty, **fields})


async def refusal(call: Any) -> ErrorCode:
    with pytest.raises(MemoError) as refused:
        await call
    return refused.value.code


async def names(rows: CategoryRows, who: Author) -> list[str]:
    return [category.name for category in await rows.list(who.account_id)]


async def test_a_new_account_has_the_default_categories_in_order(
    pool: asyncpg.Pool, rows: CategoryRows
) -> None:
    user = await Accounts(pool).create(email="ada@example.com", password_hash=None)
    made = await rows.list(user.id)
    assert [category.name for category in made] == [name for name, _, _ in DEFAULT_CATEGORIES]
    assert all(category.is_default for category in made)


async def test_a_category_comes_last_unless_it_says_where(rows: CategoryRows, ada: Author) -> None:
    first = await create(rows, ada, "b", description="d", icon="star", color="#AABBCC")
    assert (first.description, first.icon, first.color) == ("d", "star", "#AABBCC")
    assert (first.is_default, first.created_at) == (False, first.updated_at)
    await create(rows, ada, "c")
    await create(rows, ada, "a", sort_order=0)
    assert await names(rows, ada) == ["a", "b", "c"]


async def test_creating_again_answers_the_category_that_is_there(
    rows: CategoryRows, ada: Author
) -> None:
    taken = uuid4()
    made = await asyncio.gather(*(create(rows, ada, str(n), taken) for n in range(5)))
    assert len({category.name for category in made}) == 1
    assert await rows.list(ada.account_id) == [made[0]]


async def test_another_accounts_id_is_a_conflict_and_its_category_not_found(
    pool: asyncpg.Pool, rows: CategoryRows, ada: Author
) -> None:
    bob = await add_person(pool)
    hers = await create(rows, ada)
    assert await refusal(create(rows, bob, taken=hers.id)) is ErrorCode.CONFLICT
    change = rows.update(bob.account_id, hers.id, {"name": "mine"})
    assert await refusal(change) is ErrorCode.NOT_FOUND
    assert await refusal(rows.delete(bob.account_id, hers.id)) is ErrorCode.NOT_FOUND
    assert await rows.reorder(bob.account_id, [hers.id]) == []
    assert await rows.list(ada.account_id) == [hers]


async def test_there_are_no_more_than_there_may_be_however_many_try_at_once(
    pool: asyncpg.Pool, rows: CategoryRows, ada: Author
) -> None:
    await pool.execute(
        "INSERT INTO memory_categories (user_id, name)"
        " SELECT $1, 'x' FROM generate_series(1, $2::int)",
        ada.account_id,
        MAX_CATEGORIES - 2,
    )
    made = await asyncio.gather(
        *(create(rows, ada, str(n)) for n in range(5)), return_exceptions=True
    )
    refused = [each for each in made if isinstance(each, MemoError)]
    assert [error.code for error in refused] == [ErrorCode.TOO_LARGE] * 3
    assert len(await rows.list(ada.account_id)) == MAX_CATEGORIES
    [kept, *_] = [each for each in made if isinstance(each, Category)]
    assert (await create(rows, ada, taken=kept.id)).name == kept.name


async def test_what_is_left_out_of_a_change_stays(rows: CategoryRows, ada: Author) -> None:
    made = await create(rows, ada, "a", description="d", color="#AABBCC")
    assert await rows.update(ada.account_id, made.id, {}) == made
    changed = await rows.update(ada.account_id, made.id, {"name": "b", "description": None})
    assert (changed.name, changed.description, changed.color) == ("b", None, "#AABBCC")
    assert changed.updated_at >= made.updated_at


async def test_those_left_out_of_an_order_follow_in_their_old_one(
    rows: CategoryRows, ada: Author
) -> None:
    a, b, c, d = [(await create(rows, ada, name)).id for name in "abcd"]
    await rows.reorder(ada.account_id, [d, uuid4(), b, d])
    assert await names(rows, ada) == ["d", "b", "a", "c"]
    again = await rows.reorder(ada.account_id, [d, b])
    assert [category.id for category in again] == [d, b, a, c]
    await rows.reorder(ada.account_id, [])
    assert await names(rows, ada) == ["d", "b", "a", "c"]


async def test_memories_outlive_their_category(
    pool: asyncpg.Pool, rows: CategoryRows, ada: Author
) -> None:
    gone, kept = await create(rows, ada), await create(rows, ada)
    memories = MemoryRows(pool)
    inside, beside = [await add_memory(pool, ada) for _ in range(2)]
    await memories.mark(inside, ada.account_id, {"category_id": gone.id})
    await memories.mark(beside, ada.account_id, {"category_id": kept.id})
    deleted_at = await rows.delete(ada.account_id, gone.id)
    assert await rows.delete(ada.account_id, gone.id) == deleted_at
    assert (await memories.get(inside, ada.account_id)).category_id is None
    assert (await memories.get(beside, ada.account_id)).category_id == kept.id
    assert await rows.list(ada.account_id) == [kept]


async def test_a_deleted_category_does_not_come_back_with_a_late_request(
    rows: CategoryRows, ada: Author
) -> None:
    made = await create(rows, ada)
    await rows.delete(ada.account_id, made.id)
    assert await refusal(create(rows, ada, taken=made.id)) is ErrorCode.GONE
    change = rows.update(ada.account_id, made.id, {"name": "x"})
    assert await refusal(change) is ErrorCode.GONE


async def test_a_category_that_goes_while_memories_get_it_leaves_none_with_it(
    pool: asyncpg.Pool, rows: CategoryRows, ada: Author
) -> None:
    memories = MemoryRows(pool)
    marked = [await add_memory(pool, ada) for _ in range(8)]
    empty = Projection(None, None, {}, [], {}, [])
    for _ in range(5):
        made = await create(rows, ada)
        outcomes = await asyncio.gather(
            *(memories.mark(each, ada.account_id, {"category_id": made.id}) for each in marked[:4]),
            rows.delete(ada.account_id, made.id),
            memories.mark_each(marked, ada.account_id, {"category_id": made.id}),
            memories.create(
                Entry(uuid4(), ada, b"", (), empty),
                category_id=made.id,
                is_favorite=False,
                is_archived=False,
            ),
            return_exceptions=True,
        )
        refused = [each for each in outcomes if isinstance(each, BaseException)]
        for error in refused:
            assert isinstance(error, MemoError), error
            assert error.code is ErrorCode.NOT_FOUND
        query = "SELECT count(*) FROM memberships WHERE category_id IS NOT NULL"
        assert await pool.fetchval(query) == 0
