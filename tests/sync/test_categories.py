"""The operations on categories: what is taken, what is refused by name, and who is told."""

from uuid import uuid4

import asyncpg
import msgspec
import pytest

from protocol import frames
from protocol.categories import (
    CreateCategory,
    DeleteCategory,
    ReorderCategories,
    UpdateCategory,
)
from protocol.errors import ErrorCode, MemoError
from protocol.log import Author
from protocol.records import Empty
from storage.categories import CategoryRows
from sync.broker import LocalBroker
from sync.categories import Categories
from sync.feed import Notices, account_topic
from tests.rows import add_person


class Caller:
    """Who calls, without a connection."""

    def __init__(self, author: Author) -> None:
        self.author = author


@pytest.fixture
def broker() -> LocalBroker:
    return LocalBroker()


@pytest.fixture
def categories(pool: asyncpg.Pool, broker: LocalBroker) -> Categories:
    return Categories(CategoryRows(pool), Notices(broker))


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Caller:
    return Caller(await add_person(pool))


async def test_each_change_is_told_and_shows_in_the_list(
    categories: Categories, broker: LocalBroker, ada: Caller
) -> None:
    told: list[frames.Frame] = []
    broker.subscribe(
        account_topic(ada.author.account_id),
        lambda message: told.extend(frames.decode_server(message)),
    )

    async def names() -> list[str]:
        return [each.name for each in (await categories.list(ada, Empty())).categories]

    made = [(await categories.create(ada, CreateCategory(name=name))).category.id for name in "bac"]
    assert await names() == ["b", "a", "c"]
    await categories.update(ada, UpdateCategory(id=made[0], name="B", color="#abcdef"))
    answer = await categories.reorder(ada, ReorderCategories(ids=made[::-1]))
    assert [each.name for each in answer.categories] == ["c", "a", "B"]
    assert answer.categories[2].color == "#ABCDEF"
    deleted = await categories.delete(ada, DeleteCategory(id=made[1]))
    assert await categories.delete(ada, DeleteCategory(id=made[1])) == deleted
    assert await names() == ["c", "B"]
    assert len(told) == 7
    assert all(isinstance(event, frames.Event) and not event.body["memoryId"] for event in told)
    await categories.update(ada, UpdateCategory(id=made[0]))
    assert len(told) == 7  # nothing was to be changed


async def test_text_that_cannot_be_shown_is_refused_by_name(
    categories: Categories, ada: Caller
) -> None:
    made = (await categories.create(ada, CreateCategory(name="x"))).category
    for field, value in (
        ("name", "   "),
        ("name", "two\nlines"),
        ("name", "a\x00"),
        ("icon", "star\x1b[0m"),
        ("description", "nothing\x00here"),
    ):
        create = msgspec.convert({"name": "x", field: value}, CreateCategory)
        update = msgspec.convert({"id": made.id, field: value}, UpdateCategory)
        for request in (categories.create(ada, create), categories.update(ada, update)):
            with pytest.raises(MemoError) as refused:
                await request
            assert refused.value.code is ErrorCode.INVALID_REQUEST
            assert refused.value.details is not None
            assert set(refused.value.details) == {field}
    assert (await categories.list(ada, Empty())).categories == [made]


@pytest.mark.parametrize(
    "color", ["red", "#12345", "#1234567", "#12345g", "#12345\n", "#123456\n", "123456", ""]
)
def test_a_color_has_six_digits(color: str) -> None:
    body = msgspec.msgpack.encode({"name": "x", "color": color})
    with pytest.raises(msgspec.ValidationError, match=r"\$\.color"):
        msgspec.msgpack.decode(body, type=CreateCategory)


async def test_a_name_is_kept_without_the_space_around_it(
    categories: Categories, ada: Caller
) -> None:
    taken = uuid4()
    made = await categories.create(
        ada, CreateCategory(id=taken, name="  Books \t", description="a\nb", icon="📚")
    )
    assert (made.category.id, made.category.name) == (taken, "Books")
    assert (made.category.description, made.category.icon) == ("a\nb", "📚")
