"""Identities: who OpenID providers say somebody is, and the sign-ins with them that were begun."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
import msgspec

from protocol.accounts import User
from protocol.errors import ErrorCode, MemoError
from protocol.identity import Identity
from protocol.records import timestamp
from storage.accounts import Accounts
from storage.postgres import Connection

ATTEMPT_LIFETIME = timedelta(minutes=10)

_SPEND = """
UPDATE oauth_attempts SET spent_at = now()
WHERE hash = $1 AND provider = $2 AND spent_at IS NULL AND created_at > now() - $3::interval
RETURNING redirect_uri
"""
_WAITING = """
SELECT redirect_uri, user_id, is_new FROM oauth_attempts
WHERE hash = $1 AND provider = $2 AND user_id IS NOT NULL AND created_at > now() - $3::interval
"""
_REDIRECT_URI = """
SELECT redirect_uri FROM oauth_attempts
WHERE hash = $1 AND provider = $2 AND spent_at IS NULL AND created_at > now() - $3::interval
"""
_USE = """
UPDATE identities SET last_used_at = now(), email = coalesce($3, email)
WHERE provider = $1 AND subject = $2
RETURNING user_id
"""
_INSERT = """
INSERT INTO identities (provider, subject, user_id, email, last_used_at)
VALUES ($1, $2, $3, $4, now())
"""
_OF = """
SELECT provider, email, created_at, last_used_at FROM identities WHERE user_id = $1
ORDER BY created_at, provider
"""
_LOCK_EMAIL = "SELECT pg_advisory_xact_lock(hashtextextended('identity ' || lower($1), 0))"
_LOCK_ACCOUNT = (
    "SELECT password_hash IS NOT NULL AS has_password FROM users WHERE id = $1 FOR UPDATE"
)


class Claimed(msgspec.Struct, frozen=True):
    """Who a provider says somebody is. `email` is there when the provider has verified it."""

    provider: str
    subject: str
    email: str | None
    first_name: str | None = None
    last_name: str | None = None


class Attempt(msgspec.Struct, frozen=True):
    """A sign-in that was begun. With `user_id` the provider has said who it is."""

    redirect_uri: str
    user_id: UUID | None = None
    is_new: bool = False


class Recognized(msgspec.Struct, frozen=True):
    """The account of an identity: whether it was made, or linked, just now."""

    user_id: UUID
    is_new: bool = False
    is_linked: bool = False


class Attempts:
    """Sign-ins with a provider that were begun, named by the SHA-256 of their state."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, state_hash: bytes, provider: str, redirect_uri: str) -> None:
        """Keep a sign-in for ten minutes."""
        await self._pool.execute(
            "DELETE FROM oauth_attempts WHERE created_at < now() - $1::interval", ATTEMPT_LIFETIME
        )
        await self._pool.execute(
            "INSERT INTO oauth_attempts (hash, provider, redirect_uri) VALUES ($1, $2, $3)",
            state_hash,
            provider,
            redirect_uri,
        )

    async def redirect_uri(self, state_hash: bytes, provider: str) -> str | None:
        """Where the app waits for the provider's answer to a sign-in that is under way."""
        uri: str | None = await self._pool.fetchval(
            _REDIRECT_URI, state_hash, provider, ATTEMPT_LIFETIME
        )
        return uri

    async def spend(self, state_hash: bytes, provider: str) -> Attempt | None:
        """Take a sign-in, once; or again while its account's second factor is asked for."""
        known = (state_hash, provider, ATTEMPT_LIFETIME)
        uri = await self._pool.fetchval(_SPEND, *known)
        if uri is not None:
            return Attempt(uri)
        row = await self._pool.fetchrow(_WAITING, *known)
        if row is None:
            return None
        return Attempt(row["redirect_uri"], row["user_id"], row["is_new"])

    async def reopen(self, state_hash: bytes) -> None:
        """Have a sign-in be as before it was taken: it came to nothing."""
        query = "UPDATE oauth_attempts SET spent_at = NULL WHERE hash = $1 AND user_id IS NULL"
        await self._pool.execute(query, state_hash)

    async def recognized(self, state_hash: bytes, user_id: UUID, is_new: bool) -> None:
        """Keep who it is, until the second factor is right or the time is over."""
        query = "UPDATE oauth_attempts SET user_id = $2, is_new = $3 WHERE hash = $1"
        await self._pool.execute(query, state_hash, user_id, is_new)

    async def end(self, state_hash: bytes) -> None:
        """Forget a sign-in."""
        await self._pool.execute("DELETE FROM oauth_attempts WHERE hash = $1", state_hash)


