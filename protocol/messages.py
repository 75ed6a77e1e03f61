"""Messages of a memory's thread: the plan's requests and replies."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from protocol.operation import Operation, Permission
from protocol.records import Body, Json, Pagination, Timestamp

MessageText = Annotated[str, msgspec.Meta(min_length=1, max_length=10_000)]
MessageType = Literal["text", "voice", "image", "document"]
MessageStatus = Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
Attachments = Annotated[list[UUID], msgspec.Meta(max_length=5)]
Moment = Annotated[str, msgspec.Meta(max_length=40, description="RFC 3339")]


class Message(Body, frozen=True):
    """A message as lists show it; the truth is the memory's document, which it follows within
    moments. Of a longer text the first 20,000 characters are here.

    `user_id` is the account that wrote the message, as the log proves it, whatever the document
    says; `null` where that is not known. `created_at` is the writer's own word, never later than
    `received_at`, when the message reached the server: that is what read marks go by.
    `parent_message_id` may name a message that is gone.
    """

    id: UUID
    memory_id: UUID
    user_id: UUID | None
    content: str
    message_type: str
    metadata: Json | None
    attachments: list[UUID]
    is_ai_generated: bool
    parent_message_id: UUID | None
    status: str
    created_at: Timestamp
    updated_at: Timestamp
    received_at: Timestamp


class ListMessages(Body, frozen=True):
    """Page 1 is the newest of the thread, page 2 what was before; within a page the newest comes
    last. `before` leaves out what was created at that moment or later, so that page 1 is what
    came just before it. With `after` alone the pages go the other way: page 1 is what came just
    behind that moment. Who pages on while others write keeps `before` as it is."""

    memory_id: UUID
    page: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    before: Moment | None = None
    after: Moment | None = None


class MessagePage(Body, frozen=True):
    messages: list[Message]
    pagination: Pagination


class CreateMessage(Body, frozen=True):
    """`id` may be made by the client, so that a retry is harmless; it counts within the memory.
    `attachments` are files of the caller's; with the message they are shown to all members of the
    memory."""

    memory_id: UUID
    content: MessageText
    id: UUID | None = None
    message_type: MessageType = "text"
    attachments: Attachments = []
    metadata: Json | None = None
    parent_message_id: UUID | None = None


class OneMessage(Body, frozen=True):
    message: Message


class UpdateMessage(Body, frozen=True):
    """Fields left out stay as they are; `null` clears one. `content` is written as the smallest
    edit of the text that the server has: what devices edit elsewhere in it at the same moment
    survives. Who was offline for long, or edits with others, edits the document instead."""

    memory_id: UUID
    id: UUID
    content: MessageText | UnsetType = UNSET
    metadata: Json | None | UnsetType = UNSET
    attachments: Attachments | None | UnsetType = UNSET
    status: MessageStatus | UnsetType = UNSET


class DeleteMessage(Body, frozen=True):
    memory_id: UUID
    id: UUID


class DeletedMessage(Body, frozen=True):
    id: UUID
    deleted_at: Timestamp


class MarkRead(Body, frozen=True):
    """Read up to the message `message_id`, or what was received up to `at`, or all there is."""

    memory_id: UUID
    message_id: UUID | None = None
    at: Moment | None = None


class ReadMark(Body, frozen=True):
    """`unread_count` are the messages of others that were received behind `last_read_at`. It is
    counted up to 100, which stands for any number above."""

    memory_id: UUID
    last_read_at: Timestamp | None
    unread_count: int


MESSAGES_LIST = Operation(
    "messages.list",
    ListMessages,
    MessagePage,
    Permission.READ_MEMORIES,
    "The messages of a memory's thread, paged.",
)
MESSAGES_CREATE = Operation(
    "messages.create",
    CreateMessage,
    OneMessage,
    Permission.WRITE_MEMORIES,
    "Write a message; owner, editors and commenters may. Repeated with the same id it answers the"
    " first one's message.",
    creates=True,
)
MESSAGES_UPDATE = Operation(
    "messages.update",
    UpdateMessage,
    OneMessage,
    Permission.WRITE_MEMORIES,
    "Change a message of one's own, as an edit that merges with others.",
)
MESSAGES_DELETE = Operation(
    "messages.delete",
    DeleteMessage,
    DeletedMessage,
    Permission.WRITE_MEMORIES,
    "Delete a message of one's own, or as the memory's owner any; replies to it stay.",
)
MESSAGES_MARK_READ = Operation(
    "messages.markRead",
    MarkRead,
    ReadMark,
    Permission.READ_MEMORIES,
    "Move the member's own read mark of a thread forward; it never goes back.",
)
