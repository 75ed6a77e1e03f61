"""Pages of memories: every filter, every sort, and totals that are exact."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author
from protocol.memories import ListMemories, Memory
from storage.memories import LISTED_BYTES, MemoryRows
from tests.rows import add_member, add_person
from tests.storage.test_memories import add_category, create, holding

START = datetime(2026, 1, 1, tzinfo=UTC)


class Stage:
    """An account with memories, of which some are another's."""

    def __init__(self, pool: asyncpg.Pool, owner: Author, friend: Author) -> None:
        self.pool = pool
        self.rows = MemoryRows(pool)
        self.owner = owner
        self.friend = friend
        self.memories: list[Memory] = []

    async def fill(self, count: int, category: UUID) -> None:
        for number in range(count):
            owner = self.friend if number % 4 == 3 else self.owner
            title = None if number % 5 == 4 else f"{'bB'[number % 2]}{number % 3}"
            memory = await create(
                self.rows, owner, title, tags=["t", "odd"] if number % 2 else ["t"],
                content={"text": f"word{number % 3}"},
            )  # fmt: skip
            if owner is self.friend:
                await add_member(self.pool, memory.id, self.owner, "viewer")
            marks: dict[str, Any] = {"is_favorite": number % 2 == 0, "is_archived": number % 3 == 0}
            if number % 4 == 1:
                marks["category_id"] = category
            await self.rows.mark(memory.id, self.owner.account_id, marks)
            moment = START + timedelta(days=number // 2)
            await self.pool.execute(
                "UPDATE memories SET created_at = $2, updated_at = $3 WHERE id = $1",
                memory.id, moment, START - (moment - START),
            )  # fmt: skip
            # A creation's time is never changed but here.
            for table in ("listings", "search_texts"):
                await self.pool.execute(
                    f"UPDATE {table} SET created_at = $2 WHERE memory_id = $1", memory.id, moment
                )
            self.memories.append(await self.rows.get(memory.id, self.owner.account_id))

    async def listed(self, **query: Any) -> list[UUID]:
        """All pages of the list, two memories each; every one tells the same total."""
        ids: list[UUID] = []
        total = None
        for page in range(1, 20):
            answer = await self.rows.list(
                self.owner.account_id, ListMemories(page=page, limit=2, **query)
            )
            assert total in (None, answer.pagination.total)
            total = answer.pagination.total
            if not answer.memories:
                break
            ids += [memory.id for memory in answer.memories]
        assert total == len(ids) == len(set(ids))
        return ids


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> Stage:
    stage = Stage(pool, await add_person(pool), await add_person(pool))
    await stage.fill(12, await add_category(pool, stage.owner))
    await create(stage.rows, stage.friend, "not shared")
    return stage


def expected(memories: list[Memory], query: dict[str, Any]) -> list[UUID]:
    """The same, done here."""
    kept = [
        memory
        for memory in memories
        if ("is_favorite" not in query or memory.is_favorite == query["is_favorite"])
        and ("is_archived" not in query or memory.is_archived == query["is_archived"])
        and ("category_id" not in query or memory.category_id == query["category_id"])
        and (not query.get("uncategorized") or memory.category_id is None)
        and set(query.get("tags", [])) <= set(memory.tags)
        and ("search" not in query or memory.content["text"] == query["search"])
        and query.get("created_after", "") < memory.created_at
        and memory.created_at < query.get("created_before", "9")
        and query.get("updated_after", "") < memory.updated_at
        and memory.updated_at < query.get("updated_before", "9")
    ]
    sort_by, downwards = query.get("sort_by", "updated_at"), query.get("sort_order") != "asc"
    kept.sort(key=lambda memory: memory.id, reverse=downwards)
    if sort_by == "title":
        kept.sort(key=lambda memory: (memory.title or "").lower(), reverse=downwards)
        kept.sort(key=lambda memory: memory.title is None)
    else:
        kept.sort(key=lambda memory: getattr(memory, sort_by), reverse=downwards)
    return [memory.id for memory in kept]


async def test_filters_in_all_combinations_and_orders(stage: Stage) -> None:
    category = next(each.category_id for each in stage.memories if each.category_id)
    choices: list[list[dict[str, Any]]] = [
        [{}, {"category_id": category}, {"uncategorized": True}],
        [{}, {"is_favorite": True}, {"is_archived": False}],
        [{}, {"tags": ["t", "odd"]}, {"search": "word1"}, {"tags": ["odd"], "search": "word0"}],
        [
            {},
            {"created_after": "2026-01-02T00:00:00.000Z"},
            {"updated_before": "2026-01-01T00:00:00.000Z", "sort_by": "created_at"},
        ],
    ]
    queries = [
        {key: value for part in parts for key, value in part.items()} for parts in product(*choices)
    ]
    orders = product(("created_at", "updated_at", "title"), ("asc", "desc"))
    queries += [{"sort_by": by, "sort_order": order} for by, order in orders]
    queries += [
        {"sort_by": by, "sort_order": order, "search": "word1"}
        for by, order in product(("created_at", "updated_at", "title"), ("asc", "desc"))
    ]
    queries.append({"created_after": "2026-01-02T00:00:00.000Z", "created_before": "2026-01-05"})
    queries[-1]["created_before"] = "2026-01-05T00:00:00.000Z"

    async def check(query: dict[str, Any]) -> None:
        assert await stage.listed(**query) == expected(stage.memories, query), query

    await asyncio.gather(*map(check, queries))


async def test_times_may_have_any_zone_but_need_one(stage: Stage) -> None:
    after = await stage.listed(created_after="2026-01-05T01:00:00+02:00")
    assert after == await stage.listed(created_after="2026-01-04T23:00:00Z")
    assert len(after) == 4
    for moment in ("2026-01-04T23:00:00", "yesterday", "2026-01-04", "\x00"):
        with pytest.raises(MemoError) as refused:
            await stage.listed(updated_before=moment)
        assert refused.value.code is ErrorCode.INVALID_REQUEST
        assert "updatedBefore" in (refused.value.details or {})


async def test_the_trash_is_the_owners_own_and_newest_first_where_asked(stage: Stage) -> None:
    mine = [memory for memory in stage.memories if memory.role == "owner"][:3]
    theirs = next(memory for memory in stage.memories if memory.role != "owner")
    for memory in mine:
        await stage.rows.delete(memory.id, stage.owner.account_id)
    await stage.rows.delete(theirs.id, stage.friend.account_id)
    ids = [memory.id for memory in mine]
    assert await stage.listed(trashed=True, sort_by="deleted_at") == ids[::-1]
    assert await stage.listed(trashed=True, sort_by="deleted_at", sort_order="asc") == ids
    assert sorted(await stage.listed(trashed=True)) == sorted(ids)
    favourites = [memory.id for memory in mine if memory.is_favorite]
    assert sorted(await stage.listed(trashed=True, is_favorite=True)) == sorted(favourites)
    assert not {*ids, theirs.id} & set(await stage.listed())
    await stage.pool.execute("UPDATE documents SET deleted_at = NULL")
    assert len(await stage.listed()) == len(stage.memories)
    assert await stage.listed(trashed=True) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"sort_by": "deleted_at"}, "sortBy"),
        ({"uncategorized": True, "category_id": UUID(int=1)}, "uncategorized"),
        ({"search": "-a"}, "search"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(
    stage: Stage, query: dict[str, Any], field: str
) -> None:
    with pytest.raises(MemoError) as refused:
        await stage.listed(**query)
    assert list(refused.value.details or {}) == [field]


async def test_lists_follow_what_they_are_made_from(stage: Stage) -> None:
    memory = next(memory for memory in stage.memories if memory.role != "owner")
    await stage.rows.save(memory.id, holding("zz"), 2)
    assert (await stage.listed(sort_by="title"))[0] == memory.id
    assert (await stage.listed())[0] == memory.id
    category = next(each.category_id for each in stage.memories if each.category_id)
    assert await stage.listed(category_id=category)
    await stage.pool.execute("DELETE FROM memory_categories")
    assert len(await stage.listed(uncategorized=True)) == len(stage.memories)
    assert len(await stage.listed(uncategorized=True, tags=["t"])) == len(stage.memories) - 1
    await stage.pool.execute(
        "DELETE FROM memberships WHERE user_id = $1 AND role = 'viewer'", stage.owner.account_id
    )
    assert len(await stage.listed()) == 9
    await stage.pool.execute("DELETE FROM memories")
    assert await stage.listed() == []
    assert await stage.pool.fetchval("SELECT count(*) FROM search_texts") == 0


async def test_a_memory_is_marked_and_written_at_once_by_many(stage: Stage) -> None:
    memory = stage.memories[0]
    marks = [
        stage.rows.mark(memory.id, stage.owner.account_id, {"is_favorite": number % 2 == 0})
        for number in range(10)
    ]
    saves = [stage.rows.save(memory.id, holding(f"title {n}"), 2 + n) for n in range(10)]
    await asyncio.gather(*(call for pair in zip(marks, saves, strict=True) for call in pair))
    assert memory.id in await stage.listed(search="title 9")
    assert await stage.listed(search='"title 8"') == []


async def test_large_memories_are_cut_so_that_a_page_of_them_fits_a_message(
    pool: asyncpg.Pool,
) -> None:
    rows, ada = MemoryRows(pool), await add_person(pool)
    # A megabyte of one letter takes little room in its row.
    texts = ["x" * 1_000_000, "y" * (LISTED_BYTES - 100), "z" * LISTED_BYTES]
    for text in texts:
        await create(rows, ada, text[0], content={"text": text, "more": 1})
    await create(rows, ada, "meta", metadata={"note": "é" * LISTED_BYTES})
    await create(rows, ada, "data", content={"more": "x" * LISTED_BYTES})
    query = ListMemories(sort_by="title", sort_order="asc")
    page = await rows.list(ada.account_id, query)
    assert page.pagination.total == 5
    assert [memory.title for memory in page.memories if memory.is_cut] == ["data", "meta", "x", "z"]
    data, meta, x, y, z = page.memories
    assert data.content == meta.content == meta.metadata == {}
    assert (x.content, z.content) == ({"text": "x" * 1000}, {"text": "z" * 1000})
    assert y.content == {"text": texts[1], "more": 1}
    assert len(msgspec.msgpack.encode(page)) < 2 * LISTED_BYTES
    whole = await rows.get(x.id, ada.account_id)
    assert (whole.content["text"], whole.is_cut) == (texts[0], False)
