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
    exports,
    feed,
    files,
    history,
    identity,
    imports,
    memories,
    messages,
    search,
    sessions,
    sharing,
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
    `limit` is what a call counts against besides SOCKET, which all of them do. One that `creates`
    takes an `id` that the client may make: repeated, it finds what it has made before."""

    name: str
    request: type[Req]
    response: type[Res]
    permission: Permission | None
    summary: str
    limit: Limit = Limit.SOCKET
    creates: bool = False


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
    creates=True,
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
    creates=True,
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
HISTORY_LIST = Operation(
    "history.list",
    history.ListVersions,
    history.VersionPage,
    Permission.READ_MEMORIES,
    "A memory's versions, newest first, with who wrote since the one before.",
)
HISTORY_GET = Operation(
    "history.get",
    history.GetVersion,
    history.VersionContent,
    Permission.READ_MEMORIES,
    "What a memory was in a version, and how that differs from another one or from now.",
)
HISTORY_SAVE = Operation(
    "history.save",
    history.SaveVersion,
    history.OneVersion,
    Permission.WRITE_MEMORIES,
    "Keep what a memory is now as a version with a name.",
    creates=True,
)
HISTORY_RENAME = Operation(
    "history.rename",
    history.RenameVersion,
    history.OneVersion,
    Permission.WRITE_MEMORIES,
    "Give a version a name, which keeps it, or take its name away.",
)
HISTORY_DELETE = Operation(
    "history.delete",
    history.DeleteVersion,
    history.DeletedVersion,
    Permission.DELETE_MEMORIES,
    "Remove a version for ever; the owner may.",
)
HISTORY_RESTORE = Operation(
    "history.restore",
    history.RestoreVersion,
    memories.OneMemory,
    Permission.WRITE_MEMORIES,
    "Make a memory what it was in a version, by an edit that merges with others.",
    creates=True,
)
HISTORY_BLAME = Operation(
    "history.blame",
    history.GetBlame,
    history.Blame,
    Permission.READ_MEMORIES,
    "Who wrote which part of a memory's body, on which device and when.",
)
MESSAGES_LIST = Operation(
    "messages.list",
    messages.ListMessages,
    messages.MessagePage,
    Permission.READ_MEMORIES,
    "The messages of a memory's thread, paged.",
)
MESSAGES_CREATE = Operation(
    "messages.create",
    messages.CreateMessage,
    messages.OneMessage,
    Permission.WRITE_MEMORIES,
    "Write a message; owner, editors and commenters may. Repeated with the same id it answers the"
    " first one's message.",
    creates=True,
)
MESSAGES_UPDATE = Operation(
    "messages.update",
    messages.UpdateMessage,
    messages.OneMessage,
    Permission.WRITE_MEMORIES,
    "Change a message of one's own, as an edit that merges with others.",
)
MESSAGES_DELETE = Operation(
    "messages.delete",
    messages.DeleteMessage,
    messages.DeletedMessage,
    Permission.WRITE_MEMORIES,
    "Delete a message of one's own, or as the memory's owner any; replies to it stay.",
)
MESSAGES_MARK_READ = Operation(
    "messages.markRead",
    messages.MarkRead,
    messages.ReadMark,
    Permission.READ_MEMORIES,
    "Move the member's own read mark of a thread forward; it never goes back.",
)
SHARING_MEMBERS = Operation(
    "sharing.members",
    sharing.ListMembers,
    sharing.MemoryMembers,
    Permission.READ_MEMORIES,
    "The members of a memory, and to its owner the pending invitations.",
)
SHARING_INVITE = Operation(
    "sharing.invite",
    sharing.InviteMember,
    sharing.OneInvitation,
    Permission.WRITE_MEMORIES,
    "Invite whoever has an e-mail address. It makes no difference whether that has an account.",
    Limit.INVITE,
    creates=True,
)
SHARING_LINK = Operation(
    "sharing.link",
    sharing.CreateInvitationLink,
    sharing.OneInvitation,
    Permission.WRITE_MEMORIES,
    "Make a link by which accounts join a memory. Its token is told here and never again.",
    creates=True,
)
SHARING_REVOKE = Operation(
    "sharing.revoke",
    sharing.RevokeInvitation,
    sharing.OneInvitation,
    Permission.WRITE_MEMORIES,
    "Revoke an invitation. Who has joined by it stays a member.",
)
SHARING_INVITATIONS = Operation(
    "sharing.invitations",
    Empty,
    sharing.ReceivedInvitations,
    Permission.READ_MEMORIES,
    "The pending invitations that were sent to the account's e-mail address.",
)
SHARING_ACCEPT = Operation(
    "sharing.accept",
    sharing.AcceptInvitation,
    memories.OneMemory,
    Permission.READ_MEMORIES,
    "Become a member by an invitation. It lets an account in once.",
)
SHARING_DECLINE = Operation(
    "sharing.decline",
    sharing.DeclineInvitation,
    Empty,
    Permission.READ_MEMORIES,
    "Decline an invitation that was sent to the account's e-mail address.",
)
SHARING_SET_ROLE = Operation(
    "sharing.setRole",
    sharing.SetMemberRole,
    sharing.OneMember,
    Permission.WRITE_MEMORIES,
    "Give a member another role, at once on all open sockets. Only the owner may.",
)
SHARING_REMOVE = Operation(
    "sharing.remove",
    sharing.RemoveMember,
    Empty,
    Permission.WRITE_MEMORIES,
    "End a membership, at once on all open sockets. Only the owner may.",
)
SHARING_LEAVE = Operation(
    "sharing.leave",
    sharing.LeaveMemory,
    Empty,
    Permission.READ_MEMORIES,
    "End the account's own membership.",
)
SHARING_TRANSFER = Operation(
    "sharing.transfer",
    sharing.TransferMemory,
    memories.OneMemory,
    Permission.WRITE_MEMORIES,
    "Make another member the owner, and the owner an editor.",
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
ACCOUNT_SEND_DELETION_CODE = Operation(
    "account.sendDeletionCode",
    Empty,
    Empty,
    None,
    "Send the code that `account.delete` asks for of an account without a password, to its e-mail"
    " address; at most once a minute.",
)
ACCOUNT_DELETE = Operation(
    "account.delete",
    identity.DeleteAccount,
    Empty,
    None,
    "Delete the account at once, for good: its sessions end, its memories go with all that is in"
    " them, also for those they are shared with, and so do its files. Messages that it wrote in"
    " others' memories stay, as nobody's.",
)
ACCOUNT_EXPORT = Operation(
    "account.export",
    exports.StartExport,
    exports.StartedExport,
    None,
    "Have an archive made of all that the account has: memories as Markdown, JSON and Yjs"
    " documents, with their messages, files and versions. It is kept for a week; `exports.changed`"
    " tells when it is ready.",
    creates=True,
)
ACCOUNT_EXPORTS = Operation(
    "account.exports",
    Empty,
    exports.ExportList,
    None,
    "The account's archives, those being made included.",
)
ACCOUNT_IMPORT = Operation(
    "account.import",
    imports.StartImport,
    imports.StartedImport,
    Permission.WRITE_MEMORIES,
    "Bring an archive of `account.export`, of this or another server, into the account: its own"
    " memories with their documents as they were, messages, files, versions and categories. What is"
    " there already stays as it is, so that nothing is doubled.",
    creates=True,
)
ACCOUNT_IMPORTS = Operation(
    "account.imports",
    Empty,
    imports.ImportList,
    None,
    "How far the account's imports have come, and what was left out.",
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
    MESSAGES_LIST,
    MESSAGES_CREATE,
    MESSAGES_UPDATE,
    MESSAGES_DELETE,
    MESSAGES_MARK_READ,
    HISTORY_LIST,
    HISTORY_GET,
    HISTORY_SAVE,
    HISTORY_RENAME,
    HISTORY_DELETE,
    HISTORY_RESTORE,
    HISTORY_BLAME,
    MEMORIES_RESTORE,
    MEMORIES_PURGE,
    MEMORIES_BULK,
    CATEGORIES_LIST,
    CATEGORIES_CREATE,
    CATEGORIES_UPDATE,
    CATEGORIES_REORDER,
    CATEGORIES_DELETE,
    SEARCH_QUERY,
    SHARING_MEMBERS,
    SHARING_INVITE,
    SHARING_LINK,
    SHARING_REVOKE,
    SHARING_INVITATIONS,
    SHARING_ACCEPT,
    SHARING_DECLINE,
    SHARING_SET_ROLE,
    SHARING_REMOVE,
    SHARING_LEAVE,
    SHARING_TRANSFER,
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
    ACCOUNT_SEND_DELETION_CODE,
    ACCOUNT_DELETE,
    ACCOUNT_EXPORT,
    ACCOUNT_EXPORTS,
    ACCOUNT_IMPORT,
    ACCOUNT_IMPORTS,
    SESSIONS_LIST,
    SESSIONS_END,
    ADMIN_USERS,
    ADMIN_SET_ROLE,
    ADMIN_DISABLE,
    ADMIN_ENABLE,
    ADMIN_STATS,
)