class Identities:
    """The table of identities. `accounts` makes an account for somebody new."""

    def __init__(self, pool: asyncpg.Pool, accounts: Accounts) -> None:
        self._pool = pool
        self._accounts = accounts

    async def recognize(self, claimed: Claimed) -> Recognized:
        """The account of an identity. A new one is linked to the account that has its address, if
        that account has proven the address too; where there is none, an account is made.

        Raises:
            MemoError: `conflict` when an account that has not proven the address has it, or is
                linked to another identity of this provider; `forbidden` when somebody new has no
                address that the provider has verified.
        """
        known = (claimed.provider, claimed.subject)
        user_id = await self._pool.fetchval(_USE, *known, claimed.email)
        if user_id is not None:
            return Recognized(user_id)
        if claimed.email is None:
            raise MemoError(
                ErrorCode.FORBIDDEN,
                "The provider has not verified your e-mail address; verify it there first.",
            )
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                # Of first sign-ins with an address at once, one is the first.
                await connection.execute(_LOCK_EMAIL, claimed.email)
                user_id = await connection.fetchval(_USE, *known, claimed.email)
                if user_id is not None:
                    return Recognized(user_id)
                return await self._welcome(connection, claimed, claimed.email)
        except asyncpg.UniqueViolationError:
            raise _other_identity() from None

    async def _welcome(self, connection: Connection, claimed: Claimed, email: str) -> Recognized:
        row = await connection.fetchrow(
            "SELECT id, is_verified FROM users WHERE lower(email) = lower($1) FOR UPDATE", email
        )
        if row is None:
            user = await self._make(connection, claimed, email)
            user_id = user.id
        elif row["is_verified"]:
            user_id = row["id"]
        else:
            raise MemoError(
                ErrorCode.CONFLICT,
                "An account has this e-mail address and has not proven it; set a new password for"
                " it by a link and start again, or sign in with its password and link this.",
                details={"email": "has an account that has not proven it"},
            )
        await connection.execute(_INSERT, claimed.provider, claimed.subject, user_id, email)
        return Recognized(user_id, is_new=row is None, is_linked=row is not None)

    async def _make(self, connection: Connection, claimed: Claimed, email: str) -> User:
        user = await self._accounts.create(
            email=email,
            password_hash=None,
            first_name=claimed.first_name,
            last_name=claimed.last_name,
            connection=connection,
        )
        await connection.execute("UPDATE users SET is_verified = true WHERE id = $1", user.id)
        return user

    async def link(self, user_id: UUID, claimed: Claimed) -> bool:
        """Make an identity one of the account's. False when it was before.

        Raises:
            MemoError: `conflict` when it is another account's, or the account has another one of
                this provider.
        """
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                owner = await connection.fetchval(
                    "SELECT user_id FROM identities WHERE provider = $1 AND subject = $2",
                    claimed.provider,
                    claimed.subject,
                )
                if owner == user_id:
                    return False
                if owner is not None:
                    raise MemoError(
                        ErrorCode.CONFLICT,
                        "Another account signs in this way; unlink it there first.",
                        details={"provider": "is linked to another account"},
                    )
                new = (claimed.provider, claimed.subject, user_id, claimed.email)
                await connection.execute(_INSERT, *new)
                return True
        except asyncpg.UniqueViolationError:
            raise _other_identity() from None

    async def unlink(self, user_id: UUID, provider: str) -> bool:
        """Take the account's identity at a provider away. False when there was none.

        Raises:
            MemoError: `conflict` when it is the last way in.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            # Of two that unlink at once, the second finds what the first one left.
            has_password = await connection.fetchval(_LOCK_ACCOUNT, user_id)
            linked = [row["provider"] for row in await connection.fetch(_OF, user_id)]
            if provider not in linked:
                return False
            if not has_password and len(linked) == 1:
                raise MemoError(
                    ErrorCode.CONFLICT,
                    "This is the only way into the account; set a password first.",
                    details={"provider": "is the last way in"},
                )
            query = "DELETE FROM identities WHERE user_id = $1 AND provider = $2"
            await connection.execute(query, user_id, provider)
            return True

    async def of(self, user_id: UUID) -> Sequence[Identity]:
        """The account's identities, oldest first."""
        return [
            Identity(
                provider=row["provider"],
                email=row["email"],
                created_at=timestamp(row["created_at"]),
                last_used_at=row["last_used_at"] and timestamp(row["last_used_at"]),
            )
            for row in await self._pool.fetch(_OF, user_id)
        ]


def _other_identity() -> MemoError:
    return MemoError(
        ErrorCode.CONFLICT,
        "The account is linked to another identity of this provider; unlink that one first.",
        details={"provider": "is linked to another identity"},
    )
