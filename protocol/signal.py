"""How tasks wait in the client: for a condition with a time limit, and for the next event."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from protocol.errors import ErrorCode, MemoError
from protocol.frames import Event

MAX_EVENTS = 256

Item = TypeVar("Item")


class Signal:
    """Wakes those who wait for a condition. `notify` costs next to nothing with nobody waiting."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(
        self, condition: Callable[[], bool], timeout: float, waited_for: Callable[[], str]
    ) -> None:
        """Wait until `condition()` holds; what it raises ends the wait.

        Raises:
            MemoError: `timeout` after `timeout` seconds; its message is `waited_for()`.
        """
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiters.append(waiter)
                    try:
                        await waiter
                    finally:
                        if waiter in self._waiters:
                            self._waiters.remove(waiter)
        except TimeoutError:
            raise MemoError(ErrorCode.TIMEOUT, f"{waited_for()} within {timeout:g} s") from None


class Stream(AsyncIterator[Item]):
    """What happens from the moment it was made, until the client is closed.

    It holds MAX_EVENTS of it; then the oldest make room, and `missed` counts them.
    """

    def __init__(self) -> None:
        self.missed = 0
        self._events: deque[Item] = deque()
        self._signal = asyncio.Event()
        self._ended = False

    def put(self, event: Item) -> None:
        if len(self._events) == MAX_EVENTS:
            self._events.popleft()
            self.missed += 1
        self._events.append(event)
        self._signal.set()

    def end(self) -> None:
        self._ended = True
        self._signal.set()

    async def __anext__(self) -> Item:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            self._signal.clear()
            # It waits for as long as nothing happens: whoever iterates sets the limit.
            await self._signal.wait()
        return self._events.popleft()


class EventStream(Stream[Event]):
    """The server's events. They are hints: after a miss or a reconnect, ask for what they hint
    at."""
