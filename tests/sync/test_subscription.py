"""A connection's place in a room: openings, slow readers, and who is here."""

import asyncio
import random
from uuid import UUID

from protocol.errors import ErrorCode
from protocol.log import Author, Snapshot
from sync.document import merge
from tests.sync.doubles import SECONDS, Device, Gate, Node, device, outage


async def test_a_writer_is_not_pushed_its_own_updates(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer, reader = await device(node, memory, ada), await device(node, memory, ada)
    for letter in "abc":
        await writer.ack(writer.submit(writer.type(letter)))
    await reader.reach(3)
    assert writer.pushed == []
    assert reader.pushed == [1, 2, 3]
    assert writer.unreleased == 0


async def test_opening_between_a_commit_and_its_broadcast_brings_it_once(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer = await device(node, memory, ada)
    gate = node.log.after["commit"] = Gate()
    sent = writer.submit(writer.type("a"))
    await gate.arrival()
    late = await device(node, memory, ada)
    assert list(late.updates) == [1]
    gate.open()
    await writer.ack(sent)
    await writer.ack(writer.submit(writer.type("b")))
    await late.reach(2)
    assert late.pushed == [2]


async def test_opening_while_commits_land_leaves_no_hole_and_no_duplicate(
    node: Node, memory: UUID, ada: Author
) -> None:
    chance = random.Random(20260131)
    writers = [await device(node, memory, ada, f"writer {number}") for number in range(3)]
    readers: list[Device] = []
    total = 0

    async def come_and_go() -> None:
        for number in range(25):
            epoch, known = None, 0
            if readers and chance.random() < 0.5:
                epoch, known = node.room(memory).epoch, chance.randrange(node.room(memory).head + 1)
            reader = Device(ada, f"reader {number}")
            await reader.open(node.hub, memory, epoch, known)
            readers.append(reader)
            if chance.random() < 0.2:
                chance.choice(readers).subscription.close()

    async def write(writer: Device) -> None:
        nonlocal total
        for _ in range(40):
            sent = writer.submit(writer.type(chance.choice("abc ")))
            total += 1
            if chance.random() < 0.5:
                await writer.ack(sent)

    async with asyncio.timeout(SECONDS):
        await asyncio.gather(come_and_go(), come_and_go(), *(write(writer) for writer in writers))
        for here in (*writers, *(r for r in readers if r.subscription.open)):
            await here.reach(total)
    rows = dict(await node.log.read(memory, 0))
    assert list(rows) == list(range(1, total + 1))
    for reader in readers:
        assert reader.pushed == sorted(set(reader.pushed))
        assert reader.updates.items() <= rows.items()
    for writer in writers:
        assert not set(writer.pushed) & set(writer.acks.values())
    texts = {
        reader.content() for reader in readers if reader.subscription.open and not reader.start
    }
    assert len(texts) == 1


async def test_a_slow_reader_gets_all_of_it_late_and_in_order_without_its_own(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer, slow, quick = [await device(node, memory, ada, name) for name in "wsq"]
    slow.congested = True
    own = slow.submit(slow.type("own"))
    await slow.ack(own)
    for letter in "abc":
        await writer.ack(writer.submit(writer.type(letter)))
    second = slow.submit(slow.type("!"))
    assert await slow.ack(second) == 5
    await quick.reach(5)
    assert slow.pushed == []
    assert quick.pushed == [1, 2, 3, 4, 5]
    assert node.watcher.counts["fell behind"] == 1
    slow.congested = False
    slow.subscription.drained()
    await slow.reach(5)
    assert slow.pushed == [2, 3, 4]
    await writer.ack(writer.submit(writer.type("d")))
    await slow.reach(6)
    assert slow.pushed == [2, 3, 4, 6]
    assert slow.content() == quick.content() == writer.content()


async def test_a_reader_that_fills_up_while_it_catches_up_goes_on_where_it_was(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer, slow = await device(node, memory, ada), await device(node, memory, ada)
    slow.congested = True
    for letter in "abcdef":
        await writer.ack(writer.submit(writer.type(letter)))
    slow.congested = False
    gate = node.log.after["read"] = Gate()
    slow.subscription.drained()
    await gate.arrival()
    slow.congested = True
    await writer.ack(writer.submit(writer.type("g")))
    gate.open()
    await slow.reach(6)
    assert slow.pushed == [1, 2, 3, 4, 5, 6]
    slow.congested = False
    slow.subscription.drained()
    await slow.reach(7)
    assert slow.pushed == list(range(1, 8))


async def test_a_slow_reader_whose_part_was_trimmed_has_to_open_again(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer, slow = await device(node, memory, ada), await device(node, memory, ada)
    slow.congested = True
    updates = [writer.type(letter) for letter in "abc"]
    for update in updates:
        await writer.ack(writer.submit(update))
    await node.log.save_snapshot(memory, Snapshot(3, *merge(None, None, updates)))
    await node.log.trim(memory, 3, [])
    slow.congested = False
    slow.subscription.drained()
    await slow.news.until(lambda: slow.losses)
    assert slow.losses[0].code is ErrorCode.CHANNEL_CLOSED
    assert not slow.subscription.open
    await slow.open(node.hub, memory)
    assert slow.content() == "abc"


async def test_a_slow_reader_that_cannot_be_read_for_has_to_open_again(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer, slow = await device(node, memory, ada), await device(node, memory, ada)
    slow.congested = True
    await writer.ack(writer.submit(writer.type("a")))
    slow.congested = False
    node.log.before["read"] = outage
    slow.subscription.drained()
    await slow.news.until(lambda: slow.losses)
    assert slow.losses[0].code is ErrorCode.UNAVAILABLE
    await slow.open(node.hub, memory)
    assert slow.content() == "a"


async def test_presence_is_relayed_to_the_others_shown_to_those_who_join_and_taken_back(
    node: Node, memory: UUID, ada: Author
) -> None:
    first, second = await device(node, memory, ada, "1"), await device(node, memory, ada, "2")
    here = b'\x01\x05\x01\x0a{"user":1}'
    first.subscription.send_awareness(here)
    await second.news.until(lambda: second.presence)
    assert second.presence == [here]
    third = await device(node, memory, ada, "3")
    await third.news.until(lambda: third.presence)
    assert third.presence == [here]
    first.subscription.close()
    gone = b"\x01\x05\x01\x04null"
    await second.news.until(lambda: len(second.presence) == 2)
    await third.news.until(lambda: len(third.presence) == 2)
    assert second.presence[1] == third.presence[1] == gone
    assert first.presence == []


async def test_a_reader_that_was_slow_is_shown_who_is_here(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer, slow = await device(node, memory, ada, "w"), await device(node, memory, ada, "s")
    slow.congested = True
    here = b'\x01\x05\x01\x0a{"user":1}'
    writer.subscription.send_awareness(here)
    await writer.ack(writer.submit(writer.type("a")))
    slow.congested = False
    slow.subscription.drained()
    await slow.news.until(lambda: slow.presence)
    assert slow.presence[0] == here
