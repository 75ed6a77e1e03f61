"""Every event the server may send, declared once, as operations are.

An event is a hint that comes by itself, in a frame of its own. It may be lost with a connection:
whatever it hints at can be asked for.
"""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from protocol import feed, sharing
from protocol.records import Body, Empty

Content = TypeVar("Content", bound=Body)


@dataclass(frozen=True, slots=True)
class Event(Generic[Content]):
    """A name and the body that comes with it."""

    name: str
    body: type[Content]
    summary: str


FEED_CHANGED = Event(
    "feed.changed",
    feed.FeedChanged,
    "Something the account follows has changed; ask `feed.changes` from the last cursor.",
)

ACCOUNT_CHANGED = Event(
    "account.changed",
    Empty,
    "The signed-in account has changed, its profile or what it may do; ask `account.me`.",
)
SHARING_CHANGED = Event(
    "sharing.changed",
    sharing.SharingChanged,
    "The account's role in a memory that is open here has changed. Whether it may write follows"
    " from it; one whose edits were refused opens the document again.",
)
SHARING_INVITED = Event(
    "sharing.invited",
    sharing.Invited,
    "The account was invited to a memory, or to another role in it; ask `sharing.invitations`.",
)
MEMBERS_CHANGED = Event(
    "members.changed",
    sharing.MembersChanged,
    "The members of a memory of the account, or its invitations, have changed; ask"
    " `sharing.members`.",
)
EXPORTS_CHANGED = Event(
    "exports.changed",
    Empty,
    "An archive of the account is ready, or could not be made; ask `account.exports`.",
)
IMPORTS_CHANGED = Event(
    "imports.changed",
    Empty,
    "An import of the account has come to its end; ask `account.imports`.",
)

EVENTS: tuple[Event[Any], ...] = (
    FEED_CHANGED,
    ACCOUNT_CHANGED,
    SHARING_CHANGED,
    SHARING_INVITED,
    MEMBERS_CHANGED,
    EXPORTS_CHANGED,
    IMPORTS_CHANGED,
)
