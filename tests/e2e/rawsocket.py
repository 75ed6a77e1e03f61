"""A `memo.v1` connection with nothing between the test and its bytes."""

import asyncio
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from protocol import frames
from protocol.frames import SUBPROTOCOL, Frame

PATIENCE = 10.0


class RawSocket:
    """Says hello with `token` (None: says nothing) and keeps what the server sends, in order."""

    def __init__(self, url: str, token: str | None, **options: Any) -> None:
        self._url = url
        self._token = token
        self._options = options
        self._frames: list[Frame] = []
        self._last_id = 0
        self.socket: ClientConnection

    async def __aenter__(self) -> Self:
        self.socket = await connect(
            self._url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=None,
            **self._options,
        )
        if self._token is not None:
            await self.send(frames.Hello(frames.HelloBody(self._token, device_id="raw")))
            await self.take(frames.Welcome)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.socket.close()

    async def send(self, *sent: Frame) -> None:
        await self.socket.send(frames.encode(*sent))

    async def take(self, kind: type[Frame]) -> Any:
        """The next frame of this type; others are kept for later."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for number, frame in enumerate(self._frames):
                    if isinstance(frame, kind):
                        return self._frames.pop(number)
                message = await self.socket.recv(decode=False)
                self._frames += frames.decode_server(message)

    async def call(self, operation: str, body: dict[str, Any]) -> frames.Reply | frames.Error:
        """The answer to a request."""
        self._last_id += 1
        request = frames.Request(
            self._last_id, operation, msgspec.Raw(msgspec.msgpack.encode(body))
        )
        await self.send(request)
        async with asyncio.timeout(PATIENCE):
            while True:
                for number, frame in enumerate(self._frames):
                    if isinstance(frame, frames.Reply | frames.Error) and frame.id == request.id:
                        self._frames.pop(number)
                        return frame
                message = await self.socket.recv(decode=False)
                self._frames += frames.decode_server(message)

    async def open(self, memory_id: UUID, **known: Any) -> dict[str, Any]:
        """The body of the answer to `documents.open`."""
        answer = await self.call("documents.open", {"memoryId": str(memory_id), **known})
        assert isinstance(answer, frames.Reply), answer
        body: dict[str, Any] = answer.body
        return body

    async def close_code(self) -> int:
        """How the server ended the connection."""
        async with asyncio.timeout(PATIENCE):
            await self.socket.wait_closed()
        assert self.socket.close_code is not None
        return self.socket.close_code

    def kept(self, kind: type[Frame]) -> list[Any]:
        """The frames of this type that were received and not taken."""
        return [frame for frame in self._frames if isinstance(frame, kind)]
