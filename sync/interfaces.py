"""What the sync layer needs of the others, each named by its role.

`storage` and `server` implement these; `server/app.py` joins them. Nothing here is imported by
an implementation.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from protocol.errors import MemoError
from protocol.log import (
    Author,
    Authorship,
    Committed,
    Entry,
    Known,
    Projection,
    Row,
    Saved,
    Snapshot,
    Standing,
)
from protocol.memories import Role


class Log(Protocol):
    """The log of every document: gapless offsets in commit order, under an epoch."""

    async def standing(self, document_id: UUID) -> Standing | None:
        """Where the log stands and what a room needs to continue it; None if there is none."""

    async def head(self, document_id: UUID) -> int:
        """The offset of the newest committed update (0: none)."""

    async def heads(self, document_ids: Sequence[UUID]) -> dict[UUID, int]:
        """The offset of the newest committed update of each; without those that are deleted."""

    async def role(self, document_id: UUID, account_id: UUID) -> Role | None:
        """The account's role in the memory; None if it may not even read it. Who is no member
        may read a public memory, as a viewer."""

    async def roles(self, pairs: Sequence[tuple[UUID, UUID]]) -> list[Role | None]:
        """The role for each document and account, in order."""

    async def reserve(
        self, document_id: UUID, clients: Mapping[int, UUID], used: Sequence[int]
    ) -> bool:
        """Keep Yjs client ids for their accounts, before they write with them. `used` are those
        reserved before that have been written with. False: nobody else may write in the document,
        and nothing is kept."""

    async def read(
        self, document_id: UUID, after: int, up_to: int | None = None, max_bytes: int = 1 << 20
    ) -> list[tuple[int, bytes]]:
        """Updates behind `after`, oldest first, at most about `max_bytes` but at least one."""

    async def content(
        self, document_id: UUID, after: int
    ) -> tuple[Snapshot | None, list[tuple[int, bytes]]]:
        """What brings a reader that has all up to `after` to the head, in the fewest bytes:
        the rows behind `after`, or a snapshot and the rows behind that."""

    async def commit(self, entries: Sequence[Entry]) -> list[Committed]:
        """Append the entries, in order, in one transaction. All outcomes are per entry. Whose
        author is `commenting` needs the right to comment, and has to bring a projection.

        Raises:
            MemoError: `unavailable`, when it is unknown whether the commit happened.
            Exception: the database refused the statement; nothing was committed.
        """

    async def save_snapshot(self, document_id: UUID, snapshot: Snapshot) -> bool:
        """Keep the snapshot unless a newer one is there. Returns whether it was kept."""

    async def trimmable(self, document_id: UUID, older_than_seconds: float) -> list[Row]:
        """A bounded number of the oldest rows, without a hole, that a snapshot has integrated
        and that are older than given."""

    async def trim(self, document_id: UUID, up_to: int, authorship: Sequence[Authorship]) -> None:
        """Remove the rows up to an offset that a snapshot has integrated, keeping who wrote what
        in the same transaction. Clocks whose author is kept already stay that author's."""

    async def overgrown(self, older_than_seconds: float, limit: int) -> list[UUID]:
        """Documents that have rows to trim."""

    async def unfolded(
        self, older_than_seconds: float, limit: int, *, least: int, share: float
    ) -> list[UUID]:
        """Documents with rows older than given that no snapshot has integrated, if those rows
        weigh more than `least` bytes and more than that `share` of the snapshot."""


class Projections(Protocol):
    """The rows that lists and search read."""

    async def unprojected(self, limit: int) -> Sequence[UUID]:
        """Documents whose rows are behind their log."""

    async def known(self, document_id: UUID) -> Known:
        """What the rows of the document's thread have."""

    async def save(self, document_id: UUID, projection: Projection, offset: int) -> Saved:
        """Write the rows unless they are newer."""

    async def followers(self, document_id: UUID) -> Sequence[UUID]:
        """The accounts that follow the memory."""


class Broker(Protocol):
    """Carries hints between nodes. A message may be lost; the database is the truth."""

    @property
    def shared(self) -> bool:
        """Whether there may be other nodes."""

    @property
    def up(self) -> bool:
        """Whether messages reach the other nodes now."""

    @property
    def dropped(self) -> int:
        """Messages that were not sent to the other nodes, so far."""

    def publish(
        self, topic: str, message: bytes, but: Callable[[bytes], None] | None = None
    ) -> None:
        """Hand the message to the topic's subscribers, on this node at once; not to `but`."""

    def subscribe(self, topic: str, receive: Callable[[bytes], None]) -> Callable[[], None]:
        """Returns the call that ends the subscription."""

    async def joined(self, topic: str) -> None:
        """Return when the subscription to the topic is in force on all nodes, or cannot be for
        now; then `on_missed` calls once it is."""

    def on_missed(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever messages may have been missed."""


class Caller(Protocol):
    """Who calls an operation."""

    @property
    def author(self) -> Author: ...


class Wire(Protocol):
    """How a kind of connection writes what a room broadcasts: complete WebSocket messages."""

    def push(self, channel: int, offset: int, updates: Sequence[bytes]) -> bytes: ...

    def awareness(self, channel: int, payload: bytes) -> bytes: ...


class Subscriber(Protocol):
    """A connection, as a room sees it."""

    @property
    def id(self) -> str:
        """Names the connection in logs."""

    @property
    def wire(self) -> Wire: ...

    @property
    def author(self) -> Author: ...

    @property
    def congested(self) -> bool:
        """Its socket takes no more for now: pushes are let go and read again once it drains."""

    def send(self, message: bytes) -> None:
        """Queue a complete WebSocket message, to be written by the end of this tick."""

    def acked(self, channel: int, client_seq: int, offset: int) -> None:
        """Its update is committed at `offset`, or changed nothing and `offset` is the head."""

    def refused(self, channel: int, client_seq: int, error: MemoError) -> None:
        """Its update is refused; the channel takes no more until it is opened again."""

    def released(self, size: int) -> None:
        """An update of `size` bytes that it sent no longer waits, whatever came of it."""

    def lost(self, channel: int, error: MemoError) -> None:
        """The channel ended: the document is gone, or not for this account any more, or what it
        misses is no longer in the log."""

    def role_changed(self, document_id: UUID, role: Role) -> None:
        """Its account has another role in an open document: it may write from now on, or not."""


class Observer(Protocol):
    """What the sync layer tells of itself, for metrics and logs."""

    def committed(self, updates: int, seconds: float) -> None: ...

    def known(self, updates: int) -> None: ...

    def delivered(self, count: int) -> None: ...

    def refused(self, code: str) -> None: ...

    def fell_behind(self, document_id: UUID, subscriber: Subscriber) -> None: ...

    def presence(self, count: int) -> None: ...

    def projected(self, seconds: float) -> None: ...

    def failed(self, what: str, document_id: UUID | None, error: BaseException) -> None: ...

    def compacted(self, document_id: UUID, size: int) -> None: ...

    def versioned(self, document_id: UUID, kind: str, size: int) -> None:
        """A version was made, which takes so many bytes."""

    def purged(self, memories: int) -> None: ...

    def unindexed(self, memories: int) -> None:
        """So many memories wait for search to read them again, of all nodes together."""

    def indexed(self, seconds: float) -> None:
        """One of them was read, and its words written."""

    def heard(self, what: str) -> None:
        """An announcement of another node: its commit was the next, early or a duplicate; or it
        was malformed."""

    def repaired(self, seconds: float) -> None:
        """Updates of other nodes were read from the log, so long after they were missed."""
