"""For who looks after an installation: its accounts, and how much there is on it."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from protocol.accounts import OneAccount, User
from protocol.operation import Operation, Permission
from protocol.records import Body, Empty, Pagination

UserRole = Literal["user", "premium", "admin"]


class ListUsers(Body, frozen=True):
    """`search` looks in e-mail address, username and names."""

    search: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    page: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20


class UserPage(Body, frozen=True):
    users: list[User]
    pagination: Pagination


class SetUserRole(Body, frozen=True):
    """Nobody changes their own role: an installation is not to lose its last admin."""

    user_id: UUID
    role: UserRole


class NamedUser(Body, frozen=True):
    """The account that is meant. It cannot be the caller's own."""

    user_id: UUID


class InstallationStats(Body, frozen=True):
    """`users` counts accounts, `disabled_users` those of them that are closed, `active_sessions`
    the devices that are signed in. `updates` is the number of edits committed to the documents
    that there are. `file_bytes` counts the same bytes of an account once; `database_bytes` is what
    the database takes on disk."""

    users: int
    disabled_users: int
    active_sessions: int
    memories: int
    messages: int
    files: int
    file_bytes: int
    updates: int
    database_bytes: int


ADMIN_USERS = Operation(
    "admin.users",
    ListUsers,
    UserPage,
    Permission.MANAGE_USERS,
    "All accounts, newest first, or those that match a search.",
)
ADMIN_SET_ROLE = Operation(
    "admin.setRole",
    SetUserRole,
    OneAccount,
    Permission.MANAGE_USERS,
    "Give an account another role. What it may do changes at once, on open sockets too.",
)
ADMIN_DISABLE = Operation(
    "admin.disable",
    NamedUser,
    OneAccount,
    Permission.MANAGE_USERS,
    "Close an account to its owner, and end all its sessions.",
)
ADMIN_ENABLE = Operation(
    "admin.enable",
    NamedUser,
    OneAccount,
    Permission.MANAGE_USERS,
    "Open an account again. Its sessions stay ended.",
)
ADMIN_STATS = Operation(
    "admin.stats",
    Empty,
    InstallationStats,
    Permission.MANAGE_USERS,
    "How much there is on this installation.",
)
