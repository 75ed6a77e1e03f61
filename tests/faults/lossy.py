"""A Redis that loses messages: a relay before the real one."""

import asyncio
from random import Random
from types import TracebackType
from typing import Self

_MESSAGE = b"*3\r\n$7\r\nmessage\r\n"
_READ_BYTES = 1 << 16


class LossyRedis:
    """Relays to the Redis at `port`, and keeps a `share` of the messages that it pushes from
    arriving. Answers to commands always pass: a relay that lost those would be a broken Redis."""

    def __init__(self, port: int, random: Random) -> None:
        self.share = 0.0
        self.passed = 0
        self.dropped = 0
        self._upstream = port
        self._random = random
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.get_running_loop().create_task(self._relay(reader, writer))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, redis_writer))
                group.create_task(self._lose(redis_reader, writer))
        except* OSError:
            """One side is gone, and takes the other with it."""
        finally:
            for each in (writer, redis_writer):
                each.transport.abort()

    async def _lose(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = bytearray()
        while data := await reader.read(_READ_BYTES):
            received += data
            start = 0
            while (end := reply_end(received, start)) is not None:
                if received.startswith(_MESSAGE, start):
                    if self._random.random() < self.share:
                        self.dropped += 1
                        start = end
                        continue
                    self.passed += 1
                writer.write(bytes(received[start:end]))
                start = end
            del received[:start]
            await writer.drain()
        raise ConnectionResetError


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_READ_BYTES):
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError


def reply_end(data: bytearray, start: int) -> int | None:
    """Where the reply that begins at `start` ends; None if that has not arrived."""
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return None
    kind, end = data[start : start + 1], line_end + 2
    if kind == b"$":
        size = int(data[start + 1 : line_end])
        end += size + 2 if size >= 0 else 0
        return end if end <= len(data) else None
    if kind == b"*":
        for _ in range(int(data[start + 1 : line_end])):
            item_end = reply_end(data, end)
            if item_end is None:
                return None
            end = item_end
    return end
