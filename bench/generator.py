"""Puts a load on a server and measures it. Runs in a process of its own."""

import asyncio
import gc
import selectors
from collections.abc import Awaitable, Collection, Iterator, Sequence
from random import Random
from typing import NamedTuple

import uvloop

from bench.cpu import Cores, Meter, Usage
from bench.edits import keystrokes
from bench.errors import BenchmarkFailed
from bench.loads import Broadcast, Load, Stream
from bench.server import Server
from bench.websocket import Socket, messages
from bench.wires import Counter, Writable, memo_frames, open_document, open_documents
from protocol.frames import Ack

# Below the silence after which the server would ping, and not be answered, twice.
LOAD_SECONDS = 40.0


class BroadcastRun(NamedTuple):
    """`deliveries` are updates received by readers."""

    usage: Usage
    updates: int
    deliveries: int


class StreamRun(NamedTuple):
    """`latencies` are the seconds from when an update was due to its ack, and `delays` those until
    it was sent; both sorted."""

    usage: Usage
    latencies: list[float]
    delays: list[float]


Run = BroadcastRun | StreamRun


def run(load: Load, server: Server, seed: int, cores: Cores | None) -> Run:
    """One run of a load on documents of its own.

    Raises:
        BenchmarkFailed: the server refused something, or did not keep up within LOAD_SECONDS.
    """
    if isinstance(load, Broadcast):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_broadcast(load, server, Random(seed), cores))
    with asyncio.Runner(loop_factory=_precise_loop) as runner:
        return runner.run(_stream(load, server, Random(seed), cores))


