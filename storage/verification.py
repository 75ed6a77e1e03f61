"""Proofs of an e-mail address, and the changes of an account that rest on one or on a password."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec

from protocol.errors import ErrorCode, MemoError
from protocol.identity import Provider
from storage.postgres import Connection

Purpose = Literal["verify", "reset", "delete"]

LIFETIME: dict[Purpose, timedelta] = {
    "verify": timedelta(days=1),
    "reset": timedelta(hours=1),
    "delete": timedelta(hours=1),
}
# Of each in its lifetime: whoever is sent no more has one that is good.
MAX_LINKS: dict[Purpose, int] = {"verify": 10, "reset": 5, "delete": 5}
_KEEP = timedelta(days=2)

_RECIPIENT = "SELECT id, email FROM users WHERE lower(email) = lower($1) AND is_active"
_RECENT = """
SELECT count(*) AS count,
       extract(epoch FROM now() - max(created_at) FILTER (WHERE lower(email) = lower($4)))::float8
           AS last
FROM email_tokens WHERE user_id = $1 AND purpose = $2 AND created_at > now() - $3::interval
"""
_ISSUE = """
INSERT INTO email_tokens (hash, user_id, purpose, email, expires_at)
SELECT $1, id, $3, $4, now() + $5::interval FROM users WHERE id = $2 AND is_active
RETURNING user_id
"""
_FORGET = "DELETE FROM email_tokens WHERE expires_at < now() - $1::interval"
_FIND = """
SELECT t.user_id, t.email, t.used_at IS NOT NULL AS used, u.email AS current, u.is_verified
FROM email_tokens AS t JOIN users AS u ON u.id = t.user_id
WHERE t.hash = $1 AND t.purpose = $2 AND t.expires_at > now() AND u.is_active
"""
_LOCK = "FOR UPDATE OF u, t"
_VERIFIED = "UPDATE users SET email = $2, is_verified = true, updated_at = now() WHERE id = $1"
_SET_HASH = "UPDATE users SET password_hash = $2, updated_at = now() WHERE id = $1"
_SPEND_ALL = """
UPDATE email_tokens SET used_at = now()
WHERE user_id = $1 AND purpose = ANY ($2::text[]) AND used_at IS NULL
"""
_UNASK = "DELETE FROM outgoing_mail WHERE user_id = $1 AND failed_at IS NULL"
_FORGET_PROVIDERS = "DELETE FROM identities WHERE user_id = $1 RETURNING provider"
_FORGET_CODES = "DELETE FROM recovery_codes WHERE user_id = $1"
_FORGET_FACTOR = "DELETE FROM two_factor WHERE user_id = $1 RETURNING confirmed_at"
_END_SESSIONS = """
UPDATE sessions SET ended_at = now(), ended_reason = $2
WHERE user_id = $1 AND ended_at IS NULL AND id IS DISTINCT FROM $3
RETURNING id
"""


class Recipient(msgspec.Struct, frozen=True):
    """An account that may be written to."""

    user_id: UUID
    email: str


class Removed(msgspec.Struct, frozen=True):
    """The ways in that went, because they were set before the account's address was proven:
    whether codes were asked for, and the providers."""

    two_factor: bool = False
    providers: Sequence[Provider] = ()


class Proven(msgspec.Struct, frozen=True):
    """What a followed link changed: nothing when it was followed before (`again`). `before` is
    the address that the account had."""

    user_id: UUID
    before: str
    again: bool
    removed: Removed = Removed()


class Changed(msgspec.Struct, frozen=True):
    """Whose password was changed, and the sessions that ended by it."""

    user_id: UUID
    email: str
    ended: Sequence[UUID]


class EmailTokens:
    """The table of tokens in links, named by their SHA-256."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def recipient(self, email: str) -> Recipient | None:
        """The active account with this address, in any case."""
        row = await self._pool.fetchrow(_RECIPIENT, email)
        return None if row is None else Recipient(row["id"], row["email"])

    async def recent(self, user_id: UUID, purpose: Purpose, email: str) -> tuple[int, float | None]:
        """How many tokens the account was given within the lifetime of one, and how many seconds
        ago the last one to this address was."""
        row = await self._pool.fetchrow(_RECENT, user_id, purpose, LIFETIME[purpose], email)
        assert row is not None  # an aggregate has one row
        return row["count"], row["last"]

    async def issue(self, token_hash: bytes, user_id: UUID, purpose: Purpose, email: str) -> bool:
        """Have a token prove `email` for the account. False when there is no such active one."""
        await self._pool.execute(_FORGET, _KEEP)
        issued = (token_hash, user_id, purpose, email, LIFETIME[purpose])
        return await self._pool.fetchval(_ISSUE, *issued) is not None

    async def verify(self, token_hash: bytes) -> Proven | None:
        """Make the token's address the account's, and a proven one. Of an account that had not
        proven any, other ways in than its password are taken away. None when the token is not
        good; one that was used is for as long as it is the account's address that it proved.

        Raises:
            MemoError: `conflict` when the address has become another account's meanwhile.
        """
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(f"{_FIND} {_LOCK}", token_hash, "verify")
                if row is None:
                    return None
                if row["used"]:
                    holds = row["is_verified"] and row["current"] == row["email"]
                    return Proven(row["user_id"], row["current"], again=True) if holds else None
                await connection.execute(_VERIFIED, row["user_id"], row["email"])
                # Links to other addresses that were asked for before are void.
                await connection.execute(_SPEND_ALL, row["user_id"], ["verify"])
                if row["current"].lower() != row["email"].lower():
                    # What was sent to the old address proves nothing any more.
                    await connection.execute(_SPEND_ALL, row["user_id"], ["reset"])
                removed = Removed()
                if not row["is_verified"]:
                    removed = await _forget_ways_in(connection, row["user_id"])
                return Proven(row["user_id"], row["current"], again=False, removed=removed)
        except asyncpg.UniqueViolationError:
            raise MemoError(
                ErrorCode.CONFLICT,
                "Another account has this e-mail address now.",
                details={"token": "its address belongs to another account"},
            ) from None

    async def resets(self, token_hash: bytes) -> bool:
        """Whether the token is good to set a password with."""
        row = await self._pool.fetchrow(_FIND, token_hash, "reset")
        return row is not None and _is_good(row)

    async def reset(self, token_hash: bytes, password_hash: str) -> Changed | None:
        """Set a password by a token, once, and end all sessions. The address is proven by that;
        other ways in, which were added before it was, are taken away. None when the token is not
        good."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(f"{_FIND} {_LOCK}", token_hash, "reset")
            if row is None or not _is_good(row):
                return None
            user_id = row["user_id"]
            await connection.execute(_VERIFIED, user_id, row["current"])
            await connection.execute(_SET_HASH, user_id, password_hash)
            if not row["is_verified"]:
                await _forget_ways_in(connection, user_id)
            await _void_links(connection, user_id)
            ended = await connection.fetch(_END_SESSIONS, user_id, "password reset", None)
            return Changed(user_id, row["current"], [session["id"] for session in ended])

    async def deletes(self, token_hash: bytes, user_id: UUID) -> bool:
        """Whether the token is good to delete the account with."""
        row = await self._pool.fetchrow(_FIND, token_hash, "delete")
        return row is not None and row["user_id"] == user_id and _is_good(row)

    async def change_password(
        self, user_id: UUID, password_hash: str, session_id: UUID
    ) -> Sequence[UUID]:
        """Set a password, and end all sessions but this one. Returns those that ended."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_SET_HASH, user_id, password_hash)
            await _void_links(connection, user_id)
            reason = "password changed"
            ended = await connection.fetch(_END_SESSIONS, user_id, reason, session_id)
            return [session["id"] for session in ended]

    async def password_hash(self, user_id: UUID) -> str | None:
        """What the account's password is checked against."""
        query = "SELECT password_hash FROM users WHERE id = $1"
        kept: str | None = await self._pool.fetchval(query, user_id)
        return kept


async def _forget_ways_in(connection: Connection, user_id: UUID) -> Removed:
    """Whoever made the account with somebody else's address may have left doors open."""
    providers = await connection.fetch(_FORGET_PROVIDERS, user_id)
    await connection.execute(_FORGET_CODES, user_id)
    confirmed = await connection.fetchval(_FORGET_FACTOR, user_id)
    return Removed(confirmed is not None, [row["provider"] for row in providers])


async def _void_links(connection: Connection, user_id: UUID) -> None:
    """Have no link do anything that was asked for before: somebody who is locked out now may have
    asked for one to another address."""
    await connection.execute(_SPEND_ALL, user_id, ["reset", "verify"])
    await connection.execute(_UNASK, user_id)


def _is_good(row: asyncpg.Record) -> bool:
    # A link sent to an address that is no longer the account's is in somebody else's hands.
    return not row["used"] and bool(row["current"].lower() == row["email"].lower())
