"""A device on `/ws`: it says hello, makes requests and writes, at little cost."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from bench.errors import BenchmarkFailed
from bench.websocket import Socket, masked, messages
from protocol import frames
from protocol.documents import DOCUMENTS_OPEN, OpenDocument, OpenedDocument
from protocol.operation import Operation
from protocol.records import Body
from protocol.session import refusal

ANSWER_SECONDS = 120.0
WRITES_AT_ONCE = 100
PING = b"\x89\x00"  # as the server sends it
PONG = b"\x8a\x80\x00\x00\x00\x00"

Req = TypeVar("Req", bound=Body)
Res = TypeVar("Res", bound=Body)


class Refused(BenchmarkFailed):
    """A request was refused, with this code."""

    def __init__(self, error: frames.ErrorBody) -> None:
        super().__init__(f"the server refused: {error.code}: {error.message}")
        self.code = refusal(error).code


def ignore(_: frames.ServerFrame) -> None:
    """Let a frame pass."""


class Device:
    """A connection that was welcomed. `heard` gets the frames that answer nothing; `received` is
    how many bytes have come."""

    def __init__(self, socket: Socket, token: str) -> None:
        self.socket = socket
        self.heard: Callable[[frames.ServerFrame], None] = ignore
        self.received = 0
        self._loop = asyncio.get_running_loop()
        self._ids = count(1)
        self._answers: dict[int, asyncio.Future[frames.Reply]] = {}
        self._welcome: asyncio.Future[frames.WelcomeBody] = self._loop.create_future()
        self._unacked: set[int] = set()
        self._acked: asyncio.Future[None] = self._loop.create_future()
        self._rest = b""
        socket.lost.add_done_callback(self._fail)
        socket.pour_into(self._take)
        self.send(frames.Hello(frames.HelloBody(token)))

    @classmethod
    async def connect(cls, port: int, token: str) -> "Device":
        """Raises:
        BenchmarkFailed: the server refused.
        """
        device = cls(await Socket.connect(port, "/ws", frames.SUBPROTOCOL), token)
        await device.welcome()
        return device

    async def welcome(self) -> frames.WelcomeBody:
        """What the server granted."""
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asyncio.shield(self._welcome)

    def send(self, *sent: frames.Frame) -> None:
        """Frames of one message."""
        self.socket.write(masked(frames.encode(*sent)))

    async def call(self, operation: Operation[Req, Res], body: Req) -> Res:
        """The reply to one request.

        Raises:
            Refused: by the server.
            BenchmarkFailed: the connection ended.
        """
        async with asyncio.timeout(ANSWER_SECONDS):
            reply = await self.ask(operation, body)
        return msgspec.convert(reply.body, operation.response)

    def ask(self, operation: Operation[Req, Res], body: Req) -> asyncio.Future[frames.Reply]:
        """Make a request; its reply comes later."""
        number = next(self._ids)
        answer = self._answers[number] = self._loop.create_future()
        self.send(request(number, operation, body))
        return answer

    async def open(
        self, memory_id: UUID, epoch: str | None = None, offset: int = 0
    ) -> OpenedDocument:
        """Raises:
        Refused: by the server.
        BenchmarkFailed: the connection ended.
        """
        return await self.call(DOCUMENTS_OPEN, OpenDocument(memory_id, epoch, offset))

    async def write(
        self, channel: int, updates: Sequence[bytes], at_once: int = WRITES_AT_ONCE
    ) -> None:
        """Send updates, so many `at_once`; returns when all are acked.

        Raises:
            BenchmarkFailed: the connection ended.
        """
        for start in range(0, len(updates), at_once):
            numbered = list(enumerate(updates[start : start + at_once]))
            self._unacked = {number for number, _ in numbered}
            self._acked = self._loop.create_future()
            self.send(*(frames.Update(channel, number, update) for number, update in numbered))
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._acked

    def close(self) -> None:
        self.socket.close()

    def _take(self, data: bytes) -> bytes:
        self.received += len(data)
        if PING in data:  # if it was none, an answer too many does no harm
            self.socket.write(PONG)
        found, self._rest = messages(self._rest + data if self._rest else data)
        for message in found:
            for frame in frames.decode_server(message):
                self._hear(frame)
        return b""

    def _hear(self, frame: frames.ServerFrame) -> None:
        match frame:
            case frames.Reply() | frames.Error(id=int()):
                answer = self._answers.pop(frame.id or 0, None)
                if answer is None or answer.done():
                    return  # whoever asked has left
                if isinstance(frame, frames.Reply):
                    answer.set_result(frame)
                else:
                    answer.set_exception(Refused(frame.body))
            case frames.Error():
                raise Refused(frame.body)
            case frames.Welcome():
                if not self._welcome.done():
                    self._welcome.set_result(frame.body)
            case frames.Ack() if frame.client_seq in self._unacked:
                self._unacked.discard(frame.client_seq)
                if not self._unacked and not self._acked.done():
                    self._acked.set_result(None)
            case _:
                self.heard(frame)

    def _fail(self, lost: asyncio.Future[None]) -> None:
        error = None if lost.cancelled() else lost.exception()
        failure = error or BenchmarkFailed("the connection was closed here")
        owed: list[asyncio.Future[Any]] = [self._welcome, self._acked, *self._answers.values()]
        for waiting in owed:
            if not waiting.done():
                waiting.set_exception(failure)
                waiting.exception()  # whoever waits is told; nobody has to
        self._answers.clear()


def request(number: int, operation: Operation[Req, Res], body: Req) -> frames.Request:
    """The frame of a request."""
    return frames.Request(number, operation.name, msgspec.Raw(msgspec.msgpack.encode(body)))


async def connected(port: int, tokens: Sequence[str], at_once: int = 50) -> list[Device]:
    """A device for each token, so many of them connecting at the same time.

    Raises:
        BenchmarkFailed: the server refused one.
    """
    turns = asyncio.Semaphore(at_once)

    async def connect(token: str) -> Device:
        async with turns:
            return await Device.connect(port, token)

    return await asyncio.gather(*map(connect, tokens))
