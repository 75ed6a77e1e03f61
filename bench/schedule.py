"""Updates that are due at random moments, each of one of many documents."""

import asyncio
from collections.abc import Iterator, Sequence
from random import Random

from bench.loads import Stream
from bench.websocket import Socket, messages
from bench.wires import Writable, memo_frames
from protocol.frames import Ack


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
            document = documents[index]
            self._outbound.append((document.socket, document.encode(number, next(updates[index]))))

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
