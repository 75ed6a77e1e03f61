"""The trash on a running node: rooms that end and open again, devices that are told, the sweep."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol import frames
from protocol.bulk import Action, BulkMemories
from protocol.errors import ErrorCode, MemoError
from protocol.log import Author
from protocol.memories import CreateMemory, DeleteMemory, GetMemory
from protocol.operation import Permission
from protocol.trash import PurgeMemory, RestoreMemory
from storage.feed import Feed
from storage.memories import MemoryRows
from storage.trash import TrashRows
from sync.broker import LocalBroker
from sync.bulk import Bulk
from sync.feed import Notices, account_topic
from sync.memories import Memories
from sync.trash import Trash
from tests.rows import add_memory, add_person
from tests.sync.doubles import SECONDS, Device, Gate, Node, memories_of, projector_of, running

DAY = 86400.0


class Caller:
    """Who calls, without a connection."""

    def __init__(self, author: Author, *without: Permission) -> None:
        self.author = author
        self.permissions = frozenset(Permission) - set(without)


class Stage:
    """A node with the operations bound, and the memories that accounts were told of."""

    def __init__(self, node: Node, memories: Memories, trash: Trash, bulk: Bulk) -> None:
        self.node = node
        self.memories = memories
        self.trash = trash
        self.bulk = bulk
        self.told: dict[UUID, list[UUID | None]] = {}

    def follow(self, author: Author) -> list[UUID | None]:
        """What the account is told from now on."""
        told = self.told[author.account_id] = []

        def receive(message: bytes) -> None:
            [event] = frames.decode_server(message)
            assert isinstance(event, frames.Event)
            memory_id = event.body["memoryId"]
            told.append(UUID(memory_id) if memory_id else None)

        self.node.broker.subscribe(account_topic(author.account_id), receive)
        return told


@asynccontextmanager
async def staged(pool: asyncpg.Pool) -> AsyncIterator[Stage]:
    broker = LocalBroker()
    async with running(pool, broker) as node:
        rows, notices = MemoryRows(pool), Notices(broker)
        projector = projector_of(node, pool, notices)
        trash = Trash(
            TrashRows(pool),
            rows,
            node.hub,
            projector,
            notices,
            tombstones=Feed(pool),
            observer=node.watcher,
            tasks=node.tasks,
            retention_seconds=30 * DAY,
            tombstone_seconds=180 * DAY,
        )
        memories = memories_of(node, pool, notices, projector)
        yield Stage(node, memories, trash, Bulk(rows, trash, notices))


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> AsyncIterator[Stage]:
    async with staged(pool) as stage:
        yield stage


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Caller:
    return Caller(await add_person(pool))


@pytest.fixture
async def bob(pool: asyncpg.Pool) -> Caller:
    return Caller(await add_person(pool))


async def refusal(call: Any) -> MemoError:
    with pytest.raises(MemoError) as refused:
        await call
    return refused.value


async def backdate(pool: asyncpg.Pool, *memories: UUID, days: int = 31) -> None:
    await pool.execute(
        "UPDATE documents SET deleted_at = now() - make_interval(days => $2) WHERE id = ANY ($1)",
        memories,
        days,
    )


async def test_a_restored_memory_opens_again_and_takes_edits(
    pool: asyncpg.Pool, stage: Stage, ada: Caller, bob: Caller
) -> None:
    memory = await add_memory(pool, ada.author, editor=bob.author)
    phone, laptop = Device(ada.author), Device(bob.author)
    await phone.open(stage.node.hub, memory)
    await phone.ack(phone.submit(phone.type("one")))
    await laptop.open(stage.node.hub, memory)
    told = stage.follow(bob.author)
    await stage.memories.delete(ada, DeleteMemory(id=memory))
    for device in (phone, laptop):
        await device.news.until(partial(getattr, device, "losses"))
        assert device.losses[0].code is ErrorCode.GONE
    assert (await refusal(phone.open(stage.node.hub, memory))).code is ErrorCode.GONE

    restored = await stage.trash.restore(ada, RestoreMemory(id=memory))
    assert (restored.memory.id, restored.memory.deleted_at) == (memory, None)
    assert told == [memory, memory]
    again = Device(bob.author)
    await again.open(stage.node.hub, memory)
    await again.ack(again.submit(again.type("two ")))
    assert "one" in again.content()
    assert "two" in again.content()
    reader = Device(ada.author)
    await reader.open(stage.node.hub, memory)
    assert reader.content() == again.content()


async def test_rows_that_were_behind_when_a_memory_was_deleted_catch_up_when_it_is_restored(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    memory = await add_memory(pool, ada.author)
    device = Device(ada.author)
    await device.open(stage.node.hub, memory)
    await device.ack(device.submit(device.type("late")))
    await stage.memories.delete(ada, DeleteMemory(id=memory))
    await stage.trash.restore(ada, RestoreMemory(id=memory))
    await stage.node.watcher.until("projected")
    got = await stage.memories.get(ada, GetMemory(id=memory))
    assert got.memory.content["text"] == "late"


async def test_an_edit_in_flight_when_its_memory_is_purged_is_refused_as_gone(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    memory = await add_memory(pool, ada.author)
    device = Device(ada.author)
    await device.open(stage.node.hub, memory)
    gate = stage.node.log.before["commit"] = Gate()
    sent = device.submit(device.type("late"))
    await gate.arrival()
    rows = TrashRows(pool)
    await rows.delete(ada.author.account_id, [memory])
    await rows.purge(ada.author.account_id, [memory])
    gate.open()
    assert await device.refusal(sent) in (ErrorCode.GONE, ErrorCode.NOT_FOUND)
    assert await pool.fetchval("SELECT count(*) FROM document_updates") == 0


async def test_purging_tells_all_who_followed_the_memory(
    stage: Stage, pool: asyncpg.Pool, ada: Caller, bob: Caller
) -> None:
    memory = await add_memory(pool, ada.author, viewer=bob.author)
    request = PurgeMemory(id=memory)
    assert (await refusal(stage.trash.purge(ada, request))).code is ErrorCode.CONFLICT
    await stage.memories.delete(ada, DeleteMemory(id=memory))
    assert (await refusal(stage.trash.purge(bob, request))).code is ErrorCode.FORBIDDEN
    told = stage.follow(bob.author)
    purged = await stage.trash.purge(ada, request)
    assert await stage.trash.purge(ada, request) == purged
    assert told == [memory]
    assert stage.node.watcher.counts["purged"] == 1
    assert (await refusal(stage.trash.restore(ada, RestoreMemory(id=memory)))).code is (
        ErrorCode.GONE
    )
    assert (await refusal(stage.memories.get(bob, GetMemory(id=memory)))).code is (
        ErrorCode.NOT_FOUND
    )
    deleted = await stage.memories.delete(ada, DeleteMemory(id=memory))
    assert deleted.deleted_at == purged.purged_at


async def test_the_sweep_purges_what_is_old_enough_and_tells_of_it(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    old, young, living = [await add_memory(pool, ada.author) for _ in range(3)]
    await stage.trash.delete_each(ada.author.account_id, [old, young])
    await backdate(pool, old)
    await backdate(pool, young, days=29)
    told = stage.follow(ada.author)
    await stage.trash.sweep()
    await stage.trash.sweep()
    left = await pool.fetch("SELECT id FROM memories")
    assert {row[0] for row in left} == {young, living}
    assert told == [old]
    assert stage.node.watcher.counts["purged"] == 1


async def test_two_nodes_sweep_at_once_and_purge_each_memory_once(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    memories = [await add_memory(pool, ada.author) for _ in range(12)]
    await stage.trash.delete_each(ada.author.account_id, memories)
    await backdate(pool, *memories)
    async with staged(pool) as other:
        await asyncio.gather(stage.trash.sweep(), other.trash.sweep())
        purged = [each.node.watcher.counts["purged"] for each in (stage, other)]
        failed = [each.node.watcher.counts["purge failed"] for each in (stage, other)]
    assert (sum(purged), failed) == (len(memories), [0, 0])
    assert await pool.fetchval("SELECT count(*) FROM memories") == 0


async def test_a_memory_that_cannot_be_purged_costs_the_others_nothing(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    stuck, other = [await add_memory(pool, ada.author) for _ in range(2)]
    await stage.trash.delete_each(ada.author.account_id, [stuck, other])
    await backdate(pool, stuck, days=40)
    await backdate(pool, other)
    await pool.execute(
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.id = '{stuck}' THEN RAISE 'not this one'; END IF;
            RETURN OLD;
        END $$;
        CREATE TRIGGER stuck BEFORE DELETE ON memories FOR EACH ROW EXECUTE FUNCTION refuse();
        """
    )
    await stage.trash.sweep()
    left = await pool.fetch("SELECT id FROM memories")
    assert [row[0] for row in left] == [stuck]
    [(what, document_id, _)] = stage.node.watcher.failures
    assert (what, document_id) == ("purge", stuck)


