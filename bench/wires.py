"""What devices say on `/ws` and on `/yjs`: opening a document, sending updates, counting them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from bench.errors import BenchmarkFailed
from bench.loads import WireName
from bench.websocket import Socket, masked, messages
from protocol import frames
from protocol.documents import OpenDocument, OpenedDocument
from protocol.operations import DOCUMENTS_OPEN

_SYNC_STEP_1, _SYNC_STEP_2, _SYNC_UPDATE = b"\x00\x00", b"\x00\x01", b"\x00\x02"


# Given the number that its ack will have, and an update: the bytes that send it.
Encode = Callable[[int, bytes], bytes]


class Writable(NamedTuple):
    """An open document, with the socket it is open on."""

    socket: Socket
    encode: Encode


async def open_document(wire: WireName, port: int, token: str, memory_id: UUID) -> Writable:
    """A document that has been sent, on a connection of its own.

    Raises:
        BenchmarkFailed: the server refused.
    """
    if wire == "/ws":
        [document] = await open_documents(port, token, [memory_id])
        return document
    path = f"/yjs/{memory_id}?{urlencode({'token': token})}"
    socket = await Socket.connect(port, path)
    socket.write(masked(_SYNC_STEP_1 + b"\x01\x00"))
    while not (await socket.receive()).startswith(_SYNC_STEP_2):
        pass
    return Writable(socket, _yjs_update)


async def open_documents(port: int, token: str, memory_ids: Sequence[UUID]) -> list[Writable]:
    """Documents that have been sent, on one connection to `/ws`.

    Raises:
        BenchmarkFailed: the server refused.
    """
    socket = await Socket.connect(port, "/ws", frames.SUBPROTOCOL)
    socket.write(masked(frames.encode(frames.Hello(frames.HelloBody(token)))))
    documents = []
    for number, memory_id in enumerate(memory_ids):
        body = msgspec.Raw(msgspec.msgpack.encode(OpenDocument(memory_id=memory_id)))
        socket.write(masked(frames.encode(frames.Request(number, DOCUMENTS_OPEN.name, body))))
        reply = None
        while reply is None:
            found = memo_frames(await socket.receive())
            reply = next((frame for frame in found if isinstance(frame, frames.Reply)), None)
        channel = msgspec.convert(reply.body, OpenedDocument).channel
        documents.append(Writable(socket, partial(_memo_update, channel)))
    return documents


def _memo_update(channel: int, sequence: int, update: bytes) -> bytes:
    return masked(frames.encode(frames.Update(channel, sequence, update)))


def _yjs_update(_: int, update: bytes) -> bytes:
    assert len(update) < 0x80, "its length takes one byte"
    return masked(_SYNC_UPDATE + bytes([len(update)]) + update)


class Counter:
    """A sink for all readers of one document, which tells `arrived` how many updates came.

    They are sent the same bytes, so the count of the last chunk usually is that of the next.
    """

    def __init__(self, wire: WireName, arrived: Callable[[int], None]) -> None:
        self._updates_in = memo_updates if wire == "/ws" else yjs_updates
        self._arrived = arrived
        self._last = b""
        self._last_count = 0

    def __call__(self, data: bytes) -> bytes:
        if data == self._last:
            self._arrived(self._last_count)
            return b""
        found, rest = messages(data)
        count = sum(map(self._updates_in, found))
        if not rest:
            self._last, self._last_count = data, count
        self._arrived(count)
        return rest


def memo_updates(message: bytes) -> int:
    """How many updates a message on `/ws` pushes."""
    return sum(
        len(frame.updates) for frame in memo_frames(message) if isinstance(frame, frames.Push)
    )


def yjs_updates(message: bytes) -> int:
    """How many updates a message on `/yjs` pushes."""
    return int(message.startswith(_SYNC_UPDATE))


def memo_frames(message: bytes) -> Sequence[frames.ServerFrame]:
    """The frames of a message.

    Raises:
        BenchmarkFailed: one of them is an error: here everything should be granted.
    """
    found = frames.decode_server(message)
    for frame in found:
        if isinstance(frame, frames.Error):
            raise BenchmarkFailed(f"the server refused: {frame.body.code}: {frame.body.message}")
    return found
