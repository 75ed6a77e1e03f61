"""Memories: the plan's requests and replies."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from protocol.operation import Operation, Permission
from protocol.records import Body, Json, Pagination, Timestamp

Title = Annotated[str, msgspec.Meta(max_length=255)]
Description = Annotated[str, msgspec.Meta(max_length=1000)]
Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=50)]
Tags = Annotated[list[Tag], msgspec.Meta(max_length=10)]
Moment = Annotated[
    str,
    msgspec.Meta(
        max_length=40, description="RFC 3339, with a time zone", examples=["2026-01-31T08:30:00Z"]
    ),
]
Content = dict[str, Any] | str
PrivacyLevel = Literal["private", "shared", "public"]
Role = Literal["owner", "editor", "commenter", "viewer"]


class Memory(Body, frozen=True):
    """A memory as one member sees it.

    `content` carries the body under `text`, beside whatever else the app keeps there. Category,
    favourite and archived are the member's own. `epoch` and `offset` say how far the document's
    log goes; the other fields follow it within moments. `deletedAt` is there while the memory is
    in the trash. `unread_count` are the messages of others that were received behind
    `last_read_at`, counted up to 100, which stands for any number above. `is_cut`: lists and search
    shorten what takes more than 64 KiB as JSON, so that a page of them fits a message. Then
    `content` has the first 1,000 characters of `text` alone, and `metadata` is empty; all of it is
    in the document, the feed and the answer of `memories.get`.
    """

    id: UUID
    user_id: UUID
    category_id: UUID | None
    title: str | None
    description: str | None
    content: Json
    tags: list[str]
    metadata: Json
    is_favorite: bool
    is_archived: bool
    privacy_level: str
    role: Role
    epoch: str
    offset: int
    created_at: Timestamp
    updated_at: Timestamp
    last_read_at: Timestamp | None = None
    unread_count: int = 0
    deleted_at: Timestamp | None = None
    is_cut: bool = False


class CreateMemory(Body, frozen=True):
    """`id` may be made by the client, so that a retry is harmless."""

    id: UUID | None = None
    title: Title | None = None
    description: Description | None = None
    category_id: UUID | None = None
    content: Content | None = None
    tags: Tags = []
    metadata: Json | None = None
    is_favorite: bool = False
    is_archived: bool = False


class GetMemory(Body, frozen=True):
    id: UUID


class OneMemory(Body, frozen=True):
    memory: Memory


class ListMemories(Body, frozen=True):
    """`tags` must all be there. `search` finds words in title, description, body, tags, messages
    and files' names, as `search.query` does. `uncategorized` takes those without a category only.
    The times are exclusive. `trashed` lists the account's own deleted memories instead of the
    living; `deleted_at` sorts these alone.
    """

    category_id: UUID | None = None
    uncategorized: bool = False
    page: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    search: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    tags: Tags = []
    is_favorite: bool | None = None
    is_archived: bool | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    updated_after: Moment | None = None
    updated_before: Moment | None = None
    trashed: bool = False
    sort_by: Literal["created_at", "updated_at", "title", "deleted_at"] = "updated_at"
    sort_order: Literal["asc", "desc"] = "desc"


class MemoryPage(Body, frozen=True):
    memories: list[Memory]
    pagination: Pagination


class UpdateMemory(Body, frozen=True):
    """Fields left out stay as they are; `null` clears one. `content` replaces the whole of it,
    its `text` as the smallest edit of the body that gives it. `privacy_level` is the owner's to
    set: `private` ends all other memberships and invitations, `public` lets every account that
    knows the id read the memory."""

    id: UUID
    title: Title | None | UnsetType = UNSET
    description: Description | None | UnsetType = UNSET
    category_id: UUID | None | UnsetType = UNSET
    content: Content | None | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    metadata: Json | None | UnsetType = UNSET
    is_favorite: bool | UnsetType = UNSET
    is_archived: bool | UnsetType = UNSET
    privacy_level: PrivacyLevel | UnsetType = UNSET


class DeleteMemory(Body, frozen=True):
    id: UUID


class DeletedMemory(Body, frozen=True):
    id: UUID
    deleted_at: Timestamp


MEMORIES_CREATE = Operation(
    "memories.create",
    CreateMemory,
    OneMemory,
    Permission.WRITE_MEMORIES,
    "Create a memory. Repeated with the same id and account it answers the first one's memory.",
    creates=True,
)
MEMORIES_GET = Operation(
    "memories.get",
    GetMemory,
    OneMemory,
    Permission.READ_MEMORIES,
    "One memory.",
)
MEMORIES_LIST = Operation(
    "memories.list",
    ListMemories,
    MemoryPage,
    Permission.READ_MEMORIES,
    "The account's memories, filtered, sorted and paged. Large ones come cut: see `isCut`.",
)
MEMORIES_UPDATE = Operation(
    "memories.update",
    UpdateMemory,
    OneMemory,
    Permission.WRITE_MEMORIES,
    "Change a memory; what its document holds is changed as an edit that merges with others.",
)
MEMORIES_DELETE = Operation(
    "memories.delete",
    DeleteMemory,
    DeletedMemory,
    Permission.DELETE_MEMORIES,
    "Move a memory to the trash, for all its members. Its owner may restore it for a time.",
)