async def test_the_sweep_runs_by_itself_and_outlives_an_outage(
    stage: Stage, pool: asyncpg.Pool, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.trash.SWEEP_SECONDS", 0.0)
    real, outages = TrashRows.expired, iter((OSError("away"),))

    async def expired(rows: TrashRows, *given: Any) -> Sequence[UUID]:
        for outage in outages:
            raise outage
        return await real(rows, *given)

    monkeypatch.setattr(TrashRows, "expired", expired)
    memory = await add_memory(pool, ada.author)
    await stage.trash.delete_each(ada.author.account_id, [memory])
    await backdate(pool, memory)
    stage.trash.start()
    async with asyncio.timeout(SECONDS):
        await stage.node.watcher.until("purged")
    assert stage.node.watcher.counts["trash sweep failed"] == 1


async def bulk(
    stage: Stage, who: Caller, action: Action, *ids: UUID, **fields: Any
) -> list[str | None]:
    """The code of each one's error."""
    request = BulkMemories(ids=list(ids), action=action, **fields)
    answer = await stage.bulk.change(who, request)
    assert [result.id for result in answer.results] == list(dict.fromkeys(ids))
    return [result.error.code if result.error else None for result in answer.results]


async def test_many_memories_are_marked_at_once_each_for_itself(
    stage: Stage, pool: asyncpg.Pool, ada: Caller, bob: Caller
) -> None:
    mine, shared = await add_memory(pool, ada.author), await add_memory(pool, bob.author)
    await pool.execute(
        "INSERT INTO memberships (memory_id, user_id, role) VALUES ($1, $2, 'viewer')",
        shared,
        ada.author.account_id,
    )
    theirs, deleted = await add_memory(pool, bob.author), await add_memory(pool, ada.author)
    await stage.memories.delete(ada, DeleteMemory(id=deleted))
    told = stage.follow(ada.author)
    ids = (mine, theirs, shared, uuid4(), deleted, mine)

    async def marks(memory_id: UUID) -> tuple[bool, bool]:
        memory = (await stage.memories.get(ada, GetMemory(id=memory_id))).memory
        return memory.is_favorite, memory.is_archived

    refused = [None, "not_found", None, "not_found", "gone"]
    assert await bulk(stage, ada, "favorite", *ids) == refused
    assert await bulk(stage, ada, "archive", *ids) == refused
    assert [await marks(mine), await marks(shared)] == [(True, True), (True, True)]
    assert await bulk(stage, ada, "unfavorite", mine) == [None]
    assert await bulk(stage, ada, "unarchive", mine) == [None]
    assert [await marks(mine), await marks(shared)] == [(False, False), (True, True)]
    assert told == [None] * 4
    assert not (await stage.memories.get(bob, GetMemory(id=shared))).memory.is_favorite


async def test_what_is_marked_already_is_no_news(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    memory = await add_memory(pool, ada.author)
    await bulk(stage, ada, "favorite", memory)
    cursor = await Feed(pool).cursor()
    assert await bulk(stage, ada, "favorite", memory) == [None]
    assert (await Feed(pool).changes(ada.author.account_id, cursor, 10)).items == []


async def test_many_memories_get_a_category_or_lose_it(
    stage: Stage, pool: asyncpg.Pool, ada: Caller, bob: Caller
) -> None:
    memories = [await add_memory(pool, ada.author) for _ in range(3)]

    async def category(who: Caller) -> UUID:
        made: UUID = await pool.fetchval(
            "INSERT INTO memory_categories (user_id, name) VALUES ($1, 'x') RETURNING id",
            who.author.account_id,
        )
        return made

    async def held() -> list[UUID | None]:
        got = [(await stage.memories.get(ada, GetMemory(id=each))).memory for each in memories]
        return [memory.category_id for memory in got]

    hers, his = await category(ada), await category(bob)
    assert await bulk(stage, ada, "categorize", *memories, category_id=hers) == [None] * 3
    for wrong in (his, uuid4()):
        error = await refusal(bulk(stage, ada, "categorize", *memories, category_id=wrong))
        assert error.code is ErrorCode.NOT_FOUND
        assert error.details is not None
        assert "categoryId" in error.details
    assert await held() == [hers] * 3
    assert await bulk(stage, ada, "categorize", memories[0]) == [None]
    assert await held() == [None, hers, hers]
    error = await refusal(bulk(stage, ada, "archive", *memories, category_id=hers))
    assert error.code is ErrorCode.INVALID_REQUEST


async def test_many_memories_go_to_the_trash_come_back_and_go_for_good(
    stage: Stage, pool: asyncpg.Pool, ada: Caller, bob: Caller
) -> None:
    mine = [await add_memory(pool, ada.author, viewer=bob.author) for _ in range(3)]
    shared = await add_memory(pool, bob.author, editor=ada.author)
    device = Device(bob.author)
    await device.open(stage.node.hub, mine[0])
    told = stage.follow(bob.author)
    ids = (*mine, shared, uuid4())
    refused = [None, None, None, "forbidden", "not_found"]
    assert await bulk(stage, ada, "purge", *ids) == ["conflict"] * 3 + refused[3:]
    assert await bulk(stage, ada, "delete", *ids) == refused
    assert await bulk(stage, ada, "delete", *ids) == refused
    await device.news.until(lambda: device.losses)
    assert await bulk(stage, ada, "restore", mine[0], shared) == [None, "forbidden"]
    await device.open(stage.node.hub, mine[0])
    assert await bulk(stage, ada, "delete", mine[0]) == [None]
    assert await bulk(stage, ada, "purge", *ids) == refused
    assert await bulk(stage, ada, "purge", *ids) == refused
    assert await bulk(stage, ada, "restore", *ids) == ["gone"] * 3 + refused[3:]
    assert told == [None, mine[0], mine[0], None]
    assert await pool.fetchval("SELECT count(*) FROM memories") == 1


async def test_deleting_many_needs_the_right_to_delete(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    memory = await add_memory(pool, ada.author)
    weak = Caller(ada.author, Permission.DELETE_MEMORIES)
    actions: tuple[Action, ...] = ("delete", "purge")
    for action in actions:
        error = await refusal(bulk(stage, weak, action, memory))
        assert error.code is ErrorCode.FORBIDDEN
        assert Permission.DELETE_MEMORIES.value in error.message
    assert await bulk(stage, weak, "favorite", memory) == [None]


async def test_bulk_changes_of_the_same_memories_do_not_wait_for_each_other_for_ever(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    memories = [await add_memory(pool, ada.author) for _ in range(20)]
    actions: tuple[Action, ...] = ("favorite", "archive", "delete", "restore", "unfavorite")
    outcomes = await asyncio.gather(
        *(
            bulk(stage, ada, action, *order)
            for action in actions
            for order in (memories, memories[::-1])
        )
    )
    assert {code for codes in outcomes for code in codes} <= {None, "gone"}


async def test_a_purged_memory_cannot_be_made_again_by_a_late_create(
    stage: Stage, ada: Caller
) -> None:
    made = await stage.memories.create(ada, CreateMemory(title="once"))
    await bulk(stage, ada, "delete", made.memory.id)
    await bulk(stage, ada, "purge", made.memory.id)
    error = await refusal(stage.memories.create(ada, CreateMemory(id=made.memory.id)))
    assert error.code is ErrorCode.GONE
