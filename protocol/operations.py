"""Every operation of the socket, declared once.

From this tuple come the dispatcher's decoders, the generated reference, the TypeScript types
and the tests that every operation must pass.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from protocol import accounts, bulk, categories, documents, feed, memories, search, trash
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
    "Move a memory to the trash, for all its members. Its owner may restore it for a time.",
)
MEMORIES_RESTORE = Operation(
    "memories.restore",
    trash.RestoreMemory,
    memories.OneMemory,
    Permission.WRITE_MEMORIES,
    "Take a memory out of the trash, for all its members.",
)
MEMORIES_PURGE = Operation(
    "memories.purge",
    trash.PurgeMemory,
    trash.PurgedMemory,
    Permission.DELETE_MEMORIES,
    "Delete a memory that is in the trash for good, with its thread, files and history.",
)
MEMORIES_BULK = Operation(
    "memories.bulk",
    bulk.BulkMemories,
    bulk.BulkResults,
    Permission.WRITE_MEMORIES,
    "Do one thing to many memories. Each stands alone: one that fails costs the others nothing.",
)
CATEGORIES_LIST = Operation(
    "categories.list",
    Empty,
    categories.Categories,
    Permission.READ_MEMORIES,
    "The account's categories, in order.",
)
CATEGORIES_CREATE = Operation(
    "categories.create",
    categories.CreateCategory,
    categories.OneCategory,
    Permission.WRITE_MEMORIES,
    "Create a category. Repeated with the same id and account it answers the first one's.",
)
CATEGORIES_UPDATE = Operation(
    "categories.update",
    categories.UpdateCategory,
    categories.OneCategory,
    Permission.WRITE_MEMORIES,
    "Change a category.",
)
CATEGORIES_REORDER = Operation(
    "categories.reorder",
    categories.ReorderCategories,
    categories.Categories,
    Permission.WRITE_MEMORIES,
    "Put the categories in another order; all are answered.",
)
CATEGORIES_DELETE = Operation(
    "categories.delete",
    categories.DeleteCategory,
    categories.DeletedCategory,
    Permission.WRITE_MEMORIES,
    "Delete a category. The memories in it stay, without one.",
)
SEARCH_QUERY = Operation(
    "search.query",
    search.SearchQuery,
    search.SearchPage,
    Permission.READ_MEMORIES,
    "Find memories by their words: in title, tags, description, body, messages and files' names.",
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
    MEMORIES_RESTORE,
    MEMORIES_PURGE,
    MEMORIES_BULK,
    CATEGORIES_LIST,
    CATEGORIES_CREATE,
    CATEGORIES_UPDATE,
    CATEGORIES_REORDER,
    CATEGORIES_DELETE,
    SEARCH_QUERY,
    SESSION_RENEW,
    ACCOUNT_ME,
)
