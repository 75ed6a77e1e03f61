"""The hub: rooms opened once, devices brought to the head, and two nodes on one database."""

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author, Entry, Projection, Snapshot
from sync.broker import LocalBroker
from sync.document import Edit, edit, merge
from sync.hub import Make
from tests.rows import add_member, add_person, delete_memory
from tests.sync.doubles import SECONDS, Device, Gate, Node, running


async def test_many_who_open_at_once_share_a_room_that_is_loaded_once(
    node: Node, memory: UUID, ada: Author
) -> None:
    devices = [Device(ada, str(number)) for number in range(20)]
    await asyncio.gather(*(device.open(node.hub, memory) for device in devices))
    assert len({id(device.subscription.room) for device in devices}) == 1
    assert node.log.calls["standing"] == 1
    assert node.hub.subscriptions == 20


async def test_who_is_no_member_learns_nothing_of_a_memory(
    pool: asyncpg.Pool, node: Node, memory: UUID
) -> None:
    stranger = Device(await add_person(pool))
    for document_id in (memory, uuid4()):
        with pytest.raises(MemoError) as refused:
            await stranger.open(node.hub, document_id)
        assert refused.value.code is ErrorCode.NOT_FOUND
    assert node.hub.rooms == {}


async def test_a_deleted_memory_is_gone(
    pool: asyncpg.Pool, node: Node, memory: UUID, ada: Author
) -> None:
    await delete_memory(pool, memory)
    with pytest.raises(MemoError) as refused:
        await Device(ada).open(node.hub, memory)
    assert refused.value.code is ErrorCode.GONE


async def test_a_failed_opening_can_be_tried_again(node: Node, memory: UUID, ada: Author) -> None:
    async def fail() -> None:
        raise MemoError(ErrorCode.UNAVAILABLE)

    node.log.before["standing"] = fail
    with pytest.raises(MemoError) as refused:
        await Device(ada).open(node.hub, memory)
    assert refused.value.code is ErrorCode.UNAVAILABLE
    await Device(ada).open(node.hub, memory)


