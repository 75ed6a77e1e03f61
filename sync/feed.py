"""The feed as an operation, and the hint that it has news."""

from collections.abc import Iterable
from typing import Protocol
from uuid import UUID

from protocol import frames
from protocol.events import FEED_CHANGED
from protocol.feed import Changes, FeedChanged, GetChanges
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
    """Tells the devices of accounts that something changed for them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def feed_changed(self, accounts: Iterable[UUID], memory_id: UUID | None) -> None:
        """A memory that these accounts follow has changed. The message is encoded once, as the
        devices will read it."""
        message = frames.encode(frames.Event(FEED_CHANGED.name, FeedChanged(memory_id=memory_id)))
        for account_id in accounts:
            self._broker.publish(account_topic(account_id), message)
