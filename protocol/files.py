"""Files: what is known of one, and the requests about them. Their bytes travel over REST."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from protocol.operation import Operation, Permission
from protocol.records import Body, Empty, Json, Pagination, Timestamp

Filename = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class File(Body, frozen=True):
    """One file. `fileType` is what its bytes are, whatever its name says; `sha256` is their
    digest in hexadecimal.

    An image gets a thumbnail, and `width` and `height` in `metadata`, soon after it arrives:
    `isProcessed` says that this is over. `metadata.error` says why there is none.
    """

    id: UUID
    user_id: UUID
    memory_id: UUID | None
    message_id: UUID | None
    filename: str
    original_filename: str
    file_type: str
    file_size: int
    sha256: str
    has_thumbnail: bool
    metadata: Json
    is_processed: bool
    created_at: Timestamp


class OneFile(Body, frozen=True):
    file: File


class UploadForm(Body, frozen=True):
    """The fields of the form beside `file`; put them before it. `id` may be made by the client, so
    that a retry is harmless. `messageId` is a message of the memory `memoryId`, there or about to
    be written; without `memoryId` it says nothing. The file goes when that message does."""

    id: UUID | None = None
    memory_id: UUID | None = None
    message_id: UUID | None = None


class ListFiles(Body, frozen=True):
    """With `memoryId` the files of that memory, whoever put them there; without it the account's
    own."""

    memory_id: UUID | None = None
    page: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20


class FilePage(Body, frozen=True):
    """The newest first."""

    files: list[File]
    pagination: Pagination


class GetFile(Body, frozen=True):
    id: UUID


class UpdateFile(Body, frozen=True):
    """Fields left out stay as they are. `memoryId` puts the file in a memory that the account may
    write, or with `null` in none. A message that it was with may list it still, and does not have
    it back by that: `messages.update` with the file among its `attachments` puts it back."""

    id: UUID
    filename: Filename | UnsetType = UNSET
    memory_id: UUID | None | UnsetType = UNSET


class DeleteFile(Body, frozen=True):
    id: UUID


class DeletedFile(Body, frozen=True):
    id: UUID
    deleted_at: Timestamp


class CreateFileUrl(Body, frozen=True):
    """`thumbnail` asks for the small image, of a file that `hasThumbnail`."""

    id: UUID
    thumbnail: bool = False


class FileUrl(Body, frozen=True):
    """`url` is a path of this server, for `<img src>` and the like: whoever has it reads the file
    until `expiresAt`, as long as the account that asked may."""

    url: str
    expires_at: Timestamp


class FileUsage(Body, frozen=True):
    """What the account's files take, uploads under way included: the same bytes count once.
    `quota` is what they may take, and `count` how many files there are."""

    bytes: int
    quota: int
    count: int


FILES_LIST = Operation(
    "files.list",
    ListFiles,
    FilePage,
    Permission.READ_MEMORIES,
    "The account's files, or those of one memory.",
)
FILES_GET = Operation(
    "files.get",
    GetFile,
    OneFile,
    Permission.READ_MEMORIES,
    "What is known of one file.",
)
FILES_UPDATE = Operation(
    "files.update",
    UpdateFile,
    OneFile,
    Permission.WRITE_MEMORIES,
    "Rename a file of the account's own, or put it in another memory or in none.",
)
FILES_DELETE = Operation(
    "files.delete",
    DeleteFile,
    DeletedFile,
    Permission.DELETE_MEMORIES,
    "Delete a file of the account's own. Harmless twice.",
)
FILES_URL = Operation(
    "files.url",
    CreateFileUrl,
    FileUrl,
    Permission.READ_MEMORIES,
    "An address that shows the file without a token, for an hour.",
)
FILES_USAGE = Operation(
    "files.usage",
    Empty,
    FileUsage,
    Permission.READ_MEMORIES,
    "How much the account's files take, and how much they may.",
)
