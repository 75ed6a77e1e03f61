"""What the nodes that have a document open tell each other about it, over the broker.

All of it is hints. A commit that was not heard of is found in the log, presence that was not
heard of comes again.
"""

import msgspec

MAX_BYTES = 32 * 1024  # of a commit's updates; larger ones are read from the log instead


class Commit(msgspec.Struct, frozen=True, array_like=True, tag="c", gc=False):
    """The updates from `previous` (exclusive) to `offset` are in the log, under `epoch`.
    `updates` are all of them, or none if they are too large to be sent around."""

    epoch: str
    previous: int
    offset: int
    updates: list[bytes]


class Presence(msgspec.Struct, frozen=True, array_like=True, tag="p", gc=False):
    """What changed in the presence of the devices that are connected to `node`."""

    node: str
    states: bytes


class Arrival(msgspec.Struct, frozen=True, array_like=True, tag="a", gc=False):
    """A node has opened the document, and knows of nobody's presence."""


Announcement = Commit | Presence | Arrival

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Announcement] = msgspec.msgpack.Decoder(Announcement)


def encode(announcement: Announcement) -> bytes:
    """The announcement as a broker's message."""
    return _encoder.encode(announcement)


def decode(message: bytes) -> Announcement:
    """Raises:
    msgspec.DecodeError: it is none.
    """
    return _decoder.decode(message)
