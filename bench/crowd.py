"""A writer whose updates go to many readers at a steady rate."""

import asyncio
import time
from collections.abc import Sequence

from bench.websocket import Socket
from bench.wires import Tally


class Pulse:
    """Sends an update each `interval` seconds, and notes how long each took to each reader: the
    seconds from when it was due. A late delivery delays none that come after it."""

    def __init__(self, writer: Socket, interval: float, readers: int) -> None:
        self.latencies: list[float] = []
        self._writer = writer
        self._interval = interval
        self._readers = readers
        self._loop = asyncio.get_running_loop()
        self._encoded: Sequence[bytes] = ()
        self._sent = 0
        self._since: list[float] = []  # when each was due, or a little before when it was sent
        self._started = 0.0
        self._done: asyncio.Future[None] = self._loop.create_future()
        # How many each reader has received.
        self._received = [0] * readers

    async def send(self, encoded: Sequence[bytes]) -> None:
        """Send these updates; returns when every reader has the last."""
        self.latencies = []
        self._encoded, self._sent, self._since = encoded, 0, []
        self._received = [0] * self._readers
        self._started = time.perf_counter()
        self._done = self._loop.create_future()
        self._send_next()
        await self._done

    def arrived(self, reader: int, updates: int) -> None:
        """This reader received so many: the next ones of those that were sent."""
        now = time.perf_counter()  # finer than the time of the loop
        first = self._received[reader]
        for number in range(first, first + updates):
            self.latencies.append(now - self._since[number])
        self._received[reader] = first + updates
        if len(self.latencies) == self._readers * len(self._encoded) and not self._done.done():
            self._done.set_result(None)

    def _send_next(self) -> None:
        now = time.perf_counter()
        # A timer may be early by a millisecond.
        self._since.append(min(now, self._started + self._sent * self._interval))
        self._writer.write(self._encoded[self._sent])
        self._sent += 1
        if self._sent < len(self._encoded):
            due = self._started + self._sent * self._interval
            self._loop.call_later(max(0.0, due - now), self._send_next)


class Reader:
    """The sink of one reader."""

    def __init__(self, number: int, tally: Tally, pulse: Pulse) -> None:
        self._number = number
        self._tally = tally
        self._pulse = pulse

    def __call__(self, data: bytes) -> bytes:
        count, rest = self._tally.count(data)
        if count:
            self._pulse.arrived(self._number, count)
        return rest