def _precise_loop() -> asyncio.AbstractEventLoop:
    """A loop that wakes within microseconds: select() is told more than milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _broadcast(
    load: Broadcast, server: Server, random: Random, cores: Cores | None
) -> BroadcastRun:
    token = server.tokens[0]
    [memory_id] = await server.create_memories(1, token)
    writer, *readers = [
        await open_document(load.wire, server.port, token, memory_id)
        for _ in range(1 + load.readers)
    ]
    updates = keystrokes(load.warm_up + load.updates, random)
    encoded = [writer.encode(number, update) for number, update in enumerate(updates, 1)]
    window = Window(writer.socket, load.readers, load.in_flight)
    writer.socket.pour_into(Counter(load.wire, lambda _: None))
    counter = Counter(load.wire, window.arrived)
    for reader in readers:
        reader.socket.pour_into(counter)
    sockets = [document.socket for document in (writer, *readers)]
    meter = Meter(server.pid)
    try:
        await _unless_lost(window.send(encoded[: load.warm_up]), sockets)
        if cores is not None:
            cores.assign(server.pid)
        with _Quiet():
            before = meter.read()
            await _unless_lost(window.send(encoded[load.warm_up :]), sockets)
            usage = meter.read() - before
    finally:
        for socket in sockets:
            socket.close()
    return BroadcastRun(usage, load.updates, load.updates * load.readers)


class Window:
    """Sends what a writer has, so that so many updates are in flight: sent, and not yet with
    every reader."""

    def __init__(self, socket: Socket, readers: int, in_flight: int) -> None:
        self._socket = socket
        self._readers = readers
        self._in_flight = in_flight
        self._loop = asyncio.get_running_loop()
        self._encoded: Sequence[bytes] = ()
        self._sent = 0
        self._received = 0
        self._refilling = False
        self._done: asyncio.Future[None] = self._loop.create_future()

    async def send(self, encoded: Sequence[bytes]) -> None:
        """Send these updates; returns when every reader has the last."""
        self._encoded, self._sent, self._received = encoded, 0, 0
        self._done = self._loop.create_future()
        self._refill()
        await self._done

    def arrived(self, updates: int) -> None:
        """A reader received so many."""
        self._received += updates
        # Once a turn of the loop, when all that has arrived is counted.
        if not self._refilling:
            self._refilling = True
            self._loop.call_soon(self._refill)

    def _refill(self) -> None:
        self._refilling = False
        with_everyone = self._received // self._readers
        if with_everyone >= len(self._encoded):
            if not self._done.done():
                self._done.set_result(None)
            return
        end = min(with_everyone + self._in_flight, len(self._encoded))
        if end > self._sent:
            self._socket.write(b"".join(self._encoded[self._sent : end]))
            self._sent = end


async def _stream(load: Stream, server: Server, random: Random, cores: Cores | None) -> StreamRun:
    documents: list[Writable] = []
    for number, token in enumerate(server.tokens[: load.devices]):
        count = len(range(number, load.documents, load.devices))
        memory_ids = await server.create_memories(count, token)
        documents += await open_documents(server.port, token, memory_ids)
    sockets = {document.socket for document in documents}
    warm_up = Schedule(load, load.warm_up, random)
    measured = Schedule(load, load.seconds, random)
    each = [
        iter(keystrokes(ours + theirs, random))
        for ours, theirs in zip(warm_up.counts(), measured.counts(), strict=True)
    ]
    for schedule in (warm_up, measured):
        schedule.encode(documents, each)
    meter = Meter(server.pid)
    try:
        await _unless_lost(warm_up.send(), sockets)
        if cores is not None:
            cores.assign(server.pid)
        with _Quiet():
            before = meter.read()
            await _unless_lost(measured.send(), sockets)
            usage = meter.read() - before
    finally:
        for socket in sockets:
            socket.close()
    return StreamRun(usage, sorted(measured.latencies), sorted(measured.delays))


class Schedule:
    """Updates with the moments they are due at: random ones, at a steady rate over all, each of a
    random document. A late answer delays none of them, so every wait is counted in full."""

    def __init__(self, load: Stream, seconds: float, random: Random) -> None:
        self.latencies: list[float] = []
        self.delays: list[float] = []
        self._load = load
        self._due: list[float] = []
        self._document: list[int] = []
        self._outbound: list[tuple[Socket, bytes]] = []
        at = random.expovariate(load.rate)
        while at < seconds or not self._due:
            self._due.append(at)
            self._document.append(random.randrange(load.documents))
            at += random.expovariate(load.rate)
        self._loop = asyncio.get_running_loop()
        self._started = 0.0
        self._sent = 0
        self._done: asyncio.Future[None] = self._loop.create_future()

    def counts(self) -> list[int]:
        """How many updates each document gets."""
        counts = [0] * self._load.documents
        for document in self._document:
            counts[document] += 1
        return counts

    def encode(self, documents: Sequence[Writable], updates: Sequence[Iterator[bytes]]) -> None:
        """Make what is sent, of the next updates of each document."""
        for number, index in enumerate(self._document):
            socket, encode = documents[index]
            self._outbound.append((socket, encode(number, next(updates[index]))))

    async def send(self) -> None:
        """Send each update when it is due; returns when the last is acked."""
        for socket, _ in self._outbound:
            socket.pour_into(self._acked)
        self._started = self._loop.time()
        self._send_due()
        await self._done

    def _send_due(self) -> None:
        now = self._loop.time() - self._started
        due = self._due
        while self._sent < len(due) and due[self._sent] <= now:
            socket, encoded = self._outbound[self._sent]
            socket.write(encoded)
            self.delays.append(now - due[self._sent])
            self._sent += 1
        if self._sent < len(due):
            self._loop.call_at(self._started + due[self._sent], self._send_due)

    def _acked(self, data: bytes) -> bytes:
        now = self._loop.time() - self._started
        found, rest = messages(data)
        for message in found:
            for frame in memo_frames(message):
                if isinstance(frame, Ack):
                    self.latencies.append(now - self._due[frame.client_seq])
        if len(self.latencies) == len(self._due) and not self._done.done():
            self._done.set_result(None)
        return rest


async def _unless_lost(sending: Awaitable[None], sockets: Collection[Socket]) -> None:
    """Raises:
    BenchmarkFailed: a connection ended before, or it took too long.
    """
    task = asyncio.ensure_future(sending)
    try:
        await asyncio.wait(
            [task, *(socket.lost for socket in sockets)],
            timeout=LOAD_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        for socket in sockets:
            if socket.lost.done():
                socket.lost.result()
        if not task.done():
            raise BenchmarkFailed(f"the server did not keep up within {LOAD_SECONDS:g} s")
        task.result()
    finally:
        task.cancel()


class _Quiet:
    """No garbage collection of the generator's own within."""

    def __enter__(self) -> None:
        gc.collect()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()
