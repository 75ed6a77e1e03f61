"""Memberships: who may do what in a memory, and what changes that.

Each change locks the memory's documents row first, as a commit does: see 0007_sharing.sql. Who
loses a memory gets tombstones of it and of others' files in it, so that their devices forget them.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

import asyncpg

from protocol.errors import ErrorCode, MemoError
from protocol.memories import PrivacyLevel, Role
from protocol.records import timestamp
from protocol.sharing import Member, SharedRole
from storage.postgres import Connection

MAX_MEMBERS = 100  # of one memory, its owner included

_STANDING = """
SELECT m.user_id AS owner_id, m.privacy_level, d.deleted_at IS NOT NULL AS deleted,
    (SELECT role FROM memberships WHERE memory_id = m.id AND user_id = $2) AS role
FROM memories m JOIN documents d ON d.id = m.id WHERE m.id = $1
"""
_MEMBERS = """
SELECT u.id AS user_id, ms.role, u.first_name, u.last_name, u.username, u.avatar_url, u.email,
    ms.created_at AS joined_at
FROM memberships ms JOIN users u ON u.id = ms.user_id
WHERE ms.memory_id = $1 ORDER BY ms.role <> 'owner', ms.created_at, u.id
"""
_MEMBER = f"SELECT * FROM ({_MEMBERS}) AS members WHERE user_id = $2"
_ROLE = "SELECT role FROM memberships WHERE memory_id = $1 AND user_id = $2"
_SET_ROLE = """
UPDATE memberships SET role = $3, changed_xid = pg_current_xact_id()
WHERE memory_id = $1 AND user_id = $2 AND role <> $3
"""
_END = """
WITH ended AS (
    DELETE FROM memberships WHERE memory_id = $1 AND user_id = ANY ($2) RETURNING user_id
), buried AS (
    INSERT INTO tombstones (user_id, kind, record_id) SELECT user_id, 'memory', $1 FROM ended
    UNION ALL
    SELECT e.user_id, 'file', f.id FROM ended e JOIN files f
        ON f.memory_id = $1 AND f.user_id <> e.user_id
    ON CONFLICT (user_id, kind, record_id)
    DO UPDATE SET created_at = now(), changed_xid = pg_current_xact_id()
)
SELECT user_id FROM ended
"""
_JOIN = """
WITH raised AS (
    DELETE FROM tombstones WHERE user_id = $2 AND (
        kind = 'memory' AND record_id = $1
        OR kind = 'file' AND record_id IN (SELECT id FROM files WHERE memory_id = $1))
)
INSERT INTO memberships (memory_id, user_id, role) VALUES ($1, $2, $3)
"""
_REVOKE_ALL = """
UPDATE invitations SET ended_at = now(), outcome = 'revoked'
WHERE memory_id = $1 AND ended_at IS NULL
"""
# One who is removed does not come back by an invitation that still lies in their mailbox.
_REVOKE_OF = f"""
{_REVOKE_ALL} AND lower(email) = (SELECT lower(email) FROM users WHERE id = $2)
"""
# Nor by a link that is known to them, whether they came by it or not; and who may less from now on
# does not get more by one. Links that are made later are for them as for everybody.
_SPEND_LINKS = """
INSERT INTO invitation_uses (invitation_id, user_id)
SELECT id, $2 FROM invitations
WHERE memory_id = $1 AND email IS NULL AND ended_at IS NULL AND role = ANY ($3)
ON CONFLICT DO NOTHING
"""
_ROLES: tuple[SharedRole, ...] = ("viewer", "commenter", "editor")
_TRANSFER = """
WITH roles AS (
    UPDATE memberships SET role = CASE WHEN user_id = $3 THEN 'owner' ELSE 'editor' END,
        changed_xid = pg_current_xact_id()
    WHERE memory_id = $1 AND user_id IN ($2, $3)
), owned AS (
    UPDATE memories SET user_id = $3 WHERE id = $1
)
UPDATE documents SET owner_id = $3, changed_xid = pg_current_xact_id() WHERE id = $1
"""
_SET_PRIVACY = """
WITH changed AS (
    UPDATE memories SET privacy_level = $2 WHERE id = $1 AND privacy_level <> $2 RETURNING id
)
UPDATE documents d SET changed_xid = pg_current_xact_id() FROM changed WHERE d.id = changed.id
"""
_SHARE = """
WITH changed AS (
    UPDATE memories SET privacy_level = 'shared'
    WHERE id = $1 AND privacy_level = 'private' RETURNING id
)
UPDATE documents d SET changed_xid = pg_current_xact_id() FROM changed WHERE d.id = changed.id
"""


class Standing(NamedTuple):
    """A memory, and an account's role in it, while nobody else changes them."""

    owner_id: UUID
    privacy_level: str
    role: Role

    def own(self, what: str) -> None:
        """Raises:
        MemoError: `forbidden`, unless the account is the owner.
        """
        if self.role != "owner":
            raise MemoError(ErrorCode.FORBIDDEN, f"only the owner may {what}")