async def test_a_device_is_sent_what_it_misses_and_only_that(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer = Device(ada)
    opening = await writer.open(node.hub, memory)
    epoch = opening.subscription.room.epoch
    assert (opening.content.offset, opening.content.updates, opening.content.snapshot) == (
        0,
        [],
        None,
    )
    updates = [writer.type(letter) for letter in "abc"]
    for update in updates:
        await writer.ack(writer.submit(update))
    for known in range(4):
        opening = await Device(ada).open(node.hub, memory, epoch, known)
        assert (opening.content.offset, opening.content.updates) == (3, updates[known:])


async def test_another_epoch_or_a_future_offset_is_answered_in_full(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer = Device(ada)
    opening = await writer.open(node.hub, memory)
    await writer.ack(writer.submit(writer.type("a")))
    epoch = opening.subscription.room.epoch
    for claimed, known in ((str(uuid4()), 1), (None, 1), (epoch, 2), (epoch, 10**12)):
        opening = await Device(ada).open(node.hub, memory, claimed, known)
        assert (opening.content.offset, len(opening.content.updates)) == (1, 1)


async def test_a_device_ahead_of_this_node_is_not_sent_all_again(
    node: Node, memory: UUID, ada: Author
) -> None:
    """It was at another node, which committed what this one has not heard of."""
    opening = await Device(ada).open(node.hub, memory)
    foreign = Device(ada, "elsewhere")
    await node.log.commit([Entry(memory, ada, foreign.type(letter)) for letter in "ab"])
    opening = await Device(ada).open(node.hub, memory, opening.subscription.room.epoch, 2)
    assert (opening.content.offset, opening.content.updates, opening.content.snapshot) == (
        2,
        [],
        None,
    )


async def test_an_old_offset_past_a_trim_is_brought_to_the_head_by_the_snapshot(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer = Device(ada)
    opening = await writer.open(node.hub, memory)
    updates = [writer.type(letter) for letter in "abc"]
    for update in updates:
        await writer.ack(writer.submit(update))
    await node.log.save_snapshot(memory, Snapshot(2, *merge(None, None, updates[:2])))
    await node.log.trim(memory, 2, [])
    late = Device(ada)
    opening = await late.open(node.hub, memory, opening.subscription.room.epoch, 1)
    assert opening.content.snapshot is not None
    assert (opening.content.offset, opening.content.updates) == (3, updates[2:])
    assert late.content() == "abc"


async def test_opening_again_ends_what_the_connection_had_open(
    node: Node, memory: UUID, ada: Author
) -> None:
    device, other = Device(ada), Device(ada)
    await device.open(node.hub, memory)
    first = device.subscription
    await device.open(node.hub, memory)
    await other.open(node.hub, memory)
    assert not first.open
    assert len(node.room(memory).subscriptions) == 2
    await other.ack(other.submit(other.type("a")))
    await device.reach(1)
    assert device.pushed == [1]


async def test_an_empty_room_is_let_go_after_a_while_and_one_in_use_is_not(
    node: Node, memory: UUID, ada: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(ada)
    await device.open(node.hub, memory)
    monkeypatch.setattr("sync.hub.LINGER_SECONDS", 0)
    await device.ack(device.submit(device.type("a")))
    gate = node.log.before["commit"] = Gate()
    device.submit(device.type("b"))
    await gate.arrival()
    device.subscription.close()
    assert node.room(memory).busy  # what it took is on its way
    gate.open()
    async with asyncio.timeout(SECONDS):
        while node.hub.rooms:  # noqa: ASYNC110 (nothing tells that a room was let go)
            await asyncio.sleep(0)
    monkeypatch.undo()
    await device.open(node.hub, memory)
    assert node.room(memory).head == 2


async def test_a_deletion_ends_the_channels_of_every_node(
    pool: asyncpg.Pool, memory: UUID, ada: Author
) -> None:
    broker = LocalBroker()
    async with running(pool, broker) as here, running(pool, broker) as there:
        devices = [Device(ada), Device(ada)]
        await devices[0].open(here.hub, memory)
        await devices[1].open(there.hub, memory)
        await delete_memory(pool, memory)
        here.hub.announce_deleted(memory)
        for device in devices:
            await device.news.until(lambda device=device: device.losses)  # type: ignore[misc]
            assert device.losses[0].code is ErrorCode.GONE
        assert here.hub.rooms == there.hub.rooms == {}
        with pytest.raises(MemoError):
            await devices[1].open(there.hub, memory)


async def test_two_nodes_that_write_one_document_show_both_sides_the_same(
    pool: asyncpg.Pool, memory: UUID, ada: Author
) -> None:
    chance = random.Random(7)
    async with running(pool) as here, running(pool) as there:
        devices = [Device(ada, str(number)) for number in range(6)]
        for number, device in enumerate(devices):
            await device.open([here, there][number % 2].hub, memory)

        async def write(device: Device) -> None:
            for _ in range(15):
                sent = device.submit(device.type(chance.choice("abc")))
                if chance.random() < 0.6:
                    await device.ack(sent)

        async with asyncio.timeout(60):
            await asyncio.gather(*(write(device) for device in devices))
            for device in devices:
                await device.ack(15)
            # The last word of each node makes it look at what the other one wrote before.
            for device in devices[:2]:
                await device.ack(device.submit(device.type("!")))
            await devices[0].ack(devices[0].submit(devices[0].type("!")))
            head = await here.log.head(memory)
            for device in devices[::2]:
                await device.reach(head)
        rows = dict(await here.log.read(memory, 0))
        assert list(rows) == list(range(1, 6 * 15 + 4))
        for device in devices:
            assert device.updates.items() <= rows.items()
        assert len({device.content() for device in devices[::2]}) == 1


def setting(title: str) -> Make:
    """A server-side edit that sets the title, run here instead of in a worker."""

    async def make(updates: Sequence[bytes], client_id: int) -> tuple[bytes | None, Projection]:
        return edit(updates, Edit(title=title), client_id)

    return make


async def test_a_server_side_write_is_pushed_and_its_rows_are_written_along(
    pool: asyncpg.Pool, node: Node, memory: UUID, ada: Author
) -> None:
    reader = Device(ada)
    await reader.open(node.hub, memory)
    assert await node.hub.write(memory, ada, setting("hello"))
    await reader.reach(1)
    assert await pool.fetchval("SELECT title FROM memories WHERE id = $1", memory) == "hello"
    assert await node.hub.write(memory, ada, setting("hello"))  # changes nothing
    assert await node.log.head(memory) == 1


async def test_a_server_side_write_overtaken_by_a_device_says_its_rows_were_not_written(
    pool: asyncpg.Pool, node: Node, memory: UUID, ada: Author
) -> None:
    writer = Device(ada)
    await writer.open(node.hub, memory)

    async def make(updates: Sequence[bytes], client_id: int) -> tuple[bytes | None, Projection]:
        await writer.ack(writer.submit(writer.type("overtakes")))
        return edit(updates, Edit(title="late"), client_id)

    assert not await node.hub.write(memory, ada, make)
    assert await node.log.head(memory) == 2
    assert await pool.fetchval("SELECT title FROM memories WHERE id = $1", memory) is None


async def test_server_side_writes_at_once_build_on_each_other(
    node: Node, memory: UUID, ada: Author
) -> None:
    async def append(updates: Sequence[bytes], client_id: int) -> tuple[bytes | None, Projection]:
        [text] = [edit(updates, Edit(), client_id)[1].content["text"]]
        return edit(updates, Edit(text=f"{text}x"), client_id)

    assert all(await asyncio.gather(*(node.hub.write(memory, ada, append) for _ in range(8))))
    reader = Device(ada)
    await reader.open(node.hub, memory)
    assert reader.content() == "x" * 8


async def test_a_caller_that_goes_away_does_not_let_the_next_write_in_too_early(
    node: Node, memory: UUID, ada: Author
) -> None:
    """Both would make an update of the same clocks of the server's one client id."""
    gate = node.log.before["commit"] = Gate()
    impatient = asyncio.create_task(node.hub.write(memory, ada, setting("first")))
    await gate.arrival()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    second = asyncio.create_task(node.hub.write(memory, ada, setting("second")))
    gate.open()
    assert await asyncio.wait_for(second, SECONDS)
    rows = await node.log.read(memory, 0)
    assert len(rows) == 2
    assert edit([row for _, row in rows], Edit(), 1)[1].title == "second"


async def test_a_server_side_write_by_one_without_the_right_is_refused(
    pool: asyncpg.Pool, node: Node, memory: UUID
) -> None:
    stranger = await add_person(pool)
    with pytest.raises(MemoError) as refused:
        await node.hub.write(memory, stranger, setting("x"))
    assert refused.value.code is ErrorCode.FORBIDDEN
    assert await node.log.head(memory) == 0


async def test_the_server_writes_though_others_have_taken_its_client_id(
    pool: asyncpg.Pool, node: Node, memory: UUID, ada: Author
) -> None:
    mallory = await add_person(pool)
    await add_member(pool, memory, mallory, "editor")
    squatter = Device(mallory, client_id=node.hub.client_id(memory))
    await squatter.open(node.hub, memory)
    await squatter.ack(squatter.submit(squatter.type("mine")))
    assert await node.hub.write(memory, ada, setting("hello"))
    assert await node.hub.write(memory, ada, setting("hello again"))
    assert await pool.fetchval("SELECT title FROM memories WHERE id = $1", memory) == "hello again"
    clients = await pool.fetch(
        "SELECT client FROM document_clients WHERE account_id IS NULL AND document_id = $1", memory
    )
    assert len(clients) == 1


@pytest.mark.parametrize("taken", [1, 10])
async def test_a_client_id_that_is_taken_on_another_node_is_found_to_be_at_the_commit(
    pool: asyncpg.Pool, node: Node, memory: UUID, ada: Author, taken: int
) -> None:
    tried: list[int] = []

    async def make(updates: Sequence[bytes], client_id: int) -> tuple[bytes | None, Projection]:
        tried.append(client_id)
        if len(tried) <= taken:
            await pool.execute(
                "INSERT INTO document_clients VALUES ($1, $2, $3)",
                memory,
                client_id,
                ada.account_id,
            )
        return edit(updates, Edit(title="hello"), client_id)

    async with asyncio.timeout(SECONDS):
        if taken == 1:
            assert await node.hub.write(memory, ada, make)
        else:  # it is not tried for ever
            with pytest.raises(MemoError) as refused:
                await node.hub.write(memory, ada, make)
            assert refused.value.code is ErrorCode.CLIENT_ID_TAKEN
    assert len(set(tried)) == len(tried) == min(taken + 1, 4)
    title = await pool.fetchval("SELECT title FROM memories WHERE id = $1", memory)
    assert title == ("hello" if taken == 1 else None)


async def test_a_stop_finishes_a_server_side_write_that_was_begun(
    node: Node, memory: UUID, ada: Author
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def make(updates: Sequence[bytes], client_id: int) -> tuple[bytes | None, Projection]:
        begun.set()
        await go_on.wait()
        return edit(updates, Edit(title="x"), client_id)

    writing = asyncio.create_task(node.hub.write(memory, ada, make))
    await asyncio.wait_for(begun.wait(), SECONDS)
    stopping = asyncio.create_task(node.hub.stop(SECONDS))
    go_on.set()
    await stopping
    assert writing.done()
    assert await node.log.head(memory) == 1


async def test_a_stop_does_not_wait_for_ever(node: Node, memory: UUID, ada: Author) -> None:
    device = Device(ada)
    await device.open(node.hub, memory)
    gate = node.log.before["commit"] = Gate()
    device.submit(device.type("x"))
    await gate.arrival()
    await node.hub.stop(0.01)
    assert node.watcher.counts["flush failed"] == 1
    gate.open()
