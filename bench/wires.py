"""What devices say to this server and to its peers: opening a document, sending updates, counting
them."""

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
from protocol.documents import DOCUMENTS_OPEN, OpenDocument, OpenedDocument
from sync.update import MalformedUpdate, read_number, scan

_SYNC_STEP_1, _SYNC_STEP_2, _SYNC_UPDATE = b"\x00\x00", b"\x00\x01", b"\x00\x02"
_EMPTY_VECTOR = b"\x01\x00"
# Hocuspocus': a message has the document's name before it.
_AUTH_TOKEN, _SYNC_STATUS = b"\x02\x00", b"\x08"

# Given the number that its ack will have, and an update: the bytes that send it.
Encode = Callable[[int, bytes], bytes]


class Writable(NamedTuple):
    """An open document, with the socket it is open on. `content` is what the server sent of it,
    as Yjs updates."""

    socket: Socket
    encode: Encode
    content: Sequence[bytes] = ()


async def open_document(wire: WireName, port: int, token: str, memory_id: UUID) -> Writable:
    """A document that has been sent, on a connection of its own.

    Raises:
        BenchmarkFailed: the server refused.
    """
    if wire == "/ws":
        [document] = await open_documents(port, token, [memory_id])
        return document
    if wire == "hocuspocus":
        socket = await Socket.connect(port, "/")
        name = hocuspocus_name(str(memory_id))
        socket.write(masked(name + _AUTH_TOKEN + sized(token.encode())))
        prefix = name
    else:
        path = f"/{memory_id}"
        if wire == "/yjs":
            path = f"/yjs/{memory_id}?{urlencode({'token': token})}"
        socket = await Socket.connect(port, path)
        prefix = b""
    socket.write(masked(prefix + _SYNC_STEP_1 + _EMPTY_VECTOR))
    step_2, update = prefix + _SYNC_STEP_2, prefix + _SYNC_UPDATE
    content = []
    while True:  # updates may come before, and step 2 is what completes them
        message = await socket.receive()
        if message.startswith((step_2, update)):
            _, start = read_number(message, len(step_2))
            content.append(message[start:])
        if message.startswith(step_2):
            return Writable(socket, partial(_yjs_update, prefix), content)


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
        opened = msgspec.convert(reply.body, OpenedDocument)
        content = [opened.snapshot] if opened.snapshot else []
        content += opened.updates
        documents.append(Writable(socket, partial(_memo_update, opened.channel), content))
    return documents


def _memo_update(channel: int, sequence: int, update: bytes) -> bytes:
    return masked(frames.encode(frames.Update(channel, sequence, update)))


def _yjs_update(prefix: bytes, _: int, update: bytes) -> bytes:
    return masked(prefix + _SYNC_UPDATE + sized(update))


def hocuspocus_name(document: str) -> bytes:
    """What each message about the document begins with."""
    return sized(document.encode())


def sized(data: bytes) -> bytes:
    """The bytes behind their length, as Yjs writes strings and updates."""
    size, length = len(data), bytearray()
    while size > 0x7F:
        length.append(0x80 | size & 0x7F)
        size >>= 7
    return bytes([*length, size]) + data


class Tally:
    """Counts the updates in what arrives, for all readers of one document.

    They are sent the same bytes, so the count of the last chunk usually is that of the next.
    """

    def __init__(self, wire: WireName) -> None:
        self._updates_in = _UPDATES_IN[wire]
        self._last = b""
        self._last_count = 0

    def count(self, data: bytes) -> tuple[int, bytes]:
        """How many updates there are, and the beginning of a message behind them."""
        if data == self._last:
            return self._last_count, b""
        found, rest = messages(data)
        count = sum(map(self._updates_in, found))
        if not rest:
            self._last, self._last_count = data, count
        return count, rest


class Counter:
    """A sink for all readers of one document, which tells `arrived` how many updates came."""

    def __init__(self, wire: WireName, arrived: Callable[[int], None]) -> None:
        self._tally = Tally(wire)
        self._arrived = arrived

    def __call__(self, data: bytes) -> bytes:
        count, rest = self._tally.count(data)
        self._arrived(count)
        return rest


def memo_updates(message: bytes) -> int:
    """How many updates a message on `/ws` pushes."""
    return sum(
        len(frame.updates) for frame in memo_frames(message) if isinstance(frame, frames.Push)
    )


def memo_acks(message: bytes) -> int:
    """How many updates of the writer's a message on `/ws` says are in the log."""
    return sum(isinstance(frame, frames.Ack) for frame in memo_frames(message))


def yjs_updates(message: bytes) -> int:
    """How many updates a message of y-websocket's protocol pushes."""
    return int(message.startswith(_SYNC_UPDATE))


def hocuspocus_updates(message: bytes) -> int:
    """How many updates of one character a message of Hocuspocus' pushes: it may have merged them.

    Raises:
        BenchmarkFailed: what it merged cannot be read.
    """
    body = _behind_name(message)
    if not body.startswith(_SYNC_UPDATE):
        return 0
    _, start = read_number(body, len(_SYNC_UPDATE))
    try:
        structs = scan(body[start:]).structs
    except MalformedUpdate as error:
        raise BenchmarkFailed(f"Hocuspocus sent what is no update: {error}") from None
    return sum(end - begin for begin, end in structs.values())


def hocuspocus_saved(message: bytes) -> int:
    """How many updates of the writer's a message of Hocuspocus' says are in the document."""
    return int(_behind_name(message).startswith(_SYNC_STATUS + b"\x01"))


def _behind_name(message: bytes) -> bytes:
    size, start = read_number(message, 0)
    return message[start + size :]


_UPDATES_IN: dict[WireName, Callable[[bytes], int]] = {
    "/ws": memo_updates,
    "/yjs": yjs_updates,
    "y-websocket": yjs_updates,
    "hocuspocus": hocuspocus_updates,
}


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