class Memberships:
    """The table memberships, and what goes with it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def members(self, memory_id: UUID, account_id: UUID) -> tuple[Role, list[Member]]:
        """The account's own role and all members, whose addresses only the owner sees.

        Raises:
            MemoError: `not_found`, `gone`; `forbidden`, when the account may read the memory and
                is no member.
        """
        async with self._pool.acquire() as connection:
            standing = await stand(connection, memory_id, account_id)
            rows = await connection.fetch(_MEMBERS, memory_id)
        owns = standing.role == "owner"
        return standing.role, [_read_member(row, addressed=owns) for row in rows]

    async def set_role(
        self, memory_id: UUID, account_id: UUID, user_id: UUID, role: SharedRole
    ) -> Member:
        """Give a member another role, on the owner's behalf. No link of before gives them more.

        Raises:
            MemoError: `forbidden`, `conflict` (the owner's own role), `not_found` (also when
                the other is no member), `gone`.
        """
        async with locked(self._pool, memory_id) as connection:
            standing = await stand(connection, memory_id, account_id)
            standing.own("change roles")
            if user_id == account_id:
                raise _owner_stays("the owner has no other role")
            before = await connection.fetchval(_ROLE, memory_id, user_id)
            await connection.execute(_SET_ROLE, memory_id, user_id, role)
            higher = _ROLES[_ROLES.index(role) + 1 :]
            if before in higher:
                await connection.execute(_SPEND_LINKS, memory_id, user_id, higher)
            member = await connection.fetchrow(_MEMBER, memory_id, user_id)
        if member is None:
            raise _no_member()
        return _read_member(member, addressed=True)

    async def remove(self, memory_id: UUID, account_id: UUID, user_id: UUID) -> bool:
        """End another's membership, on the owner's behalf. Whether there was one. No invitation
        of before lets them in again.

        Raises:
            MemoError: `forbidden`, `conflict` (the owner), `not_found`.
        """
        async with locked(self._pool, memory_id) as connection:
            standing = await stand(connection, memory_id, account_id, deleted=True)
            standing.own("remove members")
            if user_id == account_id:
                raise _owner_stays("the owner cannot be removed")
            await connection.execute(_REVOKE_OF, memory_id, user_id)
            if not await connection.fetch(_END, memory_id, [user_id]):
                return False
            await connection.execute(_SPEND_LINKS, memory_id, user_id, _ROLES)
            return True

    async def leave(self, memory_id: UUID, account_id: UUID) -> bool:
        """End the account's own membership. Whether there was one.

        Raises:
            MemoError: `conflict`, when it is the owner.
        """
        async with locked(self._pool, memory_id) as connection:
            role = await connection.fetchval(_ROLE, memory_id, account_id)
            if role == "owner":
                raise _owner_stays("the owner cannot leave")
            return bool(await connection.fetch(_END, memory_id, [account_id]))

    async def transfer(self, memory_id: UUID, account_id: UUID, user_id: UUID) -> Sequence[UUID]:
        """Make another member the owner, and the owner an editor. Returns the members to be told;
        none when it is so already.

        Raises:
            MemoError: `forbidden`, `not_found` (also when the other is no member), `gone`.
        """
        async with locked(self._pool, memory_id) as connection:
            standing = await stand(connection, memory_id, account_id)
            if standing.owner_id == user_id:
                return []
            standing.own("transfer a memory")
            if await connection.fetchrow(_MEMBER, memory_id, user_id) is None:
                raise _no_member()
            await connection.execute(_TRANSFER, memory_id, account_id, user_id)
            return await _followers(connection, memory_id)

    async def set_privacy(
        self, memory_id: UUID, account_id: UUID, level: PrivacyLevel
    ) -> Sequence[UUID]:
        """Set how far the memory is shared, on the owner's behalf. `private` ends all other
        memberships and all invitations. Returns who was and who is a member.

        Raises:
            MemoError: `forbidden`, `not_found`, `gone`.
        """
        async with locked(self._pool, memory_id) as connection:
            standing = await stand(connection, memory_id, account_id)
            standing.own("set the privacy level")
            followers = await _followers(connection, memory_id)
            await connection.execute(_SET_PRIVACY, memory_id, level)
            if level == "private":
                others = [user_id for user_id in followers if user_id != account_id]
                await connection.execute(_REVOKE_ALL, memory_id)
                await connection.fetch(_END, memory_id, others)
        return followers


@asynccontextmanager
async def locked(pool: asyncpg.Pool, memory_id: UUID) -> AsyncIterator[Connection]:
    """A transaction beside which nobody changes who may do what in the memory, and nobody's
    update of it is committed."""
    async with pool.acquire() as connection, connection.transaction():
        # A statement of its own, so that the next one's snapshot sees what the lock waited for.
        await connection.execute("SELECT FROM documents WHERE id = $1 FOR NO KEY UPDATE", memory_id)
        yield connection


async def stand(
    connection: Connection, memory_id: UUID, account_id: UUID, *, deleted: bool = False
) -> Standing:
    """The memory and the account's role in it; a deleted one only if `deleted`.

    Raises:
        MemoError: `not_found`, `gone`; `forbidden`, when the account may read the memory and is
            no member.
    """
    row = await connection.fetchrow(_STANDING, memory_id, account_id)
    if row is None or (row["role"] is None and row["privacy_level"] != "public"):
        raise MemoError(ErrorCode.NOT_FOUND, "there is no such memory, or none you may see")
    if row["role"] is None:
        raise MemoError(ErrorCode.FORBIDDEN, "you may read this memory, and are no member of it")
    if row["deleted"] and not deleted:
        raise MemoError(ErrorCode.GONE, "this memory has been deleted")
    return Standing(row["owner_id"], row["privacy_level"], row["role"])


async def join(connection: Connection, memory_id: UUID, account_id: UUID, role: SharedRole) -> None:
    """Make an account a member that it is not yet, within `locked`.

    Raises:
        MemoError: `too_large`, when there are MAX_MEMBERS.
    """
    if len(await _followers(connection, memory_id)) >= MAX_MEMBERS:
        raise MemoError(
            ErrorCode.TOO_LARGE,
            f"this memory has {MAX_MEMBERS} members, and takes no more",
            details={"members": f"may be {MAX_MEMBERS} at most"},
        )
    await connection.execute(_JOIN, memory_id, account_id, role)


async def promote(
    connection: Connection, memory_id: UUID, account_id: UUID, role: SharedRole
) -> None:
    """Give a member another role, within `locked`."""
    await connection.execute(_SET_ROLE, memory_id, account_id, role)


async def share(connection: Connection, memory_id: UUID) -> None:
    """Make a private memory a shared one, within `locked`."""
    await connection.execute(_SHARE, memory_id)


async def _followers(connection: Connection, memory_id: UUID) -> list[UUID]:
    rows = await connection.fetch("SELECT user_id FROM memberships WHERE memory_id = $1", memory_id)
    return [row[0] for row in rows]


def _read_member(row: asyncpg.Record, *, addressed: bool) -> Member:
    return Member(
        user_id=row["user_id"],
        role=row["role"],
        first_name=row["first_name"],
        last_name=row["last_name"],
        username=row["username"],
        avatar_url=row["avatar_url"],
        joined_at=timestamp(row["joined_at"]),
        email=row["email"] if addressed else None,
    )


def _no_member() -> MemoError:
    return MemoError(
        ErrorCode.NOT_FOUND,
        "there is no such member of this memory",
        details={"userId": "is no member"},
    )


def _owner_stays(why: str) -> MemoError:
    return MemoError(
        ErrorCode.CONFLICT,
        f"{why}: make another member the owner first (`sharing.transfer`), or delete the memory",
        details={"userId": "is the owner"},
    )
