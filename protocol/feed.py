"""The feed: what changed for an account since a cursor."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from protocol.memories import Memory, Role
from protocol.records import Body, Timestamp


class GetChanges(Body, frozen=True):
    """`after` is a cursor of an earlier answer or of the welcome; without it all is sent.

    With `brief`, items say where a memory's document stands and leave out what it holds: for
    devices that keep the documents, and open those that are behind.
    """

    after: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
    brief: bool = False


class Change(Body, omit_defaults=True, frozen=True):
    """`memory` is there unless it was deleted or the account is no longer a member. In a `brief`
    answer the fields behind it stand in its place: what they lack is as their defaults say."""

    kind: Literal["memory"]
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


class Changes(Body, omit_defaults=True, frozen=True):
    """With `more`, ask again from `cursor` at once. With `reset`, forget what is known first:
    these items are the start of everything."""

    items: list[Change]
    cursor: str
    more: bool = False
    reset: bool = False


class FeedChanged(Body, frozen=True):
    """The body of the event `feed.changed`: a hint that `feed.changes` has news."""

    memory_id: UUID | None = None
