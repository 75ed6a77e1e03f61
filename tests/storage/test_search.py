"""Search: what is found, by whom, and what of it is shown."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.lexemes import lexemes_of
from protocol.log import Author, Message
from protocol.memories import ListMemories, Memory
from protocol.search import Highlight, SearchPage, SearchQuery
from storage.highlights import FAR
from storage.memories import MemoryRows
from storage.search import NEWEST, WINDOW, SearchRows
from storage.texts import TextRows
from tests.rows import add_member, add_person, delete_memory
from tests.storage.test_memories import add_category, create, holding


def message(message_id: UUID, content: str) -> Message:
    return Message(
        id=message_id,
        content=content,
        message_type="text",
        user_id=None,
        parent_message_id=None,
        metadata=None,
        attachments=None,
        is_ai_generated=False,
        status="sent",
        created_at=None,
    )


class Stage:
    """An account that searches."""

    def __init__(self, pool: asyncpg.Pool, owner: Author) -> None:
        self.pool = pool
        self.rows = MemoryRows(pool)
        self.search = SearchRows(pool, self.rows)
        self.owner = owner

    async def add(self, title: str | None = None, **fields: Any) -> Memory:
        return await create(self.rows, self.owner, title, **fields)

    async def page(self, query: str, who: Author | None = None, **fields: Any) -> SearchPage:
        account = (who or self.owner).account_id
        return await self.search.query(account, SearchQuery(query=query, **fields))

    async def titles(self, query: str, who: Author | None = None, **fields: Any) -> list[Any]:
        page = await self.page(query, who, **fields)
        assert (page.total, page.total_is_lower_bound) == (len(page.results), False)
        return [result.memory.title for result in page.results]

    async def shown(self, query: str) -> list[tuple[str, list[str]]]:
        """The fields of the highlights of the one result, and the words marked in them."""
        [result] = (await self.page(query)).results
        return [(each.field, marked(each)) for each in result.highlights]


def marked(highlight: Highlight) -> list[str]:
    units = highlight.text.encode("utf-16-le")
    return [units[2 * start : 2 * end].decode("utf-16-le") for start, end in highlight.ranges]


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> Stage:
    return Stage(pool, await add_person(pool))


def body(text: str) -> dict[str, Any]:
    return {"content": {"text": text}}


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        ("Café am See", ["cafe", "CAFÉ", "cafe\u0301", "caf", "see cafe", "am se"]),
        ("Die Straße", ["strasse", "STRASSE", "straße", "stras"]),
        ("ﬁne İstanbul ærø", ["fine", "istanbul", "ISTANBUL", "aero"]),
        ("東京都に行く", ["東京", "京都", "東", "行く", "東京都", "く"]),
        ("ガギグ", ["ｶﾞｷﾞ", "ガ"]),
        ("ภาษาไทยง่าย", ["ภาษา", "ไทย"]),
        ("서울에서 만나요", ["서울", "만나"]),
        ("हिन्दी की किताब", ["किताब", "हिन्दी"]),
        ("شَمْس", ["شمس"]),
        ("привёт Ёлка", ["привет", "елка"]),
        ("an e-mail to snake_case", ["e-mail", "mail", "snake_case", "case snake"]),
        ("x" * 200, ["x" * 70, "x" * 64]),
    ],
)
async def test_words_of_any_script_are_found_however_they_are_typed(
    stage: Stage, text: str, queries: Sequence[str]
) -> None:
    await stage.add("found", **body(text))
    await stage.add("other", **body("something else"))
    for query in queries:
        assert await stage.titles(query) == ["found"], query


@pytest.mark.parametrize("query", ["京東", "東都", '"都東"', '"am der"', "afé", "strass3"])
async def test_what_is_not_there_is_not_found(stage: Stage, query: str) -> None:
    await stage.add("cafe", **body("Café am See, in der Straße. 東京 京都"))
    assert await stage.titles(query) == []


async def test_the_last_word_is_a_beginning_and_the_others_are_whole(stage: Stage) -> None:
    await stage.add("found", **body("planning the garden"))
    assert await stage.titles("planning gar") == ["found"]
    assert await stage.titles("plan garden") == []
    assert await stage.titles("garden plan") == ["found"]
    assert await stage.titles('"planning the ga') == ["found"]
    assert await stage.titles('"planning the ga"') == []


async def test_one_letter_begins_words_of_titles_and_tags_only(stage: Stage) -> None:
    await stage.add("Zebra")
    await stage.add("tagged", tags=["zoo"])
    await stage.add("letter", **body("plan z"))
    await stage.add("body", **body("zoology"))
    assert sorted(await stage.titles("z")) == ["Zebra", "letter", "tagged"]
    assert sorted(await stage.titles("zo")) == ["body", "tagged"]


async def test_quotes_ask_for_words_in_their_order_and_a_minus_for_their_absence(
    stage: Stage,
) -> None:
    await stage.add("one", **body("red apple pie"))
    await stage.add("two", **body("apple red"))
    await stage.add("three", description="red", **body("apple"))
    assert sorted(await stage.titles("red apple")) == ["one", "three", "two"]
    assert await stage.titles('"red apple"') == ["one"]
    assert await stage.titles('apple -"red apple"  ') == ["two", "three"][::-1]
    assert await stage.titles("apple -pie -description") == ["three", "two"]
    assert await stage.titles("apple -p") == ["three", "two", "one"]
    assert await stage.titles('pie "red apple"') == ["one"]


@pytest.mark.parametrize("query", ["", "  ", "!?", '""', "-", '"-"', "🎉", "%_\\"])
async def test_a_query_without_words_is_refused_by_name(stage: Stage, query: str) -> None:
    for call, field in (
        (stage.page(query), "query"),
        (stage.rows.list(stage.owner.account_id, ListMemories(search=f"{query}.")), "search"),
    ):
        with pytest.raises(MemoError) as refused:
            await call
        assert refused.value.code is ErrorCode.INVALID_REQUEST
        assert field in (refused.value.details or {})


async def test_a_query_of_excluded_words_alone_is_refused(stage: Stage) -> None:
    with pytest.raises(MemoError, match="excluded"):
        await stage.page('-apple -"red pie"')


@pytest.mark.parametrize(
    "query",
    ["a & | ! :* ''", "a:*", "a' | 'b", "a\\'", "!(a", "a <-> b", "a\x00b", "' OR 1=1 --", '"a" "'],
)
async def test_what_has_a_meaning_to_postgresql_has_none_here(stage: Stage, query: str) -> None:
    await stage.add("found", **body("or 1 a b"))
    await stage.add("other", **body("c d"))
    assert await stage.titles(query) == ["found"]


async def test_a_long_query_is_cut_short(stage: Stage) -> None:
    await stage.add("found", **body(" ".join("abcdefghijklmnopqrstuvwxyz0123456789")))
    assert await stage.titles(" ".join("abcdefghijklmnopqrstuvwxyz0123456789")) == ["found"]


async def test_nobody_finds_what_is_not_theirs_and_members_find_what_is(stage: Stage) -> None:
    memory = await stage.add("shared secret")
    bob, eve = await add_person(stage.pool), await add_person(stage.pool)
    await add_member(stage.pool, memory.id, bob, "viewer")
    assert await stage.titles("secret", bob) == ["shared secret"]
    assert await stage.titles("secret", eve) == []
    await stage.rows.save(memory.id, holding("shared treasure"), 2)
    assert await stage.titles("secret", bob) == []
    assert await stage.titles("treasure", bob) == ["shared treasure"]
    await stage.pool.execute("DELETE FROM memberships WHERE user_id = $1", bob.account_id)
    assert await stage.titles("treasure", bob) == []
    assert await stage.titles("treasure") == ["shared treasure"]


async def test_what_is_in_the_trash_is_not_found_until_it_is_back(stage: Stage) -> None:
    memory = await stage.add("wanted")
    await delete_memory(stage.pool, memory.id)
    assert await stage.titles("wanted") == []
    await stage.rows.save(memory.id, holding("wanted more"), 2)
    assert await stage.titles("wanted") == []
    await stage.pool.execute("UPDATE documents SET deleted_at = NULL")
    assert await stage.titles("wanted") == ["wanted more"]


async def test_messages_and_tags_are_found_and_named(stage: Stage) -> None:
    memory = await stage.add("thread", tags=["Überraschung"])
    older, newer = message(uuid4(), "the café was fine"), message(uuid4(), "see you there")
    await stage.rows.save(
        memory.id, holding("thread", tags=["Überraschung"], messages=[older, newer]), 2
    )
    [result] = (await stage.page("cafe")).results
    assert result.message_id == older.id
    assert await stage.shown("cafe") == [("messages", ["café"])]
    assert await stage.shown("uberr") == [("tags", ["Überraschung"])]
    assert await stage.titles("cafe", types=["memory"]) == []
    assert await stage.titles("cafe", types=["message"]) == ["thread"]
    assert await stage.titles("thread", types=["message", "file"]) == []
    assert await stage.titles('"was fine"', types=["message"]) == ["thread"]
    assert await stage.titles("uberraschung cafe") == ["thread"]


async def test_file_names_are_found_once_they_were_read(stage: Stage) -> None:
    memory = await stage.add("trip")
    texts = TextRows(stage.pool)
    file_id = await stage.pool.fetchval(
        """
        INSERT INTO files (user_id, memory_id, filename, original_filename, file_type, file_size,
            sha256, storage_path)
        VALUES ($1, $2, 'Boarding-Pässe.pdf', 'x', 'application/pdf', 1, '', '') RETURNING id
        """,
        stage.owner.account_id,
        memory.id,
    )

    async def read_again(offset: int) -> None:
        [queued] = await texts.queued(UUID(int=0), 10)
        await texts.index(queued, holding("trip"), offset)
        assert await texts.queued(UUID(int=0), 10) == []

    await read_again(1)
    [result] = (await stage.page("passe")).results
    assert (result.file_id, result.highlights[0].field) == (file_id, "files")
    await stage.rows.save(memory.id, holding("journey"), 2)
    assert await stage.titles("pdf", types=["file"]) == ["journey"]
    await stage.pool.execute("DELETE FROM files")
    await read_again(2)
    assert await stage.titles("pdf") == []


async def test_older_words_never_take_the_place_of_newer_ones(stage: Stage) -> None:
    memory = await stage.add("first")
    await stage.rows.save(memory.id, holding("third"), 3)
    await stage.rows.save(memory.id, holding("second"), 2)
    assert await stage.titles("third") == ["third"]
    assert await stage.titles("second") == []
    await stage.pool.execute("INSERT INTO search_queue SELECT id FROM memories")
    texts = TextRows(stage.pool)
    [queued] = await texts.queued(UUID(int=0), 10)
    await texts.index(queued, holding("second"), 2)
    assert await stage.titles("third") == ["third"]


async def test_a_text_that_is_as_it_was_is_not_indexed_again(stage: Stage) -> None:
    memory = await stage.add("title")
    place = "SELECT vector::text, digest FROM search_texts"
    before = await stage.pool.fetchrow(place)
    await stage.rows.save(memory.id, holding("title", metadata={"a": 1}), 2)
    assert await stage.pool.fetchrow(place) == before
    assert await stage.pool.fetchval("SELECT log_offset FROM search_texts") == 2


async def test_the_better_place_comes_first_and_then_the_newer(stage: Stage) -> None:
    await stage.add("plain", **body("apple " + "pear " * 30))
    await stage.add("described", description="apple")
    await stage.add("tagged", tags=["apple"])
    await stage.add("Apple")
    thread = await stage.add("thread")
    await stage.rows.save(thread.id, holding("thread", messages=[message(uuid4(), "apple")]), 2)
    await stage.add("plain too", **body("apple"))
    order = ["Apple", "tagged", "described", "plain too", "plain", "thread"]
    assert await stage.titles("apple") == order


async def test_filters_narrow_what_is_found(stage: Stage) -> None:
    category = await add_category(stage.pool, stage.owner)
    await stage.add("apple one", tags=["Red", "big"], category_id=category)
    await stage.add("apple two", tags=["Red"])
    await stage.add("apple three", tags=["red", "it's"])
    assert sorted(await stage.titles("apple", tags=["Red"])) == ["apple one", "apple two"]
    assert await stage.titles("apple", tags=["Red", "big"]) == ["apple one"]
    assert await stage.titles("apple", tags=["it's"]) == ["apple three"]
    assert await stage.titles("apple", tags=["it"]) == []
    assert await stage.titles("apple", category_id=category) == ["apple one"]
    assert await stage.titles("apple", category_id=uuid4()) == []


async def test_pages_do_not_overlap_and_end(stage: Stage) -> None:
    for number in range(7):
        await stage.add(f"apple {number}")
    seen: list[str | None] = []
    for offset in (0, 3, 6, 9):
        page = await stage.page("apple", limit=3, offset=offset)
        assert (page.total, page.more) == (7, offset < 6 and offset + 3 < 7)
        seen += [result.memory.title for result in page.results]
    assert seen == [f"apple {number}" for number in reversed(range(7))]


async def add_many(stage: Stage, count: int, words: str, age: str = "0") -> None:
    """Memories of the owner's by their rows alone."""
    await stage.pool.execute(
        """
        WITH m AS (
            INSERT INTO memories (id, user_id, updated_at)
            SELECT gen_random_uuid(), $1, now() - $4::text::interval
            FROM generate_series(1, $2::int) RETURNING *
        ), d AS (
            INSERT INTO documents (id, owner_id) SELECT id, user_id FROM m
        ), ms AS (
            INSERT INTO memberships (memory_id, user_id, role) SELECT id, user_id, 'owner' FROM m
        )
        INSERT INTO search_texts (memory_id, user_id, created_at, updated_at, is_favorite,
            is_archived, log_offset, digest, vector)
        SELECT id, $1, now(), updated_at, false, false, 0, md5('')::uuid,
            replace($3, '''~', '''' || right($1::text, 8))::tsvector FROM m
        """,
        stage.owner.account_id,
        count,
        words,
        age,
    )


