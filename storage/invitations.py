"""Invitations to memories: by e-mail address, or by a link. Of a link's token only the SHA-256
is kept, by which it is looked up."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from protocol.errors import ErrorCode, MemoError, id_taken
from protocol.records import timestamp
from protocol.sharing import Invitation, InvitationStatus, ReceivedInvitation, SharedRole
from storage.memberships import join, locked, promote, share, stand
from storage.postgres import Connection

MAX_PENDING = 100  # invitations of one memory
MAX_TOKENS = 16  # of one link: each repetition of its request gets one
_KEEP = "30 days"  # that an invitation is kept when it is over, to answer what is repeated
_RANKS = {"viewer": 0, "commenter": 1, "editor": 2, "owner": 3}

_COLUMNS = """
i.id, i.memory_id, i.role, i.email, i.max_uses, i.uses, i.expires_at, i.created_at,
CASE WHEN i.outcome IS NOT NULL THEN i.outcome
    WHEN i.expires_at <= now() THEN 'expired'
    WHEN i.uses >= i.max_uses THEN 'used'
    ELSE 'pending' END AS status
"""
_PENDING = """
i.memory_id = $1 AND i.ended_at IS NULL AND (i.expires_at > now()) IS NOT FALSE
    AND (i.uses < i.max_uses) IS NOT FALSE
"""
_GET = f"SELECT {_COLUMNS} FROM invitations i WHERE i.id = $1"
_LIST = f"SELECT {_COLUMNS} FROM invitations i WHERE {_PENDING} ORDER BY i.created_at, i.id"
_SAME_ADDRESS = """
SELECT id, role FROM invitations
WHERE memory_id = $1 AND lower(email) = lower($2) AND ended_at IS NULL
"""
_SET_ROLE = "UPDATE invitations SET role = $2 WHERE id = $1"
_IS_MEMBER = """
SELECT true FROM users u JOIN memberships ms ON ms.user_id = u.id
WHERE ms.memory_id = $1 AND lower(u.email) = lower($2)
"""
_FORGET = f"""
DELETE FROM invitations WHERE memory_id = $1 AND (
    ended_at < now() - interval '{_KEEP}' OR expires_at < now() - interval '{_KEEP}')
