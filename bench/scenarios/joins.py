"""Many devices open one large document at the same moment."""

import asyncio
from random import Random

import uvloop

from bench.cpu import Meter
from bench.errors import BenchmarkFailed
from bench.scenarios.device import ANSWER_SECONDS, Device, connected, request
from bench.scenarios.resident import Peak, Resident
from bench.scenarios.rest import rested
from bench.scenarios.scenario import Figure, Finding, percentile, scaled
from bench.scenarios.writing import pastes
from bench.server import Server, running
from bench.websocket import Socket, masked
from protocol import frames
from protocol.documents import DOCUMENTS_OPEN, OpenDocument, OpenedDocument

CLIENTS = 150
DOCUMENT_BYTES = 4_000_000
PASTE_BYTES = 50_000
MEGABYTE = 1e6


class Joins:
    """`joins`: how long until each has the whole document, and what memory that takes."""

    name = "joins"
    title = "150 clients open a 4 MB document at once"

    def run(self, share: float) -> Finding:
        with running(1) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_measure(server, share))


async def _measure(server: Server, share: float) -> Finding:
    token = server.tokens[0]
    first, *others = await connected(server.port, [token] * scaled(CLIENTS, share, 3))
    [memory_id] = await server.create_memories(1, token)
    resident = Resident(server.pid)
    main = resident.main
    writer = await Device.connect(server.port, token)
    opened = await writer.open(memory_id)
    count = scaled(DOCUMENT_BYTES // PASTE_BYTES, share, 3)
    await writer.write(opened.channel, pastes([PASTE_BYTES] * count, Random(1)), at_once=10)
    meter = Meter(server.pid)
    await rested(meter)
    memory = OpenDocument(memory_id)
    content = _stored(await writer.call(DOCUMENTS_OPEN, memory))
    writer.close()

    # All answers are of one size, so the others' need only be counted.
    before = first.received
    await first.call(DOCUMENTS_OPEN, memory)
    size = first.received - before
    question = masked(frames.encode(request(1, DOCUMENTS_OPEN, memory)))

    workers = resident.workers
    peak = Peak(server.pid)
    usage = meter.read()
    downloads = [Download(device.socket, size) for device in others]
    for download in downloads:
        download.ask(question)
    async with asyncio.timeout(ANSWER_SECONDS):
        seconds = sorted(await asyncio.gather(*(download.done for download in downloads)))
    usage = meter.read() - usage
    growth = peak.size - main + max(0, resident.workers - workers)
    for device in (first, *others):
        device.close()
    return Finding(
        [
            Figure.at_most("time to full content, p99", percentile(seconds, 0.99), 2, 1, "s"),
            Figure.stated("time to full content, median", percentile(seconds, 0.5), "s"),
            Figure.at_most("peak memory over that before", growth / MEGABYTE, 300, 100, "MB"),
            Figure.stated("CPU time of the server", usage.server, "s"),
            Figure.stated("CPU time of PostgreSQL", usage.postgres, "s"),
            Figure.stated("CPU time of the clients", usage.generator, "s"),
        ],
        f"{len(downloads)} clients, connected before, ask for a document of "
        f"{content / MEGABYTE:.2g} MB in the same moment; the time is from there to the last byte "
        "of the answer. Memory is the largest resident size of the main process meanwhile, less "
        "the one before the document was written, with what the workers grew by meanwhile.",
    )


def _stored(opened: OpenedDocument) -> int:
    return len(opened.snapshot or b"") + sum(map(len, opened.updates))


class Download:
    """One answer of `size` bytes on a socket; `done` tells the seconds it took."""

    def __init__(self, socket: Socket, size: int) -> None:
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._socket = socket
        self._left = size
        self._started = 0.0
        socket.lost.add_done_callback(self._fail)

    def ask(self, question: bytes) -> None:
        """Send the request."""
        self._socket.pour_into(self._take)
        self._started = self.done.get_loop().time()
        self._socket.write(question)

    def _take(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left <= 0 and not self.done.done():
            self.done.set_result(self.done.get_loop().time() - self._started)
        return b""

    def _fail(self, lost: asyncio.Future[None]) -> None:
        if not self.done.done():
            error = None if lost.cancelled() else lost.exception()
            self.done.set_exception(error or BenchmarkFailed("a connection was closed"))
