"""Puts a load on a server and measures it. Runs in a process of its own."""

import asyncio
import selectors
from random import Random
from typing import NamedTuple

import uvloop

from bench.cpu import Cores, Meter, Usage
from bench.crowd import Pulse, Reader
from bench.edits import keystrokes
from bench.host import Contestant
from bench.loads import Broadcast, Contest, Crowd, Stream
from bench.patience import Quiet, unless_lost
from bench.schedule import Schedule
from bench.server import Server
from bench.window import Window
from bench.wires import Counter, Tally, Writable, open_document, open_documents


class ContestRun(NamedTuple):
    """`deliveries` are updates received by readers; `latencies` the seconds that each took, sorted,
    where the load is one that tells."""

    usage: Usage
    deliveries: int
    latencies: list[float]


class StreamRun(NamedTuple):
    """`latencies` are the seconds from when an update was due to its ack, and `delays` those until
    it was sent; both sorted."""

    usage: Usage
    latencies: list[float]
    delays: list[float]


def compete(load: Contest, contestant: Contestant, seed: int, cores: Cores | None) -> ContestRun:
    """One run of a load on a new document of the contestant's.

    Raises:
        BenchmarkFailed: the server refused something, or did not keep up within LOAD_SECONDS.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if isinstance(load, Broadcast):
            return runner.run(_broadcast(load, contestant, Random(seed), cores))
        return runner.run(_crowd(load, contestant, Random(seed), cores))


def stream(load: Stream, server: Server, seed: int, cores: Cores | None) -> StreamRun:
    """One run of a load on new documents.

    Raises:
        BenchmarkFailed: the server refused something, or did not keep up within LOAD_SECONDS.
    """
    with asyncio.Runner(loop_factory=_precise_loop) as runner:
        return runner.run(_stream(load, server, Random(seed), cores))


def _precise_loop() -> asyncio.AbstractEventLoop:
    """A loop that wakes within microseconds: select() is told more than milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _broadcast(
    load: Broadcast, contestant: Contestant, random: Random, cores: Cores | None
) -> ContestRun:
    writer, *readers = await _opened(contestant, 1 + load.readers)
    updates = keystrokes(load.warm_up + load.updates, random)
    encoded = [writer.encode(number, update) for number, update in enumerate(updates, 1)]
    window = Window(writer.socket, load.readers, load.in_flight)
    writer.socket.pour_into(Counter(contestant.wire, lambda _: None))
    counter = Counter(contestant.wire, window.arrived)
    for reader in readers:
        reader.socket.pour_into(counter)
    sockets = [document.socket for document in (writer, *readers)]
    meter = Meter(contestant.host.pid)
    try:
        await unless_lost(window.send(encoded[: load.warm_up]), sockets)
        if cores is not None:
            cores.assign(contestant.host.pid)
        with Quiet():
            before = meter.read()
            await unless_lost(window.send(encoded[load.warm_up :]), sockets)
            usage = meter.read() - before
    finally:
        for socket in sockets:
            socket.close()
    return ContestRun(usage, load.updates * load.readers, [])


async def _crowd(
    load: Crowd, contestant: Contestant, random: Random, cores: Cores | None
) -> ContestRun:
    writer, *readers = await _opened(contestant, 1 + load.readers)
    before_count, count = (
        max(1, int(seconds * load.rate)) for seconds in (load.warm_up, load.seconds)
    )
    updates = keystrokes(before_count + count, random)
    encoded = [writer.encode(number, update) for number, update in enumerate(updates, 1)]
    pulse = Pulse(writer.socket, 1 / load.rate, load.readers)
    writer.socket.pour_into(Counter(contestant.wire, lambda _: None))
    tally = Tally(contestant.wire)
    for number, reader in enumerate(readers):
        reader.socket.pour_into(Reader(number, tally, pulse))
    sockets = [document.socket for document in (writer, *readers)]
    meter = Meter(contestant.host.pid)
    try:
        await unless_lost(pulse.send(encoded[:before_count]), sockets)
        if cores is not None:
            cores.assign(contestant.host.pid)
        with Quiet():
            before = meter.read()
            await unless_lost(pulse.send(encoded[before_count:]), sockets)
            usage = meter.read() - before
    finally:
        for socket in sockets:
            socket.close()
    return ContestRun(usage, len(pulse.latencies), sorted(pulse.latencies))


async def _opened(contestant: Contestant, count: int) -> list[Writable]:
    """A new document, on so many connections of one new account."""
    host = contestant.host
    token = await asyncio.to_thread(host.sign_up)
    [memory_id] = await host.create_memories(1, token)
    return [await open_document(contestant.wire, host.port, token, memory_id) for _ in range(count)]


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
        await unless_lost(warm_up.send(), sockets)
        if cores is not None:
            cores.assign(server.pid)
        with Quiet():
            before = meter.read()
            await unless_lost(measured.send(), sockets)
            usage = meter.read() - before
    finally:
        for socket in sockets:
            socket.close()
    return StreamRun(usage, sorted(measured.latencies), sorted(measured.delays))
