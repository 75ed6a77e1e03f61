"""Every operation of the socket, declared once.

From this tuple come the dispatcher's decoders, the generated reference, the TypeScript types
and the tests that every operation must pass.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from protocol import accounts, documents, feed, files, memories
from protocol.records import Body, Empty

Req = TypeVar("Req", bound=Body)
Res = TypeVar("Res", bound=Body)


class Permission(Enum):
    """A right that an access token grants, as the plan names them."""

    READ_MEMORIES = "read:memories"
    WRITE_MEMORIES = "write:memories"
    DELETE_MEMORIES = "delete:memories"


@dataclass(frozen=True, slots=True)
class Operation(Generic[Req, Res]):
    """One request and its one reply. `permission` None: any signed-in account may call it."""

    name: str
    request: type[Req]
    response: type[Res]
    permission: Permission | None
    summary: str


DOCUMENTS_OPEN = Operation(
    "documents.open",
    documents.OpenDocument,
    documents.OpenedDocument,
    Permission.READ_MEMORIES,
    "Open a memory's document: what the device misses now, pushes from then on.",
)
DOCUMENTS_CLOSE = Operation(
    "documents.close",
    documents.CloseDocument,
    Empty,
    Permission.READ_MEMORIES,
    "Close a channel: no more pushes, and this connection's presence is taken back.",
)
DOCUMENTS_TOKEN = Operation(
    "documents.token",
    documents.CreateDocumentToken,
    documents.DocumentToken,
    Permission.READ_MEMORIES,
    "A longer-lived token for one document, for stock Yjs clients on `/yjs/{memoryId}`.",
)
FEED_CHANGES = Operation(
    "feed.changes",
    feed.GetChanges,
    feed.Changes,
    Permission.READ_MEMORIES,
    "What changed since a cursor, oldest change first.",
)
MEMORIES_CREATE = Operation(
    "memories.create",
    memories.CreateMemory,
    memories.OneMemory,
    Permission.WRITE_MEMORIES,
    "Create a memory. Repeated with the same id and account it answers the first one's memory.",
)
MEMORIES_GET = Operation(
    "memories.get",
    memories.GetMemory,
    memories.OneMemory,
    Permission.READ_MEMORIES,
    "One memory.",
)
MEMORIES_LIST = Operation(
    "memories.list",
    memories.ListMemories,
    memories.MemoryPage,
    Permission.READ_MEMORIES,
    "The account's memories, filtered, sorted and paged.",
)
MEMORIES_UPDATE = Operation(
    "memories.update",
    memories.UpdateMemory,
    memories.OneMemory,
    Permission.WRITE_MEMORIES,
    "Change a memory; what its document holds is changed as an edit that merges with others.",
)
MEMORIES_DELETE = Operation(
    "memories.delete",
    memories.DeleteMemory,
    memories.DeletedMemory,
    Permission.DELETE_MEMORIES,
    "Delete a memory for all its members.",
)
FILES_LIST = Operation(
    "files.list",
    files.ListFiles,
    files.FilePage,
    Permission.READ_MEMORIES,
    "The account's files, or those of one memory.",
)
FILES_GET = Operation(
    "files.get",
    files.GetFile,
    files.OneFile,
    Permission.READ_MEMORIES,
    "What is known of one file.",
)
FILES_UPDATE = Operation(
    "files.update",
    files.UpdateFile,
    files.OneFile,
    Permission.WRITE_MEMORIES,
    "Rename a file of the account's own, or put it in another memory or in none.",
)
FILES_DELETE = Operation(
    "files.delete",
    files.DeleteFile,
    files.DeletedFile,
    Permission.DELETE_MEMORIES,
    "Delete a file of the account's own. Harmless twice.",
)
FILES_URL = Operation(
    "files.url",
    files.CreateFileUrl,
    files.FileUrl,
    Permission.READ_MEMORIES,
    "An address that shows the file without a token, for an hour.",
)
FILES_USAGE = Operation(
    "files.usage",
    Empty,
    files.FileUsage,
    Permission.READ_MEMORIES,
    "How much the account's files take, and how much they may.",
)
SESSION_RENEW = Operation(
    "session.renew",
    accounts.RenewSession,
    accounts.RenewedSession,
    None,
    "Give this connection a fresh access token of the same session, without reconnecting.",
)
ACCOUNT_ME = Operation(
    "account.me",
    Empty,
    accounts.Me,
    None,
    "The signed-in account.",
)

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    DOCUMENTS_OPEN,
    DOCUMENTS_CLOSE,
    DOCUMENTS_TOKEN,
    FEED_CHANGES,
    MEMORIES_CREATE,
    MEMORIES_GET,
    MEMORIES_LIST,
    MEMORIES_UPDATE,
    MEMORIES_DELETE,
    FILES_LIST,
    FILES_GET,
    FILES_UPDATE,
    FILES_DELETE,
    FILES_URL,
    FILES_USAGE,
    SESSION_RENEW,
    ACCOUNT_ME,
)
