"""Every operation of the socket, declared once.

From this tuple come the dispatcher's decoders, the generated reference, the TypeScript types
and the tests that every operation must pass.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from protocol import (
    accounts,
    admin,
    bulk,
    categories,
    documents,
    feed,
    identity,
    memories,
    sessions,
    trash,
)
from protocol.limits import Limit
from protocol.records import Body, Empty

Req = TypeVar("Req", bound=Body)
Res = TypeVar("Res", bound=Body)


class Permission(Enum):
    """A right that an access token grants, as the plan names them."""

    READ_MEMORIES = "read:memories"
    WRITE_MEMORIES = "write:memories"
    DELETE_MEMORIES = "delete:memories"
    MANAGE_USERS = "manage:users"
    ACCESS_AI = "access:ai"
    SYNC_WHATSAPP = "sync:whatsapp"


@dataclass(frozen=True, slots=True)
class Operation(Generic[Req, Res]):
    """One request and its one reply. `permission` None: any signed-in account may call it.
    `limit` is what a call counts against besides SOCKET, which all of them do."""

    name: str
    request: type[Req]
    response: type[Res]
    permission: Permission | None
    summary: str
    limit: Limit = Limit.SOCKET


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
ACCOUNT_UPDATE = Operation(
    "account.update",
    accounts.UpdateAccount,
    accounts.OneAccount,
    None,
    "Change the signed-in account's profile.",
)
SESSIONS_LIST = Operation(
    "sessions.list",
    Empty,
    sessions.SessionList,
    None,
    "The account's signed-in devices, the one used last first.",
)
SESSIONS_END = Operation(
    "sessions.end",
    sessions.EndSessions,
    Empty,
    None,
    "Sign a device out, or all but this one: their sockets close, their refresh tokens are void.",
)
ADMIN_USERS = Operation(
    "admin.users",
    admin.ListUsers,
    admin.UserPage,
    Permission.MANAGE_USERS,
    "All accounts, newest first, or those that match a search.",
)
ADMIN_SET_ROLE = Operation(
    "admin.setRole",
    admin.SetUserRole,
    accounts.OneAccount,
    Permission.MANAGE_USERS,
    "Give an account another role. What it may do changes at once, on open sockets too.",
)
ADMIN_DISABLE = Operation(
    "admin.disable",
    admin.NamedUser,
    accounts.OneAccount,
    Permission.MANAGE_USERS,
    "Close an account to its owner, and end all its sessions.",
)
ADMIN_ENABLE = Operation(
    "admin.enable",
    admin.NamedUser,
    accounts.OneAccount,
    Permission.MANAGE_USERS,
    "Open an account again. Its sessions stay ended.",
)
ADMIN_STATS = Operation(
    "admin.stats",
    Empty,
    admin.InstallationStats,
    Permission.MANAGE_USERS,
    "How much there is on this installation.",
)

ACCOUNT_SEND_VERIFICATION = Operation(
    "account.sendVerification",
    Empty,
    Empty,
    None,
    "Send the message with the link that proves the e-mail address again; at most once a minute.",
)
ACCOUNT_CHANGE_PASSWORD = Operation(
    "account.changePassword",
    identity.ChangePassword,
    Empty,
    None,
    "Change the password. All other sessions of the account end.",
)
ACCOUNT_CHANGE_EMAIL = Operation(
    "account.changeEmail",
    identity.ChangeEmail,
    Empty,
    None,
    "Send a link to a new e-mail address, which becomes the account's when the link is followed.",
)
ACCOUNT_ENABLE_TWO_FACTOR = Operation(
    "account.enableTwoFactor",
    identity.EnableTwoFactor,
    identity.TwoFactorSecret,
    None,
    "A new secret for an authenticator. It is asked for once `account.confirmTwoFactor` has seen"
    " a code of it.",
)
ACCOUNT_CONFIRM_TWO_FACTOR = Operation(
    "account.confirmTwoFactor",
    identity.ConfirmTwoFactor,
    identity.RecoveryCodes,
    None,
    "Turn two-factor on: from now on signing in asks for a code.",
)
ACCOUNT_DISABLE_TWO_FACTOR = Operation(
    "account.disableTwoFactor",
    identity.DisableTwoFactor,
    Empty,
    None,
    "Turn two-factor off.",
)
ACCOUNT_IDENTITIES = Operation(
    "account.identities",
    Empty,
    identity.Identities,
    None,
    "The ways into the account: providers, password, two-factor.",
)
ACCOUNT_LINK = Operation(
    "account.link",
    identity.LinkIdentity,
    identity.Identities,
    None,
    "Link a provider to the account, to sign in with from now on.",
)
ACCOUNT_UNLINK = Operation(
    "account.unlink",
    identity.UnlinkIdentity,
    identity.Identities,
    None,
    "Take a provider away again. The last way into the account stays.",
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
    SESSION_RENEW,
    ACCOUNT_ME,
    ACCOUNT_SEND_VERIFICATION,
    ACCOUNT_CHANGE_PASSWORD,
    ACCOUNT_CHANGE_EMAIL,
    ACCOUNT_ENABLE_TWO_FACTOR,
    ACCOUNT_CONFIRM_TWO_FACTOR,
    ACCOUNT_DISABLE_TWO_FACTOR,
    ACCOUNT_IDENTITIES,
    ACCOUNT_LINK,
    ACCOUNT_UNLINK,
    ACCOUNT_UPDATE,
    SESSIONS_LIST,
    SESSIONS_END,
    ADMIN_USERS,
    ADMIN_SET_ROLE,
    ADMIN_DISABLE,
    ADMIN_ENABLE,
    ADMIN_STATS,
)
