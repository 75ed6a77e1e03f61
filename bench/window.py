"""A writer that sends as fast as its readers receive."""

import asyncio
from collections.abc import Sequence

from bench.websocket import Socket


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
