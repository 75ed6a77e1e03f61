"""A WebSocket client that is all but free, so that the server is what is measured."""

import asyncio
import base64
import os
from collections.abc import Callable
from typing import cast

from bench.errors import BenchmarkFailed

CONNECT_SECONDS = 30.0
INBOX = 100_000  # messages: a log of so many single updates may be sent before it ends
_BINARY, _CLOSE = 2, 8

# Takes what has arrived, and gives back what is not yet a whole message.
Sink = Callable[[bytes], bytes]


class Socket(asyncio.Protocol):
    """A client's end. What arrives goes to a sink, in chunks as the kernel has them.

    It answers no ping: a server gives up on it after its heartbeat. `accepted` is done when the
    server took it; `lost` ends with an error when the connection does, or when a sink raises.
    """

    def __init__(self, host: str, path: str, subprotocol: str | None) -> None:
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.lost.add_done_callback(lambda lost: lost.cancelled() or lost.exception())
        self._request = _upgrade(host, path, subprotocol)
        self.accepted: asyncio.Future[None] = loop.create_future()
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue(INBOX)
        self._sink: Sink = self._accept
        self._rest = b""
        self._transport = cast(asyncio.Transport, None)

    @classmethod
    async def connect(cls, port: int, path: str, subprotocol: str | None = None) -> "Socket":
        """Raises:
        BenchmarkFailed: the server refused.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            try:
                _, socket = await loop.create_connection(
                    lambda: cls(f"127.0.0.1:{port}", path, subprotocol), "127.0.0.1", port
                )
            except OSError as error:
                raise BenchmarkFailed(f"nobody listens on port {port}: {error}") from None
            await asyncio.wait([socket.accepted, socket.lost], return_when="FIRST_COMPLETED")
        if socket.lost.done():
            socket.lost.result()
        return socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            self._rest = self._sink(self._rest + data if self._rest else data)
        except BenchmarkFailed as error:
            self._end(error)
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(BenchmarkFailed(f"the server closed a connection: {exc or 'end of stream'}"))

    def write(self, data: bytes) -> None:
        """Send whole messages, each made by `masked`."""
        self._transport.write(data)

    async def receive(self) -> bytes:
        """The next message, as long as there is no other sink.

        Raises:
            TimeoutError: none came within CONNECT_SECONDS.
        """
        async with asyncio.timeout(CONNECT_SECONDS):
            return await self._inbox.get()

    def pour_into(self, sink: Sink) -> None:
        """From here on, `sink` takes what arrives."""
        self._sink = sink

    def close(self) -> None:
        self.lost.cancel()
        self._transport.abort()

    def _accept(self, data: bytes) -> bytes:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return data
        if not head.startswith(b"HTTP/1.1 101 "):
            raise BenchmarkFailed(f"no WebSocket: {data.decode(errors='replace')}")
        self.accepted.set_result(None)
        self._sink = self._store
        return self._store(rest)

    def _store(self, data: bytes) -> bytes:
        found, rest = messages(data)
        for message in found:
            self._inbox.put_nowait(message)
        return rest

    def _end(self, error: BenchmarkFailed) -> None:
        if not self.lost.done():
            self.lost.set_exception(error)


def masked(payload: bytes) -> bytes:
    """A client's message. The mask is zero, which is one like any other and changes nothing."""
    size = len(payload)
    if size < 126:
        return b"\x82" + bytes([0x80 | size]) + bytes(4) + payload
    if size < 1 << 16:
        return b"\x82\xfe" + size.to_bytes(2, "big") + bytes(4) + payload
    return b"\x82\xff" + size.to_bytes(8, "big") + bytes(4) + payload


def messages(data: bytes) -> tuple[list[bytes], bytes]:
    """The binary messages in what a server sent, and the beginning of another behind them.

    Raises:
        BenchmarkFailed: the server closes the connection, and says why.
    """
    found = []
    at = 0
    while len(data) - at >= 2:
        size = data[at + 1]
        start = at + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            if len(data) < start:
                break
            size = int.from_bytes(data[at + 2 : start], "big")
        if len(data) < start + size:
            break
        opcode = data[at] & 0x0F
        at = start + size
        if opcode == _BINARY:
            found.append(data[start:at])
        elif opcode == _CLOSE:
            code = int.from_bytes(data[start : start + 2], "big")
            reason = data[start + 2 : at].decode(errors="replace")
            raise BenchmarkFailed(f"the server closed a connection: {code} {reason}")
    return found, data[at:]


def _upgrade(host: str, path: str, subprotocol: str | None) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return "\r\n".join([*lines, "", ""]).encode()
