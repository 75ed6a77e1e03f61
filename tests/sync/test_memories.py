"""The operations on memories: what members share merges, what is a member's own does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol import frames
from protocol.errors import ErrorCode, MemoError
from protocol.log import Author
from protocol.memories import CreateMemory, DeleteMemory, GetMemory, ListMemories, UpdateMemory
from sync.broker import LocalBroker
from sync.feed import Notices, account_topic
from sync.memories import Memories
from tests.rows import add_member, add_person
from tests.sync.doubles import SECONDS, Device, Gate, Node, memories_of, projector_of, running


class Caller:
    """Who calls, without a connection."""

    def __init__(self, author: Author) -> None:
        self.author = author


class Stage:
    """A node with the operations bound, and the accounts that were told of a change."""

    def __init__(self, node: Node, memories: Memories) -> None:
        self.node = node
        self.memories = memories
        self.told: list[UUID] = []

    def follow(self, who: Caller) -> None:
        account_id = who.author.account_id

        def receive(message: bytes) -> None:
            [event] = frames.decode_server(message)
            assert isinstance(event, frames.Event)
            self.told.append(account_id)

        self.node.broker.subscribe(account_topic(account_id), receive)


@asynccontextmanager
async def staged(pool: asyncpg.Pool) -> AsyncIterator[Stage]:
    broker = LocalBroker()
    async with running(pool, broker) as node:
        notices = Notices(broker)
        projector = projector_of(node, pool, notices)
        memories = memories_of(node, pool, notices, projector)
        yield Stage(node, memories)


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> AsyncIterator[Stage]:
    async with staged(pool) as stage:
        yield stage


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Caller:
    return Caller(await add_person(pool))


async def refusal(call: Any) -> MemoError:
    with pytest.raises(MemoError) as refused:
        await call
    return refused.value


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


async def test_a_memory_that_was_created_is_in_the_next_list_and_in_its_document(
    stage: Stage, ada: Caller
) -> None:
    stage.follow(ada)
    made = await stage.memories.create(
        ada,
        CreateMemory(
            title="Groceries",
            content={"text": "milk", "kind": "note"},
            tags=["home"],
            metadata={"a": 1},
            is_favorite=True,
        ),
    )
    listed = await stage.memories.list(ada, ListMemories(search="milk"))
    assert listed.memories == [made.memory]
    assert made.memory.content == {"text": "milk", "kind": "note"}
    assert (made.memory.tags, made.memory.metadata) == (["home"], {"a": 1})
    assert made.memory.is_favorite
    assert stage.told == [ada.author.account_id]
    device = Device(ada.author)
    await device.open(stage.node.hub, made.memory.id)
    assert device.content() == "milk"


async def test_creating_by_the_same_id_again_is_harmless(
    pool: asyncpg.Pool, stage: Stage, ada: Caller
) -> None:
    taken = uuid4()
    first = await stage.memories.create(ada, CreateMemory(id=taken, title="first"))
    again = await stage.memories.create(ada, CreateMemory(id=taken, title="second"))
    assert again == first
    bob = Caller(await add_person(pool))
    error = await refusal(stage.memories.create(bob, CreateMemory(id=taken)))
    assert (error.code, error.details) == (ErrorCode.CONFLICT, {"id": "is taken"})
    await stage.memories.delete(ada, DeleteMemory(id=taken))
    error = await refusal(stage.memories.create(ada, CreateMemory(id=taken)))
    assert error.code is ErrorCode.GONE


async def test_a_text_is_rewritten_so_that_edits_elsewhere_in_it_survive(
    stage: Stage, ada: Caller
) -> None:
    made = await stage.memories.create(ada, CreateMemory(content="one two three"))
    memory_id = made.memory.id
    device = Device(ada.author)
    await device.open(stage.node.hub, memory_id)
    device.content()
    gate = stage.node.log.before["commit"] = Gate()
    typed = device.submit(device.type(" four"))
    await gate.arrival()
    updating = asyncio.create_task(
        stage.memories.update(ada, UpdateMemory(id=memory_id, content="one 2 three"))
    )
    await stage.node.log.news.until(lambda: stage.node.log.calls["content"] >= 2)
    gate.open()
    assert await device.ack(typed) == 2
    updated = await asyncio.wait_for(updating, SECONDS)
    assert updated.memory.content == {"text": "one 2 three four"}
    await device.reach(3)
    assert device.content() == "one 2 three four"


async def test_updates_of_one_memory_at_once_all_take_place(stage: Stage, ada: Caller) -> None:
    memory_id = (await stage.memories.create(ada, CreateMemory(tags=["x"]))).memory.id
    answers = await asyncio.gather(
        stage.memories.update(ada, UpdateMemory(id=memory_id, title="title")),
        stage.memories.update(ada, UpdateMemory(id=memory_id, description="description")),
        stage.memories.update(ada, UpdateMemory(id=memory_id, metadata={"a": 1})),
        stage.memories.update(ada, UpdateMemory(id=memory_id, content="text")),
    )
    memory = (await stage.memories.get(ada, GetMemory(id=memory_id))).memory
    assert (memory.title, memory.description) == ("title", "description")
    assert (memory.metadata, memory.content) == ({"a": 1}, {"text": "text"})
    assert memory.offset == 5
    assert answers[0].memory.title == "title"
    assert answers[3].memory.content == {"text": "text"}


async def test_fields_left_out_stay_and_null_clears(stage: Stage, ada: Caller) -> None:
    made = await stage.memories.create(
        ada,
        CreateMemory(title="t", description="d", content={"text": "x", "k": 1}, metadata={"m": 1}),
    )
    memory_id = made.memory.id
    kept = (await stage.memories.update(ada, UpdateMemory(id=memory_id, title=None))).memory
    assert (kept.title, kept.description, kept.content) == (None, "d", {"text": "x", "k": 1})
    cleared = await stage.memories.update(
        ada, UpdateMemory(id=memory_id, description=None, content=None, metadata=None)
    )
    assert cleared.memory.description is None
    assert (cleared.memory.content, cleared.memory.metadata) == ({"text": ""}, {})


async def test_an_update_that_changes_nothing_writes_nothing(stage: Stage, ada: Caller) -> None:
    made = await stage.memories.create(ada, CreateMemory(title="t", content="x", tags=["a"]))
    same = UpdateMemory(id=made.memory.id, title="t", content="x", tags=["a"])
    assert (await stage.memories.update(ada, same)).memory == made.memory


async def test_marks_are_the_members_own_and_need_no_right_to_write(
    pool: asyncpg.Pool, stage: Stage, ada: Caller
) -> None:
    bob = Caller(await add_person(pool))
    memory_id = (await stage.memories.create(ada, CreateMemory(title="t"))).memory.id
    await add_member(pool, memory_id, bob.author, "viewer")
    his = await stage.memories.update(
        bob, UpdateMemory(id=memory_id, is_favorite=True, is_archived=True)
    )
    assert (his.memory.is_favorite, his.memory.is_archived, his.memory.offset) == (True, True, 1)
    hers = await stage.memories.get(ada, GetMemory(id=memory_id))
    assert (hers.memory.is_favorite, hers.memory.is_archived) == (False, False)
    error = await refusal(stage.memories.update(bob, UpdateMemory(id=memory_id, title="x")))
    assert error.code is ErrorCode.FORBIDDEN
    error = await refusal(stage.memories.delete(bob, DeleteMemory(id=memory_id)))
    assert error.code is ErrorCode.FORBIDDEN


async def test_a_category_that_is_not_the_callers_is_not_found(stage: Stage, ada: Caller) -> None:
    error = await refusal(stage.memories.create(ada, CreateMemory(category_id=uuid4())))
    assert error.code is ErrorCode.NOT_FOUND
    assert error.details == {"categoryId": "is not one of your categories"}


@pytest.mark.parametrize("depth", [33, 300, 900])
async def test_what_nests_too_deep_is_refused_and_says_so(
    stage: Stage, ada: Caller, depth: int
) -> None:
    made = await stage.memories.create(ada, CreateMemory(metadata=nested(32)))
    assert made.memory.metadata == nested(32)
    for call in (
        stage.memories.create(ada, CreateMemory(metadata=nested(depth))),
        stage.memories.update(ada, UpdateMemory(id=made.memory.id, content=nested(depth))),
    ):
        error = await refusal(call)
        assert error.code is ErrorCode.INVALID_REQUEST
        assert "nesting deeper than 32" in error.message
    assert (await stage.memories.get(ada, GetMemory(id=made.memory.id))).memory.offset == 1


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (b"\x00", None),
        ("\x00", "\ufffd"),
        (1e400, None),
        ("\U0001f600", "\U0001f600"),
    ],
)
async def test_any_value_that_a_document_can_hold_is_stored(
    stage: Stage, ada: Caller, value: Any, kept: Any
) -> None:
    made = await stage.memories.create(ada, CreateMemory(metadata={"a": value}))
    assert made.memory.metadata == {"a": kept}
    assert await stage.memories.get(ada, GetMemory(id=made.memory.id)) == made


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, [{"deep": 2**64 - 1}]])
async def test_an_integer_past_64_bits_is_refused(stage: Stage, ada: Caller, value: Any) -> None:
    error = await refusal(stage.memories.create(ada, CreateMemory(content={"a": value})))
    assert error.code is ErrorCode.INVALID_REQUEST
    assert "64 bits" in error.message


async def test_a_body_that_is_no_string_is_refused_by_name(stage: Stage, ada: Caller) -> None:
    error = await refusal(stage.memories.create(ada, CreateMemory(content={"text": 5})))
    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.details == {"content.text": "must be a string"}


async def test_a_deleted_memory_ends_its_channels_and_tells_its_followers(
    pool: asyncpg.Pool, stage: Stage, ada: Caller
) -> None:
    bob = Caller(await add_person(pool))
    memory_id = (await stage.memories.create(ada, CreateMemory(title="t"))).memory.id
    await add_member(pool, memory_id, bob.author, "editor")
    device = Device(bob.author)
    await device.open(stage.node.hub, memory_id)
    stage.follow(ada)
    stage.follow(bob)
    deleted = await stage.memories.delete(ada, DeleteMemory(id=memory_id))
    assert [error.code for error in device.losses] == [ErrorCode.GONE]
    assert sorted(stage.told) == sorted([ada.author.account_id, bob.author.account_id])
    assert await stage.memories.delete(ada, DeleteMemory(id=memory_id)) == deleted
    for call in (
        stage.memories.get(bob, GetMemory(id=memory_id)),
        stage.memories.update(ada, UpdateMemory(id=memory_id, title="x")),
    ):
        assert (await refusal(call)).code is ErrorCode.GONE


async def test_a_caller_that_goes_away_leaves_a_whole_update_and_the_next_builds_on_it(
    stage: Stage, ada: Caller
) -> None:
    memory_id = (await stage.memories.create(ada, CreateMemory(content="a"))).memory.id
    gate = stage.node.log.before["commit"] = Gate()
    left = asyncio.create_task(stage.memories.update(ada, UpdateMemory(id=memory_id, content="ab")))
    await gate.arrival()
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    following = asyncio.create_task(
        stage.memories.update(ada, UpdateMemory(id=memory_id, title="next"))
    )
    gate.open()
    memory = (await asyncio.wait_for(following, SECONDS)).memory
    assert (memory.title, memory.content, memory.offset) == ("next", {"text": "ab"}, 3)


async def test_a_large_memory_is_made_and_changed(stage: Stage, ada: Caller) -> None:
    """Its updates are scanned in a worker, not between the sockets."""
    text = "word " * 40_000
    made = await stage.memories.create(ada, CreateMemory(content=text))
    assert made.memory.content == {"text": text}
    changed = await stage.memories.update(
        ada, UpdateMemory(id=made.memory.id, content=text[:50] + "x" * 100_000 + text[50:])
    )
    assert len(changed.memory.content["text"]) == 300_000


async def test_more_values_than_rows_may_hold_are_refused(stage: Stage, ada: Caller) -> None:
    contents: tuple[dict[str, Any], ...] = (
        {"list": [[]] * 10_001},
        {"map": {str(number): number for number in range(10_001)}},
    )
    for content in contents:
        error = await refusal(stage.memories.create(ada, CreateMemory(content=content)))
        assert error.code is ErrorCode.INVALID_REQUEST
        assert "more than 10,000 values" in error.message
