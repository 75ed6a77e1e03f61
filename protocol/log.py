"""Records of the log that pass between the sync layer and whatever stores it.

They are in-process values, not frames: `sync` and `storage` do not import each other, and both
may import these.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from protocol import messages
from protocol.memories import Role

WRITERS: frozenset[Role] = frozenset(("owner", "editor"))
COMMENTERS: frozenset[Role] = WRITERS | {"commenter"}

# Whose the Yjs clients of an account are that was deleted.
NOBODY = UUID(int=0)

BASE = -1  # a projection's `known`: the offset that the edit was made at, which it goes with


class Outcome(Enum):
    """What the commit made of one update."""

    COMMITTED = "committed"
    LOCKED = "locked"  # another transaction holds the document: try in the next round
    AGAIN = "again"  # stood beside a refused update of its document: validate it afresh
    NOT_FOUND = "not_found"
    GONE = "gone"
    FORBIDDEN = "forbidden"
    CLIENT_ID_TAKEN = "client_id_taken"
    FAILED = "failed"  # the database refused this very update


class Author(msgspec.Struct, frozen=True):
    """Who writes: an account on one of its devices. `commenting`: the server writes a message for
    it, and the right to comment is enough."""

    account_id: UUID
    device_id: str | None = None
    commenting: bool = False


class Message(msgspec.Struct, frozen=True):
    """A message of a memory's thread, as the document holds it. `client` is the Yjs client that
    began its text, which is some account's; where it is the server's, which has restored it,
    `user_id` is who wrote it, if that is told. What the document says of it is nobody's word;
    `attached_by` the one that wrote which files it has, unless several did or it is not told.
    `digest` tells whether a row has all this already."""

    id: UUID
    content: str
    message_type: str
    parent_message_id: UUID | None
    metadata: dict[str, Any] | None
    attachments: list[UUID] | None
    is_ai_generated: bool
    status: str
    created_at: datetime | None
    user_id: UUID | None = None
    client: int | None = None
    digest: bytes = bytes(8)
    attached_by: int | None = None


class ThreadRow(msgspec.Struct, frozen=True):
    """A message as its row has it; `deleted_at` once the document has it no more."""

    message: messages.Message
    digest: bytes
    deleted_at: str | None


class Known(msgspec.Struct, frozen=True):
    """What the rows of a thread have: they stand for the document at `offset`. `digests` has each
    message's id (16 bytes) and digest (8 bytes), in no order."""

    offset: int
    digests: bytes


class Projection(msgspec.Struct, frozen=True):
    """What a document holds, as its rows will say it. `content` has the body under `text`.

    `messages` are all there are; or, of rows that are `known` to stand for an offset, those that
    they lack or have otherwise, and `gone` are those that the document has no more. With `more`
    there are others, for the next projection. `words` are what search finds the memory by, as
    `protocol.lexemes` writes them; None: they are to be read later.
    """

    title: str | None
    description: str | None
    content: dict[str, Any]
    tags: list[str]
    metadata: dict[str, Any]
    messages: list[Message]
    known: int | None = None
    gone: list[UUID] = []
    more: bool = False
    words: str | None = ""


class Queued(msgspec.Struct, frozen=True):
    """A memory whose words search has to read again, and since when."""

    memory_id: UUID
    queued_at: datetime


class Saved(msgspec.Struct, frozen=True):
    """What became of a projection: the accounts that follow the memory; and False if the rows of
    the thread are not all written, and it has to be projected again."""

    followers: Sequence[UUID]
    whole: bool = True


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An update to be committed. `claims` are the client ids it is the first to use, each with
    its owner-to-be (None: the server). `projection` is written in the same transaction if the
    update lands right behind `base`, the offset that the projection was made at."""

    document_id: UUID
    author: Author
    payload: bytes
    claims: tuple[tuple[int, UUID | None], ...] = ()
    projection: Projection | None = None
    base: int = 0


class Committed(msgspec.Struct, frozen=True, gc=False):
    """The answer for one entry, in order. `offset` is None unless it was committed."""

    outcome: Outcome
    offset: int | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """A document's whole content up to `offset`; `state` is what it holds, encoded by `sync`."""

    offset: int
    payload: bytes
    state: bytes


class Row(msgspec.Struct, frozen=True, gc=False):
    """One update of the log with its author, as trimming and history need it."""

    offset: int
    payload: bytes
    account_id: UUID | None
    device_id: str | None
    written_at: datetime


class Authorship(msgspec.Struct, frozen=True):
    """An author's clocks `[clock_from, clock_to)` of one Yjs client."""

    client: int
    clock_from: int
    clock_to: int
    account_id: UUID | None
    device_id: str | None
    written_at: datetime


class Standing(msgspec.Struct, frozen=True):
    """Where a document's log stands, and what it takes to open a room on it. `clients` are the
    accounts by Yjs client id; some of these may be `reserved`, and not written with yet."""

    epoch: str
    head: int
    projected_offset: int
    deleted: bool
    snapshot_offset: int
    snapshot_bytes: int
    state: bytes | None
    tail: Sequence[bytes]
    clients: dict[int, UUID | None]
    reserved: Sequence[int] = ()
