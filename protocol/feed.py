"""The feed: what changed for an account since a cursor."""

from typing import Annotated
from uuid import UUID

import msgspec

from protocol.accounts import User
from protocol.categories import Category
from protocol.files import File
from protocol.memories import Memory, Role
from protocol.operation import Operation, Permission
from protocol.records import Body, Timestamp

# Not a closed list: a client must be able to read the items it knows beside those it does not.
Kind = Annotated[
    str,
    msgspec.Meta(
        description="`memory`, `category`, `file` or `account`. Pass over what you do not know.",
        examples=["memory"],
    ),
]


class GetChanges(Body, frozen=True):
    """`after` is a cursor of an earlier answer or of the welcome; without it all is sent.

    With `brief`, items of memories say where the document stands and leave out what it holds: for
    devices that keep the documents, and open those that are behind.
    """

    after: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
    brief: bool = False


class Change(Body, omit_defaults=True, frozen=True):
    """Something that the account follows, as it is now: one of `memory`, `category`, `file`
    and `user`, as `kind` says (`user` with `account`). With `deleted` it is no longer there, or no
    longer this account's to see: forget it. A memory in the trash is `deleted`, with the files of
    others in it; restored, they come again.

    In a `brief` answer the fields from `epoch` on stand in the place of `memory`: what they lack
    is as their defaults say.
    """

    kind: Kind
    id: UUID
    deleted: bool = False
    memory: Memory | None = None
    epoch: str | None = None
    offset: int | None = None
    role: Role = "owner"
    category_id: UUID | None = None
    is_favorite: bool = False
    is_archived: bool = False
    last_read_at: Timestamp | None = None
    unread_count: int = 0
    category: Category | None = None
    user: User | None = None
    file: File | None = None


class Changes(Body, omit_defaults=True, frozen=True):
    """With `more`, ask again from `cursor` at once. With `reset`, forget what is known first:
    these items are the start of everything. A cursor that was not used for half a year may be
    answered so."""

    items: list[Change]
    cursor: str
    more: bool = False
    reset: bool = False


class FeedChanged(Body, frozen=True):
    """The body of the event `feed.changed`: a hint that `feed.changes` has news. `memoryId` is
    there when they are of one memory."""

    memory_id: UUID | None = None


FEED_CHANGES = Operation(
    "feed.changes",
    GetChanges,
    Changes,
    Permission.READ_MEMORIES,
    "What changed since a cursor, oldest change first.",
)
