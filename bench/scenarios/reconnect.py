"""Everyone comes back at the same moment, after an outage in which much was written."""

import asyncio
from itertools import count
from random import Random
from typing import NamedTuple
from uuid import UUID, uuid4

import uvloop

from bench.cpu import Meter
from bench.errors import BenchmarkFailed
from bench.scenarios.device import Device, Refused, Req, Res
from bench.scenarios.rest import rested
from bench.scenarios.scenario import Figure, Finding, percentile, scaled
from bench.scenarios.writing import pastes, words
from bench.server import Server, running
from protocol.documents import DOCUMENTS_OPEN, OpenDocument
from protocol.feed import FEED_CHANGES, Change, Changes, GetChanges
from protocol.memories import MEMORIES_CREATE, CreateMemory
from protocol.operation import Operation
from protocol.session import Backoff

ACCOUNTS = 100
DEVICES = 20  # of an account
MEMORIES = 30  # of an account
CHANGED = 20  # of them, while the devices are away
TEXT_CHARACTERS = 1000  # of a memory before
CHANGED_BYTES = (500, 5000)  # of a memory, in a few updates
UPDATES = (1, 6)
CREATES_AT_ONCE = 8
RETURN_SECONDS = 300.0


class Reconnect:
    """`reconnect`: how long until all are current, and what the server sends for it."""

    name = "reconnect"
    title = "2,000 devices reconnect at once, 20 changed memories each"

    def run(self, share: float) -> Finding:
        accounts = scaled(ACCOUNTS, share, 2)
        with (
            running(accounts) as server,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            return runner.run(_measure(server))


class Known(NamedTuple):
    """What the devices of one account have: a cursor, and the memories by id. `missed` are the
    bytes of the log that they have not."""

    token: str
    cursor: str
    documents: dict[UUID, OpenDocument]
    missed: int = 0


class Return(NamedTuple):
    """How one device came back: after how many `seconds` it was current, how many times it had to
    connect or ask again, and the bytes it was sent on its last connection, in all and as changes
    of the feed."""

    seconds: float
    repeated: int
    received: int
    feed: int


async def _measure(server: Server) -> Finding:
    random = Random(1)
    meter = Meter(server.pid)
    for token in server.tokens:
        await _fill(server.port, token, random)
    await rested(meter)
    accounts = []
    for token in server.tokens:
        known = await _known(server.port, token)
        accounts.append(known._replace(missed=await _change(server.port, known, random)))
    await rested(meter)
    usage = meter.read()
    returns = await asyncio.gather(
        *(_come_back(server.port, known) for known in accounts for _ in range(DEVICES))
    )
    usage = meter.read() - usage
    missed = sum(known.missed for known in accounts) * DEVICES
    received = sum(each.received for each in returns)
    documents = received - sum(each.feed for each in returns)
    seconds = [each.seconds for each in returns]
    return Finding(
        [
            Figure.stated("time until all are current", max(seconds), "s"),
            Figure.stated("time of a device, median", percentile(seconds, 0.5), "s"),
            Figure.stated(
                "connections and requests made again", sum(each.repeated for each in returns)
            ),
            Figure.at_most("bytes sent / bytes missed", received / missed, 1.3, 1.1),
            Figure.at_most("the same without the feed", documents / missed, 1.3, 1.1),
            Figure.stated("bytes missed by a device", missed / len(returns) / 1e3, "kB"),
            Figure.stated("CPU time of the server", usage.server, "s"),
            Figure.stated("CPU time of PostgreSQL", usage.postgres, "s"),
            Figure.stated("CPU time of the clients", usage.generator, "s"),
        ],
        f"{len(returns):,} devices of {len(accounts)} accounts connect in the same moment, ask for "
        f"the feed from their cursor, and open the {CHANGED} of {MEMORIES} memories that changed "
        "from the offset they have. Missed are the payloads of the updates behind those offsets. "
        "Sent is all that comes through a device's last WebSocket behind its upgrade: the welcome, "
        "the feed, which says where each changed memory stands, and the answers to the "
        "openings. What the server had no time for is asked again after a while, as devices do.",
    )


async def _fill(port: int, token: str, random: Random) -> None:
    device = await Device.connect(port, token)
    for start in range(0, MEMORIES, CREATES_AT_ONCE):
        await asyncio.gather(
            *(
                device.call(
                    MEMORIES_CREATE,
                    CreateMemory(
                        id=uuid4(),
                        title=f"Memory {number}",
                        content={"text": words(TEXT_CHARACTERS, random)},
                    ),
                )
                for number in range(start, min(start + CREATES_AT_ONCE, MEMORIES))
            )
        )
    device.close()


async def _known(port: int, token: str) -> Known:
    device = await Device.connect(port, token)
    changes = await Visit(device).changes(None)
    device.close()
    documents = {item.id: _from_here(item) for item in changes.items}
    return Known(token, changes.cursor, documents)


async def _change(port: int, known: Known, random: Random) -> int:
    """Write in some of the memories; how many bytes."""
    device = await Device.connect(port, known.token)
    written = 0
    for memory_id in list(known.documents)[:CHANGED]:
        opened = await device.open(memory_id)
        updates = random.randint(*UPDATES)
        size = random.randint(*CHANGED_BYTES) // updates
        edits = pastes([size] * updates, random)
        await device.write(opened.channel, edits)
        written += sum(map(len, edits))
    device.close()
    return written


async def _come_back(port: int, known: Known) -> Return:
    """Raises:
    BenchmarkFailed: the device is not brought to where the feed said the documents are.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    device, refused = await _admitted(port, known.token)
    before = device.received
    visit = Visit(device)
    changes = await visit.changes(known.cursor)
    feed = device.received - before
    news = {item.id: _from_here(item) for item in changes.items}
    opened = await asyncio.gather(
        *(visit.ask(DOCUMENTS_OPEN, known.documents[each]) for each in news)
    )
    seconds = loop.time() - began
    for position, document in zip(news.values(), opened, strict=True):
        if document.offset < position.offset:
            raise BenchmarkFailed(f"a device is at {document.offset} of {position.offset}")
    if len(news) != CHANGED:
        raise BenchmarkFailed(f"{len(news)} memories are news to a device, not {CHANGED}")
    device.close()
    return Return(seconds, refused + visit.repeated, device.received, feed)


class Visit:
    """A device's requests, each made again when the server had no time for it. `repeated` counts
    those."""

    def __init__(self, device: Device) -> None:
        self.repeated = 0
        self._device = device

    async def ask(self, operation: Operation[Req, Res], body: Req) -> Res:
        """The reply.

        Raises:
            BenchmarkFailed: it was refused for good, or the connection ended.
            TimeoutError: there was none within RETURN_SECONDS.
        """
        backoff = Backoff()
        async with asyncio.timeout(RETURN_SECONDS):
            while True:
                try:
                    return await self._device.call(operation, body)
                except Refused as refused:
                    if not refused.code.temporary:
                        raise
                    self.repeated += 1
                    await asyncio.sleep(backoff.next())

    async def changes(self, after: str | None) -> Changes:
        """All that the feed has of memories behind a cursor, as one answer."""
        changes = await self.ask(FEED_CHANGES, GetChanges(after, brief=True))
        items = list(changes.items)
        while changes.more:
            changes = await self.ask(FEED_CHANGES, GetChanges(changes.cursor, brief=True))
            items += changes.items
        return Changes([item for item in items if item.kind == "memory"], changes.cursor)


async def _admitted(port: int, token: str) -> tuple[Device, int]:
    """A connection, and how often it was refused before: it is made again later, as devices do.

    Raises:
        TimeoutError: none was welcomed within RETURN_SECONDS.
    """
    backoff = Backoff()
    async with asyncio.timeout(RETURN_SECONDS):
        for refused in count():
            try:
                return await Device.connect(port, token), refused
            except (BenchmarkFailed, TimeoutError, OSError):
                await asyncio.sleep(backoff.next())
    raise AssertionError("attempts do not end")


def _from_here(item: Change) -> OpenDocument:
    """The request that goes on from where the feed says a document stands."""
    assert item.offset is not None, "nothing was deleted"
    return OpenDocument(item.id, item.epoch, item.offset)
