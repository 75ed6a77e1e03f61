"""The feed as an operation, and the hint that it has news."""

from collections.abc import Iterable, Mapping
from typing import Protocol
from uuid import UUID

from protocol import frames
from protocol.events import (
    ACCOUNT_CHANGED,
    EXPORTS_CHANGED,
    FEED_CHANGED,
    IMPORTS_CHANGED,
    MEMBERS_CHANGED,
    SHARING_INVITED,
    Content,
    Event,
)
from protocol.feed import Changes, FeedChanged, GetChanges
from protocol.records import Empty
from protocol.sharing import Invited, MembersChanged
from sync.interfaces import Broker, Caller


class FeedReader(Protocol):
    """What changed for an account since a cursor."""

    async def changes(
        self, account_id: UUID, after: str | None, limit: int, *, brief: bool = False
    ) -> Changes: ...


def account_topic(account_id: UUID) -> str:
    """The broker's topic for what concerns one account, on whichever node it is connected."""
    return f"account:{account_id}"


def session_topic(session_id: UUID) -> str:
    """The broker's topic that says that a session has ended."""
    return f"session:{session_id}"


class Feed:
    """Reads the feed for a caller."""

    def __init__(self, reader: FeedReader) -> None:
        self._reader = reader

    async def changes(self, caller: Caller, request: GetChanges) -> Changes:
        """Raises:
        MemoError: `invalid_request`, when the cursor is none of this server's.
        """
        return await self._reader.changes(
            caller.author.account_id, request.after, request.limit, brief=request.brief
        )


class Notices:
    """Tells the devices of accounts what concerns them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def feed_changed(self, accounts: Iterable[UUID], memory_id: UUID | None = None) -> None:
        """Something that these accounts follow has changed: this memory, or whatever it is."""
        self._tell(accounts, FEED_CHANGED, FeedChanged(memory_id=memory_id))

    def files_changed(self, told: Mapping[UUID | None, Iterable[UUID]]) -> None:
        """Files have changed, for accounts that see or saw them through these memories."""
        for memory_id, accounts in told.items():
            self.feed_changed(accounts, memory_id)

    def members_changed(self, accounts: Iterable[UUID], memory_id: UUID) -> None:
        """The members of a memory, or its invitations, have changed."""
        self._tell(accounts, MEMBERS_CHANGED, MembersChanged(memory_id=memory_id))

    def invited(self, accounts: Iterable[UUID], invitation_id: UUID) -> None:
        """These accounts have an invitation to a memory."""
        self._tell(accounts, SHARING_INVITED, Invited(invitation_id=invitation_id))

    def _tell(self, accounts: Iterable[UUID], event: Event[Content], body: Content) -> None:
        """The message is encoded once, as the devices will read it."""
        message = frames.encode(frames.Event(event.name, body))
        for account_id in accounts:
            self._broker.publish(account_topic(account_id), message)

    def account_changed(self, account_id: UUID) -> None:
        """The account itself has changed."""
        self._tell([account_id], ACCOUNT_CHANGED, Empty())

    def exports_changed(self, account_id: UUID) -> None:
        """An archive of the account is ready, or failed."""
        self._tell([account_id], EXPORTS_CHANGED, Empty())

    def imports_changed(self, account_id: UUID) -> None:
        """An import of the account has come to its end."""
        self._tell([account_id], IMPORTS_CHANGED, Empty())

    def session_ended(self, session_id: UUID) -> None:
        """A session has ended: its connections close, on every node."""
        self._broker.publish(session_topic(session_id), b"")