async def test_what_is_very_common_is_counted_and_the_titles_still_come_first(
    stage: Stage,
) -> None:
    await stage.add("Apple")
    await add_many(stage, NEWEST + 10, lexemes_of(holding(**body("apple pie"))))
    page = await stage.page("apple", limit=2)
    assert (page.total, page.total_is_lower_bound, page.more) == (NEWEST + 11, False, True)
    assert page.results[0].memory.title == "Apple"
    phrase = await stage.page('"apple pie"', limit=2)
    assert (phrase.total, phrase.total_is_lower_bound) == (NEWEST, True)
    last = await stage.page("apple", limit=2, offset=NEWEST)
    assert (len(last.results), last.more) == (1, False)


async def test_of_too_many_to_count_the_newest_and_the_titles_are_shown(stage: Stage) -> None:
    await stage.add("Apple")
    await add_many(stage, 20, lexemes_of(holding(tags=["old"], **body("apple"))), age="1 day")
    await add_many(stage, WINDOW, lexemes_of(holding(**body("apple"))))
    stage.search = SearchRows(stage.pool, stage.rows, many=15)
    page = await stage.page("apple", limit=50)
    assert (page.total, page.total_is_lower_bound, page.more) == (15, True, True)
    assert [result.memory.title for result in page.results[:2]] == ["Apple", None]
    # None of the newest has the tag: those that have it are found all the same.
    old = await stage.page("apple", limit=50, tags=["old"])
    assert (len(old.results), old.total, old.more) == (20, 15, False)


