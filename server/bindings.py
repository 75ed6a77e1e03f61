"""Every operation, bound to the method that carries it out."""

from typing import Any

from protocol import operations
from protocol.operations import OPERATIONS
from server.admin import Admin
from server.connection import ConnectionCall
from server.dispatch import Binding, Dispatcher
from server.documents import Documents
from server.files.operations import Files
from server.identity.calls import Identity
from server.identity.deletion import Deletion
from server.identity.profile import Profile
from server.identity.sessions import Sessions
from server.limits import Limiter
from server.metrics import Metrics
from server.takeout.exports import Exports
from server.takeout.imports import Imports
from sync.bulk import Bulk
from sync.categories import Categories
from sync.feed import Feed
from sync.history import History
from sync.memories import Memories
from sync.messages import Messages
from sync.search import Search
from sync.sharing import Sharing
from sync.trash import Trash


def dispatcher(
    metrics: Metrics,
    limiter: Limiter,
    *,
    documents: Documents,
    memories: Memories,
    search: Search,
    messages: Messages,
    history: History,
    trash: Trash,
    bulk: Bulk,
    categories: Categories,
    sharing: Sharing,
    feed: Feed,
    files: Files,
    sessions: Sessions,
    profile: Profile,
    admin: Admin,
    identity: Identity,
    exports: Exports,
    imports: Imports,
    deletion: Deletion,
) -> Dispatcher[ConnectionCall]:
    """Raises:
    ValueError: an operation is bound twice, or not at all.
    """
    bindings: tuple[Binding[ConnectionCall, Any, Any], ...] = (
        Binding(operations.DOCUMENTS_OPEN, documents.open),
        Binding(operations.DOCUMENTS_CLOSE, documents.close),
        Binding(operations.DOCUMENTS_TOKEN, documents.token),
        Binding(operations.FEED_CHANGES, feed.changes),
        Binding(operations.MEMORIES_CREATE, memories.create),
        Binding(operations.MEMORIES_GET, memories.get),
        Binding(operations.MEMORIES_LIST, memories.list),
        Binding(operations.MEMORIES_UPDATE, memories.update),
        Binding(operations.MEMORIES_DELETE, memories.delete),
        Binding(operations.SEARCH_QUERY, search.query),
        Binding(operations.FILES_LIST, files.list),
        Binding(operations.FILES_GET, files.get),
        Binding(operations.FILES_UPDATE, files.update),
        Binding(operations.FILES_DELETE, files.delete),
        Binding(operations.FILES_URL, files.url),
        Binding(operations.FILES_USAGE, files.usage),
        Binding(operations.MESSAGES_LIST, messages.list),
        Binding(operations.MESSAGES_CREATE, messages.create),
        Binding(operations.MESSAGES_UPDATE, messages.update),
        Binding(operations.MESSAGES_DELETE, messages.delete),
        Binding(operations.MESSAGES_MARK_READ, messages.mark_read),
        Binding(operations.HISTORY_LIST, history.list),
        Binding(operations.HISTORY_GET, history.get),
        Binding(operations.HISTORY_SAVE, history.save),
        Binding(operations.HISTORY_RENAME, history.rename),
        Binding(operations.HISTORY_DELETE, history.delete),
        Binding(operations.HISTORY_RESTORE, history.restore),
        Binding(operations.HISTORY_BLAME, history.blame),
        Binding(operations.MEMORIES_RESTORE, trash.restore),
        Binding(operations.MEMORIES_PURGE, trash.purge),
        Binding(operations.MEMORIES_BULK, bulk.change),
        Binding(operations.CATEGORIES_LIST, categories.list),
        Binding(operations.CATEGORIES_CREATE, categories.create),
        Binding(operations.CATEGORIES_UPDATE, categories.update),
        Binding(operations.CATEGORIES_REORDER, categories.reorder),
        Binding(operations.CATEGORIES_DELETE, categories.delete),
        Binding(operations.SHARING_MEMBERS, sharing.members),
        Binding(operations.SHARING_INVITE, sharing.invite),
        Binding(operations.SHARING_LINK, sharing.link),
        Binding(operations.SHARING_REVOKE, sharing.revoke),
        Binding(operations.SHARING_INVITATIONS, sharing.invitations),
        Binding(operations.SHARING_ACCEPT, sharing.accept),
        Binding(operations.SHARING_DECLINE, sharing.decline),
        Binding(operations.SHARING_SET_ROLE, sharing.set_role),
        Binding(operations.SHARING_REMOVE, sharing.remove),
        Binding(operations.SHARING_LEAVE, sharing.leave),
        Binding(operations.SHARING_TRANSFER, sharing.transfer),
        Binding(operations.SESSION_RENEW, sessions.renew),
        Binding(operations.ACCOUNT_ME, sessions.me),
        Binding(operations.ACCOUNT_SEND_VERIFICATION, identity.send_verification),
        Binding(operations.ACCOUNT_CHANGE_PASSWORD, identity.change_password),
        Binding(operations.ACCOUNT_CHANGE_EMAIL, identity.change_email),
        Binding(operations.ACCOUNT_ENABLE_TWO_FACTOR, identity.enable_two_factor),
        Binding(operations.ACCOUNT_CONFIRM_TWO_FACTOR, identity.confirm_two_factor),
        Binding(operations.ACCOUNT_DISABLE_TWO_FACTOR, identity.disable_two_factor),
        Binding(operations.ACCOUNT_IDENTITIES, identity.identities),
        Binding(operations.ACCOUNT_LINK, identity.link),
        Binding(operations.ACCOUNT_UNLINK, identity.unlink),
        Binding(operations.ACCOUNT_UPDATE, profile.update),
        Binding(operations.ACCOUNT_SEND_DELETION_CODE, deletion.send_code),
        Binding(operations.ACCOUNT_DELETE, deletion.delete),
        Binding(operations.ACCOUNT_EXPORT, exports.start),
        Binding(operations.ACCOUNT_EXPORTS, exports.list),
        Binding(operations.ACCOUNT_IMPORT, imports.start),
        Binding(operations.ACCOUNT_IMPORTS, imports.list),
        Binding(operations.SESSIONS_LIST, sessions.list),
        Binding(operations.SESSIONS_END, sessions.end),
        Binding(operations.ADMIN_USERS, admin.users),
        Binding(operations.ADMIN_SET_ROLE, admin.set_role),
        Binding(operations.ADMIN_DISABLE, admin.disable),
        Binding(operations.ADMIN_ENABLE, admin.enable),
        Binding(operations.ADMIN_STATS, admin.stats),
    )
    return Dispatcher(OPERATIONS, bindings, metrics, limiter)
