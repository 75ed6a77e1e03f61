"""Documents that come from outside as a whole: looked at before anything is done with them. Every
function runs in a worker process."""

import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace
from pycrdt import Map

from protocol.log import Message, Projection
from protocol.versions import Folded
from sync.document import EMPTY_UPDATE, load, project
from sync.revision import EXCERPT_CHARACTERS
from sync.state import State
from sync.update import MalformedUpdate, scan

MAX_CLIENTS = 100_000  # that wrote one document: whose each is passes through the event loop

_AT_ONCE = 1000  # messages


class Inspected(NamedTuple):
    """A document that is safe to store: `payload` as it came, empty if there is nothing in it, the
    Yjs clients that wrote it, and its rows. Those of its thread are apart, in parts that an event
    loop takes in at once: `projections` has them."""

    payload: bytes
    clients: list[int]
    projection: Projection
    thread: list[bytes]

    def projections(self) -> Iterator[Projection]:
        """The rows, for a memory that has none yet, to be written one after the other."""
        for number, part in enumerate(self.thread or [msgspec.msgpack.encode([])], 1):
            messages = msgspec.msgpack.decode(part, type=list[Message])
            more = number < len(self.thread)
            yield replace(self.projection, messages=messages, known=0, more=more)


def inspect(update: bytes, renamed: bytes = b"", client_id: int = 0) -> Inspected:
    """A whole document as one update. Files that have got other ids, `renamed` (16 bytes of each
    that was, and 16 of what it is), are attached to its messages under those: that is written as
    `client_id`.

    Raises:
        MalformedUpdate: it is not safe, or builds on something that is not in it.
    """
    clients = _check(update)
    if len(clients) > MAX_CLIENTS:
        raise MalformedUpdate(f"has more than {MAX_CLIENTS:,} clients")
    if renamed:
        update = _rename(update, _pairs(renamed), client_id)
        clients = _check(update)
    projection = project([update])
    messages = projection.messages
    thread = [
        msgspec.msgpack.encode(messages[start : start + _AT_ONCE])
        for start in range(0, len(messages), _AT_ONCE)
    ]
    payload = b"" if update == EMPTY_UPDATE else update
    return Inspected(payload, clients, replace(projection, messages=[]), thread)


def inspect_version(update: bytes) -> Folded:
    """The same of a version, as it is stored.

    Raises:
        MalformedUpdate: as `inspect`.
    """
    _check(update)
    doc = load([update])
    content = project([update])
    return Folded(
        payload=zlib.compress(update),
        vector=doc.get_state(),
        size=len(update),
        title=content.title,
        excerpt=content.content["text"][:EXCERPT_CHARACTERS],
        base=None,
    )


def _check(update: bytes) -> list[int]:
    read, state = scan(update), State()
    if state.missing(read):
        raise MalformedUpdate("builds on something that is not in it")
    state.validate(read)
    return list(read.structs)


def _pairs(packed: bytes) -> dict[UUID, UUID]:
    ids = [UUID(bytes=packed[start : start + 16]) for start in range(0, len(packed), 16)]
    return dict(zip(ids[::2], ids[1::2], strict=True))


def _rename(update: bytes, renamed: dict[UUID, UUID], client_id: int) -> bytes:
    """The document with other ids of attachments; as it came, if it has none of them."""
    doc = load([update], client_id)
    messages: Map[Any] = doc.get("messages", type=Map)
    changed = False
    with doc.transaction():
        for key in list(messages.keys()):
            changed |= _rename_in(messages, key, renamed)
    return doc.get_update() if changed else update


def _rename_in(messages: Map[Any], key: str, renamed: dict[UUID, UUID]) -> bool:
    try:
        message = messages[key]
        fields = message.to_py() if isinstance(message, Map) else message
    except ValueError:  # an XML type, or something with one within
        return False
    attachments = fields.get("attachments") if isinstance(fields, dict) else None
    if not isinstance(attachments, list):
        return False
    swapped = [_swapped(value, renamed) for value in attachments]
    if swapped == attachments:
        return False
    if isinstance(message, Map):
        message["attachments"] = swapped
    else:
        messages[key] = {**message, "attachments": swapped}
    return True


def _swapped(value: Any, renamed: dict[UUID, UUID]) -> Any:
    try:
        return str(renamed[UUID(value)]) if isinstance(value, str) else value
    except (ValueError, KeyError):
        return value