async def test_lists_search_in_the_same_words_and_count_exactly(stage: Stage) -> None:
    for title in ("Café one", "two cafe", "three"):
        await stage.add(title, tags=["t"], **body("日本語"))
    deleted = await stage.add("deleted cafe")
    await stage.rows.delete(deleted.id, stage.owner.account_id)

    async def titles(**query: Any) -> list[str | None]:
        page = await stage.rows.list(stage.owner.account_id, ListMemories(**query))
        assert page.pagination.total == len(page.memories)
        return [memory.title for memory in page.memories]

    assert await titles(search="cafe", sort_by="title") == ["two cafe", "Café one"]
    assert await titles(search="cafe -one", tags=["t"]) == ["two cafe"]
    assert await titles(search="日本語 three") == ["three"]
    assert await titles(search="本日") == []
    assert await titles(search="cafe", trashed=True) == ["deleted cafe"]
    assert await titles(search="   ", trashed=True) == ["deleted cafe"]


async def test_a_memory_of_more_words_than_fit_is_found_by_its_first(stage: Stage) -> None:
    text = " ".join(f"w{number:x}é" for number in range(200_000))
    memory = await stage.add("vast", **body(text))
    assert await stage.titles("w0") == ["vast"]
    thread = [message(uuid4(), f"m{number}" * 40 + " tail") for number in range(5000)]
    await stage.rows.save(memory.id, holding("vast", messages=thread, **body(text)), 2)
    assert await stage.titles("vast tail") == ["vast"]
    repeated = "again " * 100_000
    await stage.rows.save(memory.id, holding("vast", **body(repeated + "end")), 3)
    assert await stage.titles('"again again"') == ["vast"]
    assert await stage.titles('"again end"') == []
    await stage.rows.save(memory.id, holding("vast", **body("x" * 5_000_000)), 4)
    assert await stage.titles("xxx") == ["vast"]


async def test_of_large_memories_a_piece_is_answered_and_the_words_in_them_are_shown(
    stage: Stage,
) -> None:
    far = "filler " * 100_000 + "an apple" + " filler" * 1000
    await stage.add("far", **body(far))
    [result] = (await stage.page("apple")).results
    assert result.memory.is_cut
    assert result.memory.content == {"text": far[:1000]}
    [highlight] = result.highlights
    assert (highlight.field, marked(highlight)) == ("content", ["apple"])


async def test_a_page_of_large_memories_is_looked_through_as_far_as_a_few(stage: Stage) -> None:
    far = "filler " * (FAR // 10) + "an apple"
    for number in range(10):
        await stage.add(f"apple {number}", **body(far))
    page = await stage.page("apple")
    assert [[each.field for each in result.highlights] for result in page.results] == (
        [["title"]] * 10
    )
    assert len(msgspec.msgpack.encode(page)) < 50_000
