"""The frames of the `memo.v1` subprotocol, and their codec.

Every WebSocket message is binary: a MessagePack array of frames. A frame is an array whose
first item is its type. Frames below 16 travel from client to server, the others back.
The codec does no I/O and knows nothing of connections.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from protocol.errors import ErrorCode, MemoError
from protocol.items import split

SUBPROTOCOL = "memo.v1"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
MAX_FRAMES = 1 << 16  # of one message
MAX_UNREADABLE = 1000  # frames of one message


class Frame(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A frame: an array led by its type."""


class HelloBody(msgspec.Struct, rename="camel", frozen=True):
    """Who is calling. `device_id` is stable over restarts of one installed app."""

    token: str
    device_id: str | None = None
    client: str | None = None


class WelcomeBody(msgspec.Struct, rename="camel", frozen=True):
    """What the server grants. `cursor` is where `feed.changes` continues from this moment."""

    session_id: str
    user_id: str
    cursor: str
    expires_at: str
    max_message_bytes: int = MAX_MESSAGE_BYTES
    heartbeat_seconds: float = 25.0
    version: str = ""


class ErrorBody(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """Why something was refused. `channel` and `client_seq` name a refused update."""

    code: str
    message: str
    retry_after: float | None = None
    details: dict[str, Any] | None = None
    channel: int | None = None
    client_seq: int | None = None


class GoodbyeBody(msgspec.Struct, rename="camel", frozen=True):
    """The server is about to close. Reconnect after `reconnect_after_ms` milliseconds."""

    reason: str
    reconnect_after_ms: int


class Hello(Frame, tag=0, frozen=True):
    """The first frame of a connection, within ten seconds of its start."""

    body: HelloBody


class Request(Frame, tag=1, frozen=True):
    """Calls an operation. The client chooses `id`; the answer names it."""

    id: int
    operation: str
    body: msgspec.Raw


class Cancel(Frame, tag=2, frozen=True):
    """Gives up on a request; it is answered `cancelled` unless it is done already."""

    id: int


class Update(Frame, tag=3, frozen=True):
    """An edit of an open document. `client_seq` names it in its ack or error."""

    channel: int
    client_seq: int
    update: bytes


class Awareness(Frame, tag=4, frozen=True):
    """The sender's presence in an open document, in y-protocols' awareness encoding."""

    channel: int
    payload: bytes


class Welcome(Frame, tag=16, frozen=True):
    """The answer to hello: from here on the server takes everything else."""

    body: WelcomeBody


class Reply(Frame, tag=17, frozen=True):
    """The one answer of a request that succeeded."""

    id: int
    body: Any


class Part(Frame, tag=18, frozen=True):
    """A piece of a longer answer; the reply comes after the last."""

    id: int
    body: Any


class Error(Frame, tag=19, frozen=True):
    """A refusal. `id` is the request's, or nil when it was no request that was refused."""

    id: int | None
    body: ErrorBody


class Push(Frame, tag=20, frozen=True):
    """Updates of others, at consecutive offsets from `offset` on."""

    channel: int
    offset: int
    updates: list[bytes]


class Ack(Frame, tag=21, frozen=True):
    """The update is committed at `offset`, or changed nothing and `offset` is the head."""

    channel: int
    client_seq: int
    offset: int


class AwarenessRelay(Frame, tag=22, frozen=True):
    """The presence of others in an open document."""

    channel: int
    payload: bytes


class Event(Frame, tag=23, frozen=True):
    """A hint that nobody asked for; `name` is one of the declared events."""

    name: str
    body: Any


class Goodbye(Frame, tag=24, frozen=True):
    """The last frame before the server closes the connection."""

    body: GoodbyeBody


ClientFrame = Hello | Request | Cancel | Update | Awareness
ServerFrame = Welcome | Reply | Part | Error | Push | Ack | AwarenessRelay | Event | Goodbye

# msgspec reports text that is not UTF-8, and too deep a nesting, as Python does.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_LONG_ARRAY = b"\xdd"  # the head of a MessagePack array of more than 65,535 items

_CLIENT_TAGS = frozenset(range(5))
_SERVER_TAGS = frozenset(range(16, 25))

_encoder = msgspec.msgpack.Encoder()
_client_messages = msgspec.msgpack.Decoder(list[ClientFrame])
_client_frame = msgspec.msgpack.Decoder(ClientFrame)
_server_messages = msgspec.msgpack.Decoder(list[ServerFrame])
_server_frame = msgspec.msgpack.Decoder(ServerFrame)
_raw_frames = msgspec.msgpack.Decoder(list[msgspec.Raw])
_integer = msgspec.msgpack.Decoder(int)


def encode(*frames: Frame) -> bytes:
    """One WebSocket message holding these frames, in order."""
    return _encoder.encode(frames)


def reply_head(request_id: int) -> bytes:
    """What comes before the body in a message that holds one reply."""
    return b"\x91\x93" + _encoder.encode(Reply.__struct_config__.tag) + _encoder.encode(request_id)


def decode_client(message: bytes) -> list[ClientFrame | Error]:
    """The frames of a client's message.

    A frame of unknown type is left out. A frame that does not fit its type stands as an
    `Error` (with the request's id where that could be read) and costs its neighbours nothing.

    Raises:
        MemoError: `invalid_message`, when the message is not an array of frames at all, or has
            more than `MAX_FRAMES`, or more than `MAX_UNREADABLE` that cannot be read.
    """
    if message[:1] == _LONG_ARRAY and int.from_bytes(message[1:5], "big") > MAX_FRAMES:
        raise MemoError(ErrorCode.INVALID_MESSAGE, f"a message holds {MAX_FRAMES} frames at most")
    try:
        return list(_client_messages.decode(message))
    except _UNREADABLE:
        return _decode_each(message, _client_frame, _CLIENT_TAGS)


def decode_server(message: bytes) -> list[ServerFrame | Error]:
    """The frames of a server's message, read as `decode_client` reads a client's."""
    try:
        return list(_server_messages.decode(message))
    except _UNREADABLE:
        return _decode_each(message, _server_frame, _SERVER_TAGS)


def _decode_each(
    message: bytes, decoder: msgspec.msgpack.Decoder[Any], known: frozenset[int]
) -> list[Any]:
    raws: Sequence[msgspec.Raw | memoryview]
    try:
        try:
            raws = _raw_frames.decode(message)
        except RecursionError:
            raws = split(message)
    except (*_UNREADABLE, ValueError) as error:
        raise MemoError(
            ErrorCode.INVALID_MESSAGE, f"a message is a MessagePack array of frames: {error}"
        ) from None
    frames: list[Any] = []
    unreadable = 0
    for raw in raws:
        try:
            frames.append(decoder.decode(raw))
        except _UNREADABLE as error:
            unreadable += 1
            if unreadable > MAX_UNREADABLE:
                raise MemoError(
                    ErrorCode.INVALID_MESSAGE,
                    f"more than {MAX_UNREADABLE} frames of a message cannot be read",
                ) from None
            head = _head(raw)
            if not head or head[0] in known:
                request_id = head[1] if len(head) == 2 and head[0] == 1 else None
                frames.append(
                    Error(request_id, ErrorBody(ErrorCode.INVALID_MESSAGE.value, str(error)))
                )
    return frames


def _head(raw: msgspec.Raw | memoryview) -> list[int]:
    """The leading integers (type, and id where there is one) of a frame that did not decode."""
    head: list[int] = []
    try:
        for item in split(raw, 2):
            head.append(_integer.decode(item))
    except (*_UNREADABLE, ValueError):
        pass
    return head
