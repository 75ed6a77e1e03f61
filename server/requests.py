"""The requests of one connection: some are carried out at once, the others wait for their turn."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol
from uuid import UUID

from protocol import frames
from protocol.errors import ErrorCode, MemoError
from protocol.log import Author
from server.dispatch import refusal
from server.turns import Turns

MAX_RUNNING = 8  # of one connection at once; further ones wait
MAX_WAITING = 1024
QUEUE_SECONDS = 60.0  # for a turn


class Device(Protocol):
    """The connection whose requests they are."""

    @property
    def author(self) -> Author: ...

    @property
    def takes_answers(self) -> bool:
        """Whether requests may start: not while earlier answers are not even read."""

    def answer(self, frame: frames.Frame) -> None:
        """Queue the answer to a request."""

    def taken(self, size: int) -> None:
        """So many bytes of a request are held."""

    def released(self, size: int) -> None:
        """And are held no more."""


class Requests:
    """`carry_out` answers a request, within its time. `turns` are the node's."""

    def __init__(
        self,
        device: Device,
        turns: Turns,
        carry_out: Callable[[frames.Request], Awaitable[frames.Reply | frames.Error]],
    ) -> None:
        self._device = device
        self._turns = turns
        self._carry_out = carry_out
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._waiting: dict[int, frames.Request] = {}

    def add(self, request: frames.Request) -> None:
        """Take a request, or refuse it."""
        if request.id in self._running or request.id in self._waiting:
            error = MemoError(ErrorCode.INVALID_REQUEST, "this request id is still in use")
            self._device.answer(refusal(request.id, error))
        elif len(self._waiting) < MAX_WAITING:
            self._device.taken(_size(request))
            self._waiting[request.id] = request
            self.start()
        else:
            error = MemoError(
                ErrorCode.BUSY, "too many requests wait on this connection", retry_after=1
            )
            self._device.answer(refusal(request.id, error))

    def cancel(self, request_id: int) -> None:
        """Give up a request, if it is not answered yet."""
        if task := self._running.get(request_id):
            task.cancel()
        elif request := self._waiting.pop(request_id, None):
            self._device.released(_size(request))
            self._device.answer(refusal(request_id, MemoError(ErrorCode.CANCELLED)))

    def start(self) -> None:
        """Start as many as may run."""
        while self._waiting and len(self._running) < MAX_RUNNING and self._device.takes_answers:
            request = self._waiting.pop(next(iter(self._waiting)))
            task = self._loop.create_task(self._answer(request))
            self._running[request.id] = task
            task.add_done_callback(partial(self._answered, request))

    def stop(self) -> None:
        """The connection is gone: nobody waits for answers."""
        for task in tuple(self._running.values()):
            task.cancel()
        self._waiting.clear()

    async def _answer(self, request: frames.Request) -> None:
        account_id: UUID = self._device.author.account_id
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await self._turns.acquire(account_id)
        except TimeoutError:
            busy = MemoError(ErrorCode.BUSY, "the server has more to do than it can", retry_after=5)
            self._device.answer(refusal(request.id, busy))
            return
        try:
            answer = await self._carry_out(request)
        finally:
            self._turns.release(account_id)
        # Nothing may run in between: an opened document's pushes come behind its reply.
        self._device.answer(answer)

    def _answered(self, request: frames.Request, task: asyncio.Task[None]) -> None:
        del self._running[request.id]
        if task.cancelled():
            self._device.answer(refusal(request.id, MemoError(ErrorCode.CANCELLED)))
        self._device.released(_size(request))
        self.start()


def _size(request: frames.Request) -> int:
    """The bytes that a request's body takes."""
    return memoryview(request.body).nbytes
