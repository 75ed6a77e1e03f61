"""The history of a memory: what it was, who changed it, and how to have it back."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from protocol.memories import OneMemory
from protocol.operation import Operation, Permission
from protocol.records import Body, Json, Timestamp

VersionName = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
VersionKind = Literal["current", "auto", "named", "restore"]


class VersionPerson(Body, frozen=True):
    """Who made a version. Names are null once the account is gone."""

    user_id: UUID
    first_name: str | None = None
    last_name: str | None = None


class VersionAuthor(Body, frozen=True):
    """Who wrote since the version before, with how many updates and on which devices."""

    user_id: UUID
    first_name: str | None = None
    last_name: str | None = None
    devices: list[str] = []
    changes: int = 0


class Version(Body, frozen=True):
    """A memory as it was at `offset` of its log.

    `kind` is `auto` (made by the server), `named` (saved by a member), `restore` (made before a
    restore, so that it can be undone; `restoredId` is the version that was restored), or `current`:
    what no version holds yet, without an id. `changedAt` is when its last edit was written. One
    with a name is kept until somebody removes it. `size` is that of the document in bytes.
    """

    id: UUID | None
    offset: int
    kind: VersionKind
    name: str | None
    title: str | None
    excerpt: str
    authors: list[VersionAuthor]
    size: int
    changed_at: Timestamp
    created_at: Timestamp
    created_by: VersionPerson | None = None
    restored_id: UUID | None = None


class ListVersions(Body, frozen=True):
    """`before` is the id of the last version of the page before."""

    memory_id: UUID
    before: UUID | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50


class VersionPage(Body, frozen=True):
    """Newest first. What no version holds yet comes first of all, as `current`. Versions are not in
    the feed: ask again when the memory has changed, which may have added one."""

    versions: list[Version]
    more: bool


class GetVersion(Body, frozen=True):
    """`compareTo` is the id of another version, `current`, or `previous`: the version before."""

    memory_id: UUID
    version_id: UUID
    compare_to: Annotated[str, msgspec.Meta(max_length=36)] | None = None


class PastMessage(Body, frozen=True):
    """A message of the thread, as it was."""

    id: UUID
    content: str
    message_type: str
    user_id: UUID | None
    parent_message_id: UUID | None
    metadata: Json | None
    attachments: list[UUID] | None
    is_ai_generated: bool
    status: str
    created_at: Timestamp | None


class PastMemory(Body, frozen=True):
    """What members share of a memory, as it was. `content` has the body under `text`."""

    title: str | None
    description: str | None
    content: Json
    tags: list[str]
    metadata: Json
    messages: list[PastMessage]


class DiffPart(Body, frozen=True):
    """A run of text: in both, only in the newer (`insert`), or only in the older (`delete`).

    Of a long run that is in both only its ends are sent: `skipped` is how many characters are left
    out behind this part. `userId` is who wrote what was inserted into the body, where that is
    known; what several wrote is several parts.
    """

    op: Literal["equal", "insert", "delete"]
    text: str
    skipped: int = 0
    user_id: UUID | None = None


class FieldDiff(Body, frozen=True):
    """How one field changed. `field` is `title`, `description`, `text` (the body), `tags`, `data`
    (the rest of `content`), `metadata` or `message`; the last with the id of the message. What is
    no text is compared as JSON, laid out."""

    field: Literal["title", "description", "text", "tags", "data", "metadata", "message"]
    parts: list[DiffPart]
    message_id: UUID | None = None


class Comparison(Body, frozen=True):
    """What changed from `older` to `newer`, each the id of a version, `current` or, before the
    first version, `empty`. Fields that are the same are not in it. `truncated`: there is more than
    is sent."""

    older: str
    newer: str
    fields: list[FieldDiff]
    truncated: bool


class OneVersion(Body, frozen=True):
    version: Version


class VersionContent(Body, frozen=True):
    """A version and what the memory was. `diff` is there when it was asked for."""

    version: Version
    memory: PastMemory
    diff: Comparison | None = None


class SaveVersion(Body, frozen=True):
    """`id` may be made by the client, so that a retry is harmless."""

    memory_id: UUID
    name: VersionName
    id: UUID | None = None


class RenameVersion(Body, frozen=True):
    """A version without a name is removed in time."""

    memory_id: UUID
    version_id: UUID
    name: VersionName | None = None


class DeleteVersion(Body, frozen=True):
    memory_id: UUID
    version_id: UUID


class DeletedVersion(Body, frozen=True):
    id: UUID


class GetBlame(Body, frozen=True):
    """Of a body of up to 1,000,000 characters in 50,000 parts, in a
    document of up to 250,000 insertions, formats and deletions."""

    memory_id: UUID


class BlameRun(Body, frozen=True):
    """A run of the body by one account on one device, written in one go: with no pause of more than
    ten minutes. `writtenAt` is when its last part was. `userId` is null where it is not known."""

    text: str
    user_id: UUID | None
    device_id: str | None
    written_at: Timestamp | None


class Blame(Body, frozen=True):
    """The body as it is now, by who wrote it: the runs together are its text. `authors` has each
    account once. What is in an XML fragment, as TipTap keeps it, is not in it."""

    runs: list[BlameRun]
    authors: list[VersionPerson]


class RestoreVersion(Body, frozen=True):
    """Title, description, `content`, metadata, tags and the body become what they were, each by the
    smallest edit, so that what others write meanwhile merges; devices see it as any edit. Messages
    that were deleted come back and changed ones say what they said; those written since stay, and
    so does what readers did to them. Files come back with a message of the caller's; of another
    member's it lists them, and they are shown once that one attaches them anew (`messages.update`).
    First of all, a version of the present is saved (`restore`): restoring that one undoes it. `id`
    may be made by the client, so that a retry is harmless: it becomes the id of the version that is
    saved."""

    memory_id: UUID
    version_id: UUID
    id: UUID | None = None


HISTORY_LIST = Operation(
    "history.list",
    ListVersions,
    VersionPage,
    Permission.READ_MEMORIES,
    "A memory's versions, newest first, with who wrote since the one before.",
)
HISTORY_GET = Operation(
    "history.get",
    GetVersion,
    VersionContent,
    Permission.READ_MEMORIES,
    "What a memory was in a version, and how that differs from another one or from now.",
)
HISTORY_SAVE = Operation(
    "history.save",
    SaveVersion,
    OneVersion,
    Permission.WRITE_MEMORIES,
    "Keep what a memory is now as a version with a name.",
    creates=True,
)
HISTORY_RENAME = Operation(
    "history.rename",
    RenameVersion,
    OneVersion,
    Permission.WRITE_MEMORIES,
    "Give a version a name, which keeps it, or take its name away.",
)
HISTORY_DELETE = Operation(
    "history.delete",
    DeleteVersion,
    DeletedVersion,
    Permission.DELETE_MEMORIES,
    "Remove a version for ever; the owner may.",
)
HISTORY_RESTORE = Operation(
    "history.restore",
    RestoreVersion,
    OneMemory,
    Permission.WRITE_MEMORIES,
    "Make a memory what it was in a version, by an edit that merges with others.",
    creates=True,
)
HISTORY_BLAME = Operation(
    "history.blame",
    GetBlame,
    Blame,
    Permission.READ_MEMORIES,
    "Who wrote which part of a memory's body, on which device and when.",
)