"""
_CREATE = """
INSERT INTO invitations (id, memory_id, invited_by, role, email, max_uses, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING RETURNING id
"""
_LETTER = """
SELECT m.title, u.first_name, u.last_name, u.username FROM memories m, users u
WHERE m.id = $1 AND u.id = $2
"""
_RECEIVED = """
SELECT i.id, i.memory_id, m.title, i.role, i.created_at, u.first_name, u.last_name, u.username
FROM users me
    JOIN invitations i ON lower(i.email) = lower(me.email) AND i.ended_at IS NULL
    JOIN memories m ON m.id = i.memory_id
    JOIN documents d ON d.id = i.memory_id AND d.deleted_at IS NULL
    JOIN users u ON u.id = i.invited_by
WHERE me.id = $1 AND (me.is_verified OR NOT $2) ORDER BY i.created_at DESC, i.id LIMIT 100
"""
# An invitation is one's own by its address. Who has to prove theirs, and has not, has none.
_ADDRESSED = """
SELECT i.id, i.memory_id FROM users me JOIN invitations i ON lower(i.email) = lower(me.email)
WHERE me.id = $1 AND i.id = $2 AND (me.is_verified OR NOT $3)
"""
_OF_LINK = """
SELECT i.id, i.memory_id FROM invitation_tokens t JOIN invitations i ON i.id = t.invitation_id
WHERE t.hash = $1
"""
_ACCEPTING = f"""
SELECT {_COLUMNS}, d.deleted_at IS NOT NULL AS deleted,
    (SELECT role FROM memberships WHERE memory_id = i.memory_id AND user_id = $2) AS held,
    EXISTS (SELECT FROM invitation_uses WHERE invitation_id = i.id AND user_id = $2) AS spent
FROM invitations i JOIN documents d ON d.id = i.memory_id WHERE i.id = $1
"""
_USE = """
WITH used AS (
    INSERT INTO invitation_uses (invitation_id, user_id) VALUES ($1, $2)
)
UPDATE invitations SET uses = uses + 1,
    ended_at = CASE WHEN email IS NOT NULL THEN now() END,
    outcome = CASE WHEN email IS NOT NULL THEN 'accepted' END
WHERE id = $1
"""
_END = "UPDATE invitations SET ended_at = now(), outcome = $2 WHERE id = $1 AND ended_at IS NULL"

_OVER: dict[InvitationStatus, str] = {
    "accepted": "has been accepted",
    "declined": "has been declined",
    "revoked": "has been revoked",
    "expired": "has expired",
    "used": "has been used as often as it may be",
}


class Invited(NamedTuple):
    """An invitation made or found. `fresh`: it was made by this call; then `title` is that of the
    memory, and `inviter` the name of who invites. `changed`: it has another role by this call."""

    invitation: Invitation
    fresh: bool
    title: str | None = None
    inviter: str = ""
    changed: bool = False


class Accepted(NamedTuple):
    """Where an invitation has led. `changed`: the account has another role by it."""

    memory_id: UUID
    changed: bool


class Invitations:
    """The tables of invitations. With `verified_only`, an address counts as an account's own once
    it is verified; else as soon as the account was made with it."""

    def __init__(self, pool: asyncpg.Pool, *, verified_only: bool) -> None:
        self._pool = pool
        self._verified_only = verified_only

    async def pending(self, memory_id: UUID) -> list[Invitation]:
        """The memory's invitations that can be accepted, oldest first."""
        return [_read(row) for row in await self._pool.fetch(_LIST, memory_id)]

    async def invite(
        self,
        memory_id: UUID,
        account_id: UUID,
        invitation_id: UUID,
        email: str,
        role: SharedRole,
    ) -> Invited:
        """Invite an address, on the owner's behalf. A private memory is shared from then on.

        Raises:
            MemoError: `forbidden`, `not_found`, `gone`; `conflict` when the id is taken, or the
                address a member's; `too_large` when there are MAX_PENDING.
        """
        async with locked(self._pool, memory_id) as connection:
            (await stand(connection, memory_id, account_id)).own("invite others")
            changed = False
            known = await connection.fetchrow(_GET, invitation_id)
            if known is None:
                same = await connection.fetchrow(_SAME_ADDRESS, memory_id, email)
                if same is not None:
                    changed = same["role"] != role
                    await connection.execute(_SET_ROLE, same["id"], role)
                    known = await connection.fetchrow(_GET, same["id"])
            if known is not None:
                if known["memory_id"] != memory_id or known["email"] is None:
                    raise id_taken()
                return Invited(_read(known), False, changed=changed)
            if await connection.fetchval(_IS_MEMBER, memory_id, email):
                raise MemoError(
                    ErrorCode.CONFLICT,
                    "this is the address of a member: change the role with `sharing.setRole`",
                    details={"email": "is a member's"},
                )
            made = (invitation_id, memory_id, account_id, role, email, None, None)
            invitation = await _create(connection, made)
            title, inviter = await _letter(connection, memory_id, account_id)
        return Invited(invitation, True, title, inviter)

    async def link(
        self,
        memory_id: UUID,
        account_id: UUID,
        invitation_id: UUID,
        role: SharedRole,
        token_hash: bytes,
        *,
        expires_at: datetime | None,
        max_uses: int | None,
    ) -> Invitation:
        """A link, on the owner's behalf. The token gets one in as long as its status is `pending`.

        Raises:
            MemoError: as `invite`; `invalid_request`, when a new link would have expired.
        """
        async with locked(self._pool, memory_id) as connection:
            (await stand(connection, memory_id, account_id)).own("make links")
            known = await connection.fetchrow(_GET, invitation_id)
            if known is not None:
                if known["memory_id"] != memory_id or known["email"] is not None:
                    raise id_taken()
                invitation = _read(known)
            else:
                if expires_at is not None and expires_at <= datetime.now(UTC):
                    raise MemoError(
                        ErrorCode.INVALID_REQUEST,
                        "a link has to expire in the future",
                        details={"expiresAt": "is past"},
                    )
                made = (invitation_id, memory_id, account_id, role, None, max_uses, expires_at)
                invitation = await _create(connection, made)
            if invitation.status == "pending":
                await _add_token(connection, invitation_id, token_hash)
        return invitation

    async def revoke(self, memory_id: UUID, account_id: UUID, invitation_id: UUID) -> Invitation:
        """End an invitation, on the owner's behalf. One that is over stays as it is.

        Raises:
            MemoError: `forbidden`, `not_found`, `gone`.
        """
        async with locked(self._pool, memory_id) as connection:
            (await stand(connection, memory_id, account_id)).own("revoke invitations")
            await connection.execute(
                f"{_END} AND memory_id = $3", invitation_id, "revoked", memory_id
            )
            row = await connection.fetchrow(_GET, invitation_id)
        if row is None or row["memory_id"] != memory_id:
            raise _unknown()
        return _read(row)

    async def received(self, account_id: UUID) -> list[ReceivedInvitation]:
        """The pending invitations to the account's address, newest first."""
        rows = await self._pool.fetch(_RECEIVED, account_id, self._verified_only)
        return [
            ReceivedInvitation(
                id=row["id"],
                memory_id=row["memory_id"],
                memory_title=row["title"],
                inviter_name=_name(row),
                role=row["role"],
                created_at=timestamp(row["created_at"]),
            )
            for row in rows
        ]

    async def addressees(self, email: str) -> Sequence[UUID]:
        """The accounts that an invitation to this address is for: one, or none."""
        rows = await self._pool.fetch(
            "SELECT id FROM users WHERE lower(email) = lower($1) AND (is_verified OR NOT $2)",
            email,
            self._verified_only,
        )
        return [row[0] for row in rows]

    async def accept(
        self, account_id: UUID, *, invitation_id: UUID | None = None, token_hash: bytes = b""
    ) -> Accepted:
        """Make the account a member, or a member of a higher role. Accepted again, it answers as
        the first time as long as the account is a member.

        Raises:
            MemoError: `not_found`; `forbidden` when the account has to verify its address first;
                `gone` when the invitation is over, or the account came by it before, or was
                removed behind it, and is no member any more; `too_large` when there are
                MAX_MEMBERS.
        """
        if invitation_id is None:
            found = await self._pool.fetchrow(_OF_LINK, token_hash)
        else:
            found = await self._addressed(account_id, invitation_id)
        if found is None:
            raise _unknown()
        chosen, memory_id = found["id"], found["memory_id"]
        async with locked(self._pool, memory_id) as connection:
            row = await connection.fetchrow(_ACCEPTING, chosen, account_id)
            if row is None:
                raise _unknown()
            if row["deleted"]:
                raise MemoError(ErrorCode.GONE, "this memory has been deleted")
            held, role = row["held"], row["role"]
            if row["spent"] or row["status"] != "pending":
                if held is None:
                    raise _over("lets you in no more" if row["spent"] else _OVER[row["status"]])
                return Accepted(memory_id, False)
            changed = held is None or _RANKS[held] < _RANKS[role]
            if held is None:
                await join(connection, memory_id, account_id, role)
            elif changed:
                await promote(connection, memory_id, account_id, role)
            if changed or row["email"] is not None:
                await connection.execute(_USE, chosen, account_id)
        return Accepted(memory_id, changed)

    async def decline(self, account_id: UUID, invitation_id: UUID) -> UUID:
        """End an invitation to the account's address. One that is revoked or declined stays so.
        Returns the memory it was to.

        Raises:
            MemoError: `not_found`, `forbidden`; `conflict` when it has been accepted.
        """
        found = await self._addressed(account_id, invitation_id)
        if found is None:
            raise _unknown()
        async with locked(self._pool, found["memory_id"]) as connection:
            await connection.execute(_END, invitation_id, "declined")
            outcome = await connection.fetchval(
                "SELECT outcome FROM invitations WHERE id = $1", invitation_id
            )
        if outcome == "accepted":
            raise MemoError(
                ErrorCode.CONFLICT,
                "you have accepted this invitation: leave the memory with `sharing.leave`",
                details={"invitationId": "has been accepted"},
            )
        memory_id: UUID = found["memory_id"]
        return memory_id

    async def _addressed(self, account_id: UUID, invitation_id: UUID) -> asyncpg.Record | None:
        if self._verified_only and not await self._pool.fetchval(
            "SELECT is_verified FROM users WHERE id = $1", account_id
        ):
            raise MemoError(
                ErrorCode.FORBIDDEN, "verify your e-mail address first: invitations are sent to it"
            )
        return await self._pool.fetchrow(_ADDRESSED, account_id, invitation_id, self._verified_only)


async def _create(connection: Connection, made: Sequence[object]) -> Invitation:
    """A new invitation, of the values of `_CREATE`."""
    invitation_id, memory_id = made[0], made[1]
    await connection.execute(_FORGET, memory_id)
    pending = await connection.fetchval(
        f"SELECT count(*) FROM invitations i WHERE {_PENDING}", memory_id
    )
    if pending >= MAX_PENDING:
        raise MemoError(
            ErrorCode.TOO_LARGE,
            f"{MAX_PENDING} invitations to this memory are pending: revoke some of them",
            details={"invitations": f"may be {MAX_PENDING} at most"},
        )
    # An id of another memory's invitation may have been taken a moment ago.
    if await connection.fetchval(_CREATE, *made) is None:
        raise id_taken()
    assert isinstance(memory_id, UUID)
    await share(connection, memory_id)
    row = await connection.fetchrow(_GET, invitation_id)
    assert row is not None
    return _read(row)


async def _add_token(connection: Connection, invitation_id: UUID, token_hash: bytes) -> None:
    tokens = await connection.fetchval(
        "SELECT count(*) FROM invitation_tokens WHERE invitation_id = $1", invitation_id
    )
    if tokens >= MAX_TOKENS:
        raise MemoError(
            ErrorCode.TOO_LARGE,
            "this link has been asked for too often: revoke it, and make one of another id",
            details={"id": "is of a link that exists"},
        )
    await connection.execute(
        "INSERT INTO invitation_tokens (hash, invitation_id) VALUES ($1, $2)",
        token_hash,
        invitation_id,
    )


async def _letter(
    connection: Connection, memory_id: UUID, account_id: UUID
) -> tuple[str | None, str]:
    row = await connection.fetchrow(_LETTER, memory_id, account_id)
    assert row is not None
    return row["title"], _name(row)


def _read(row: asyncpg.Record) -> Invitation:
    expires_at = row["expires_at"]
    return Invitation(
        id=row["id"],
        memory_id=row["memory_id"],
        role=row["role"],
        status=row["status"],
        uses=row["uses"],
        created_at=timestamp(row["created_at"]),
        email=row["email"],
        max_uses=row["max_uses"],
        expires_at=None if expires_at is None else timestamp(expires_at),
    )


def _name(row: asyncpg.Record) -> str:
    """What an account goes by, for those who are not told its address."""
    full = " ".join(part for part in (row["first_name"], row["last_name"]) if part)
    return full or row["username"] or "Somebody"


def _unknown() -> MemoError:
    return MemoError(ErrorCode.NOT_FOUND, "there is no such invitation, or it is not for you")


def _over(why: str) -> MemoError:
    return MemoError(ErrorCode.GONE, f"this invitation {why}: ask for a new one")
