"""Several nodes with a broker between them: what one commits, all show, whatever is lost."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import count
from uuid import UUID

import asyncpg
import pytest

from protocol.errors import ErrorCode
from protocol.log import Author, Snapshot
from sync import announcement, presence
from sync.announcement import Commit
from sync.document import merge
from sync.lib0 import read_bytes, read_uint
from tests.rows import delete_memory
from tests.sync.cluster import Network
from tests.sync.doubles import SECONDS, Device, Gate, Node, outage, running

NEVER = 3600.0


class Cluster:
    """Nodes that look for what they missed only when the test says so."""

    def __init__(self, pool: asyncpg.Pool, stack: AsyncExitStack) -> None:
        self.network = Network()
        self._pool = pool
        self._stack = stack

    async def node(self, idle_seconds: float = NEVER, down_seconds: float = NEVER) -> Node:
        return await self._stack.enter_async_context(
            running(
                self._pool,
                self.network.join(),
                idle_seconds=idle_seconds,
                down_seconds=down_seconds,
            )
        )


@pytest.fixture
async def cluster(pool: asyncpg.Pool) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        yield Cluster(pool, stack)


def losing(*numbers: int) -> "Iterator[int]":
    """How often each commit that is announced arrives, counted from 0."""
    return (0 if number in numbers else 1 for number in count())


def commits_only(fates: "Iterator[int]") -> object:
    def fate(topic: str, message: bytes) -> int:
        return next(fates) if topic.startswith("document:") and _is_commit(message) else 1

    return fate


def _is_commit(message: bytes) -> bool:
    return isinstance(announcement.decode(message), Commit)


async def two(cluster: Cluster, memory: UUID, ada: Author) -> tuple[Node, Device, Node, Device]:
    """A writer on one node, and a reader on another."""
    here, there = await cluster.node(), await cluster.node()
    writer, reader = Device(ada, "writer"), Device(ada, "reader")
    await writer.open(here.hub, memory)
    await reader.open(there.hub, memory)
    return here, writer, there, reader


async def test_what_one_node_commits_the_other_shows_without_asking_the_log(
    cluster: Cluster, memory: UUID, ada: Author
) -> None:
    _, writer, there, reader = await two(cluster, memory, ada)
    for _ in range(10):
        await writer.ack(writer.submit(writer.type("a")))
    await reader.reach(10)
    assert reader.content() == "a" * 10
    assert there.log.calls["read"] == 0
    assert there.watcher.counts["heard next"] == 10


async def test_an_update_may_build_on_one_that_another_node_committed(
    cluster: Cluster, memory: UUID, ada: Author
) -> None:
    _, writer, there, reader = await two(cluster, memory, ada)
    await writer.ack(writer.submit(writer.type("ab")))
    await reader.reach(1)
    reader.content()
    assert await reader.ack(reader.submit(reader.type("c", at=1))) == 2
    await writer.reach(2)
    assert writer.content() == reader.content() == "acb"
    assert there.log.calls["standing"] == 1  # its state was not read again


async def test_a_gap_is_read_from_the_log(cluster: Cluster, memory: UUID, ada: Author) -> None:
    _, writer, there, reader = await two(cluster, memory, ada)
    cluster.network.fate = commits_only(losing(1, 2))  # type: ignore[assignment]
    for _ in range(4):
        await writer.ack(writer.submit(writer.type("a")))
    await reader.reach(4)
    assert reader.pushed == [1, 2, 3, 4]
    assert there.watcher.counts["repaired"] == 1


async def test_an_idle_check_finds_a_last_message_that_was_lost(
    cluster: Cluster, pool: asyncpg.Pool, memory: UUID, ada: Author
) -> None:
    here, there = await cluster.node(), await cluster.node(idle_seconds=0.02)
    writer, reader = Device(ada, "writer"), Device(ada, "reader")
    await writer.open(here.hub, memory)
    await reader.open(there.hub, memory)
    cluster.network.fate = commits_only(losing(0))  # type: ignore[assignment]
    await writer.ack(writer.submit(writer.type("a")))
    await reader.reach(1)
    assert reader.content() == "a"


async def test_without_a_broker_nodes_poll_and_after_it_they_look(
    cluster: Cluster, memory: UUID, ada: Author
) -> None:
    here, there = await cluster.node(), await cluster.node(down_seconds=0.02)
    writer, reader = Device(ada, "writer"), Device(ada, "reader")
    await writer.open(here.hub, memory)
    await reader.open(there.hub, memory)
    cluster.network.cut()
    cluster.network.nodes[1].missed()  # so that it looks how things are
    await writer.ack(writer.submit(writer.type("a")))
    await reader.reach(1)
    await reader.ack(reader.submit(reader.type("b")))
    assert not writer.has(2)
    cluster.network.mend()
    await writer.reach(2)
    assert writer.content() == reader.content()


async def test_announcements_that_come_twice_or_in_another_order_are_shown_once_in_order(
    cluster: Cluster, memory: UUID, ada: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.tail.GAP_SECONDS", NEVER)
    _, writer, there, reader = await two(cluster, memory, ada)
    cluster.network.held = []
    for _ in range(8):
        await writer.ack(writer.submit(writer.type("a")))
    held, cluster.network.held = cluster.network.held, None
    messages = held * 2
    random.Random(1).shuffle(messages)
    for deliver in messages:
        deliver()
    assert reader.pushed == list(range(1, 9))
    assert there.watcher.counts["heard duplicate"] + there.watcher.counts["heard early"] > 0
    assert there.log.calls["read"] == 0


async def test_a_commit_under_way_is_shown_behind_one_that_another_node_announced(
    cluster: Cluster, memory: UUID, ada: Author
) -> None:
    """The rows before an announcement may be this node's own: they are not read as another's."""
    here, writer, _, reader = await two(cluster, memory, ada)
    gate = Gate()
    here.log.after["commit"] = gate
    mine = writer.submit(writer.type("a"))
    await gate.arrival()  # it is in the log, at 1, and this node does not know yet
    assert await reader.ack(reader.submit(reader.type("b"))) == 2
    async with asyncio.timeout(SECONDS):
        while not here.room(memory).tail._early:  # noqa: ASYNC110 (the announcement is heard)
            await asyncio.sleep(0)
    here.room(memory).tail.know(2)
    gate.open()
    assert await writer.ack(mine) == 1
    await writer.reach(2)
    assert writer.pushed == [2]
    await reader.reach(2)
    assert reader.content() == writer.content()


async def test_what_is_too_large_to_be_sent_around_is_read_from_the_log(
    cluster: Cluster, memory: UUID, ada: Author
) -> None:
    _, writer, there, reader = await two(cluster, memory, ada)
    await writer.ack(writer.submit(writer.type("x" * (announcement.MAX_BYTES + 1))))
    await reader.reach(1)
    assert there.log.calls["read"] == 1
    await writer.ack(writer.submit(writer.type("y")))
    await reader.reach(2)
    assert there.log.calls["read"] == 1


async def test_a_node_that_missed_what_is_trimmed_has_its_devices_open_again(
    cluster: Cluster, pool: asyncpg.Pool, memory: UUID, ada: Author
) -> None:
    here, writer, there, reader = await two(cluster, memory, ada)
    cluster.network.fate = commits_only(losing(0, 1))  # type: ignore[assignment]
    for _ in range(2):
        await writer.ack(writer.submit(writer.type("a")))
    payload, state = merge(None, None, [row for _, row in await here.log.read(memory, 0)])
    assert await here.log.save_snapshot(memory, Snapshot(2, payload, state))
    await here.log.trim(memory, 2, [])
    await writer.ack(writer.submit(writer.type("a")))
    await reader.news.until(lambda: reader.losses)
    assert reader.losses[0].code is ErrorCode.CHANNEL_CLOSED
    again = Device(ada, "again")
    await again.open(there.hub, memory)
    await again.reach(3)
    assert again.content() == "aaa"
    await again.ack(again.submit(again.type("b")))


async def test_a_log_that_cannot_be_read_is_read_later(
    cluster: Cluster, memory: UUID, ada: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.tail.RETRY_SECONDS", 0.01)
    _, writer, there, reader = await two(cluster, memory, ada)
    cluster.network.fate = commits_only(losing(0))  # type: ignore[assignment]
    there.log.before["read"] = outage
    for _ in range(2):
        await writer.ack(writer.submit(writer.type("a")))
    await reader.reach(2)
    assert there.watcher.counts["repair failed"] == 1


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"garbage",
        announcement.encode(Commit("another epoch", 0, 1, [b"\x00\x00"])),
    ],
)
async def test_an_announcement_that_is_none_changes_nothing(
    cluster: Cluster, memory: UUID, ada: Author, message: bytes
) -> None:
    _, writer, _, reader = await two(cluster, memory, ada)
    cluster.network.nodes[1].receive(f"document:{memory}", message)
    await writer.ack(writer.submit(writer.type("a")))
    await reader.reach(1)
    assert reader.pushed == [1]


async def test_an_announcement_with_other_bytes_than_it_says_is_not_believed(
    cluster: Cluster, memory: UUID, ada: Author
) -> None:
    _, writer, there, reader = await two(cluster, memory, ada)
    await writer.ack(writer.submit(writer.type("a")))
    await reader.reach(1)
    cluster.network.fate = commits_only(losing(0))  # type: ignore[assignment]
    room = there.room(memory)
    await writer.ack(writer.submit(writer.type("b")))
    for updates in ([b"\x01\x02nonsense"], [b"\x00\x00", b"\x00\x00"]):
        room.hear(announcement.encode(Commit(room.epoch, 1, 2, updates)))
    await reader.reach(2)
    assert reader.content() == writer.content()


async def test_a_memory_that_is_deleted_elsewhere_ends_here_though_nobody_said_so(
    cluster: Cluster, pool: asyncpg.Pool, memory: UUID, ada: Author
) -> None:
    _, _, there, reader = await two(cluster, memory, ada)
    await delete_memory(pool, memory)
    cluster.network.nodes[1].missed()
    await reader.news.until(lambda: reader.losses)
    assert reader.losses[0].code is ErrorCode.GONE
    assert memory not in there.hub.rooms


async def test_a_room_that_is_let_go_hears_no_more(
    cluster: Cluster, memory: UUID, ada: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.hub.LINGER_SECONDS", 0.05)
    _, _, there, reader = await two(cluster, memory, ada)
    reader.subscription.close()
    async with asyncio.timeout(SECONDS):
        while memory in there.hub.rooms:  # noqa: ASYNC110 (nobody is told)
            await asyncio.sleep(0.005)
    assert cluster.network.nodes[1]._topics[f"document:{memory}"] == []


@pytest.mark.parametrize("seed", range(4))
async def test_nodes_that_write_one_document_show_all_the_same_whatever_is_lost(
    cluster: Cluster, memory: UUID, ada: Author, seed: int
) -> None:
    chance = random.Random(seed)
    nodes = [await cluster.node(idle_seconds=0.05) for _ in range(3)]

    def fate(topic: str, message: bytes) -> int:
        return chance.choices((0, 1, 2), (20, 70, 10))[0]

    cluster.network.fate = fate
    devices = [Device(ada, str(number)) for number in range(6)]
    for number, device in enumerate(devices):
        await device.open(nodes[number % 3].hub, memory)

    async def write(device: Device) -> None:
        for _ in range(25):
            sent = device.submit(device.type(chance.choice("abc")))
            if chance.random() < 0.5:
                await device.ack(sent)

    async with asyncio.timeout(60):
        await asyncio.gather(*(write(device) for device in devices))
        for device in devices:
            await device.ack(25)
            await device.reach(6 * 25)
    rows = dict(await nodes[0].log.read(memory, 0))
    assert list(rows) == list(range(1, 6 * 25 + 1))
    for device in devices:
        assert device.updates.items() <= rows.items()
        assert device.pushed == sorted(set(device.pushed))
        assert not set(device.pushed) & set(device.acks.values())
    assert len({device.content() for device in devices}) == 1


async def test_a_gap_goes_before_the_next_commit_of_a_busy_room(
    cluster: Cluster, memory: UUID, ada: Author
) -> None:
    """However many updates wait here: acks of this node would wait behind the gap for ever."""
    _, writer, there, reader = await two(cluster, memory, ada)
    cluster.network.fate = commits_only(losing(0))  # type: ignore[assignment]
    await writer.ack(writer.submit(writer.type("a")))
    sent = 0
    there_log = there.log

    async def keep_busy() -> None:
        # While a commit is under way another update comes, so the room is never at rest.
        nonlocal sent
        if sent < 60 and not there.watcher.counts["repaired"]:
            sent += 1
            reader.submit(reader.type("b"))
            there_log.before["commit"] = keep_busy
            await asyncio.sleep(0.005)

    there_log.before["commit"] = keep_busy
    reader.submit(reader.type("b"))
    await there.watcher.until("repaired")
    assert sent < 60
    await reader.reach(there.room(memory).head)


async def test_what_is_trimmed_while_a_commit_is_under_way_costs_nothing_but_an_opening(
    cluster: Cluster, memory: UUID, ada: Author
) -> None:
    here, writer, there, reader = await two(cluster, memory, ada)
    cluster.network.fate = commits_only(losing(0))  # type: ignore[assignment]
    for _ in range(2):
        await writer.ack(writer.submit(writer.type("a")))
    payload, state = merge(None, None, [row for _, row in await here.log.read(memory, 0)])
    assert await here.log.save_snapshot(memory, Snapshot(2, payload, state))
    await here.log.trim(memory, 2, [])
    reading, committing = Gate(), Gate()
    there.log.after["read"] = reading
    there.log.after["commit"] = committing
    await reading.arrival()  # the repair has found that the rows are gone
    reader.submit(reader.type("b"))
    await committing.arrival()
    reading.open()
    await there.log.news.until(lambda: not there.log.after)
    committing.open()
    await reader.news.until(lambda: reader.losses and not reader.unreleased)
    assert reader.pushed == []
    again = Device(ada, "again")
    await again.open(there.hub, memory)
    await again.reach(3)
    await writer.reach(3)
    assert again.content() == writer.content()
    assert await again.ack(again.submit(again.type("c"))) == 4


async def test_a_room_whose_last_device_leaves_in_a_gap_is_let_go(
    cluster: Cluster, memory: UUID, ada: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.hub.LINGER_SECONDS", 0.05)
    _, writer, there, reader = await two(cluster, memory, ada)
    cluster.network.fate = commits_only(losing(0))  # type: ignore[assignment]
    gate = Gate()
    there.log.before["read"] = gate
    for _ in range(2):
        await writer.ack(writer.submit(writer.type("a")))
    await gate.arrival()
    reader.subscription.close()
    await asyncio.sleep(0.1)  # longer than it would linger, were it at rest
    assert memory in there.hub.rooms
    gate.open()
    async with asyncio.timeout(SECONDS):
        while memory in there.hub.rooms:  # noqa: ASYNC110 (nobody is told)
            await asyncio.sleep(0.005)


# Presence


def cursor(client: int, clock: int, state: bytes = b'{"at":1}') -> bytes:
    return presence.encode([(client, (clock, state))])


def seen(device: Device) -> dict[int, bytes]:
    """The newest state of each client. What a node shows its own devices may be of any size."""
    states: dict[int, bytes] = {}
    for payload in device.presence:
        clients, at = read_uint(payload, 0)
        for _ in range(clients):
            client, at = read_uint(payload, at)
            _, at = read_uint(payload, at)
            states[client], at = read_bytes(payload, at)
    return states


async def test_presence_is_shown_on_every_node_and_to_nodes_that_come_later(
    cluster: Cluster, memory: UUID, ada: Author
) -> None:
    _, writer, _, reader = await two(cluster, memory, ada)
    writer.subscription.send_awareness(cursor(1, 1))
    await reader.news.until(lambda: seen(reader) == {1: b'{"at":1}'})
    late = Device(ada, "late")
    await late.open((await cluster.node()).hub, memory)
    await late.news.until(lambda: seen(late) == {1: b'{"at":1}'})
    writer.subscription.close()
    await reader.news.until(lambda: seen(reader) == {1: b"null"})
    await late.news.until(lambda: seen(late) == {1: b"null"})


async def test_presence_of_a_node_that_is_gone_is_taken_back(
    cluster: Cluster, memory: UUID, ada: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.relay.RENEW_SECONDS", 0.02)
    monkeypatch.setattr("sync.relay.FORGET_SECONDS", 0.06)
    _, writer, there, reader = await two(cluster, memory, ada)
    writer.subscription.send_awareness(cursor(1, 1))
    await reader.news.until(lambda: seen(reader) == {1: b'{"at":1}'})
    # As long as it is heard of, what does not change stays.
    await there.watcher.until("presence", 1)
    cluster.network.cut()
    await reader.news.until(lambda: seen(reader) == {1: b"null"})


async def test_a_client_that_moves_to_another_node_is_shown_from_there(
    cluster: Cluster, memory: UUID, ada: Author
) -> None:
    _, writer, there, reader = await two(cluster, memory, ada)
    writer.subscription.send_awareness(cursor(1, 1))
    await reader.news.until(lambda: seen(reader) == {1: b'{"at":1}'})
    moved = Device(ada, "moved")
    await moved.open(there.hub, memory)
    moved.subscription.send_awareness(cursor(1, 2, b'{"at":2}'))
    await reader.news.until(lambda: seen(reader) == {1: b'{"at":2}'})
    # What the old node then says of it is late.
    writer.subscription.close()
    moved.subscription.send_awareness(cursor(1, 3, b'{"at":3}'))
    await reader.news.until(lambda: seen(reader) == {1: b'{"at":3}'})
    # Nobody takes another's client on one node, whatever the clock.
    reader.subscription.send_awareness(cursor(1, 9, b'{"at":9}'))
    moved.subscription.send_awareness(cursor(1, 10, b'{"at":10}'))
    await reader.news.until(lambda: seen(reader) == {1: b'{"at":10}'})


async def test_more_presence_than_one_message_holds_reaches_other_nodes(
    cluster: Cluster, memory: UUID, ada: Author
) -> None:
    _, writer, _, reader = await two(cluster, memory, ada)
    large = b'"' + b"x" * 8000 + b'"'
    others = [Device(ada, f"other {number}") for number in range(3)]
    here = writer.subscription.room
    for number, device in enumerate([writer, *others]):
        device.subscription = here.subscribe(device, role="editor", position=here.head)
        for client in range(16):
            device.subscription.send_awareness(cursor(100 * number + client, 1, large))
    await reader.news.until(lambda: len(seen(reader)) == 64)
