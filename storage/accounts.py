"""Accounts and their sessions: users, signed-in devices, refresh tokens."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum
from uuid import UUID

import asyncpg
import msgspec

from protocol.accounts import User
from protocol.errors import ErrorCode, MemoError
from protocol.records import timestamp
from storage.postgres import Connection

REFRESH_LIFETIME = timedelta(days=7)
REMEMBERED_LIFETIME = timedelta(days=30)

# A session that has run out is kept while a document token made in it may still be in use.
_KEEP_EXPIRED = timedelta(days=31)

# How exact `last_active_at` is, so that not every authentication writes a row.
_ACTIVITY_STEP = timedelta(minutes=5)

DEFAULT_CATEGORIES = (
    ("Work", "briefcase", "#3B82F6"),
    ("Personal", "user", "#8B5CF6"),
    ("Family", "home", "#EC4899"),
    ("Learning", "book-open", "#F59E0B"),
    ("Travel", "plane", "#06B6D4"),
    ("Health", "heart", "#EF4444"),
    ("Finance", "wallet", "#10B981"),
    ("Creative", "palette", "#F97316"),
)

_USER = """
id, email, username, first_name, last_name, avatar_url, phone_number, timezone, language,
theme_preference, role, is_verified, is_active, last_login_at, created_at, updated_at
"""
_CREATE = f"""
WITH created AS (
    INSERT INTO users (email, username, password_hash, first_name, last_name, role)
    VALUES ($1, $2, $3, $4, $5, $6) RETURNING *
), categorized AS (
    INSERT INTO memory_categories (user_id, name, icon, color, is_default, sort_order)
    SELECT created.id, name, icon, color, true, sort_order
    FROM created, unnest($7::text[], $8::text[], $9::text[])
        WITH ORDINALITY AS category (name, icon, color, sort_order)
)
SELECT {_USER} FROM created
"""
_CREDENTIALS = "SELECT id, password_hash FROM users WHERE lower(email) = lower($1)"
_REPLACE_HASH = """
UPDATE users SET password_hash = $3, updated_at = now() WHERE id = $1 AND password_hash = $2
"""
# Updating the account's row makes this wait for, or be seen by, whoever disables the account.
_SIGN_IN = f"""
WITH account AS (
    UPDATE users SET last_login_at = now() WHERE id = $1 AND is_active RETURNING *
), forgotten AS (
    DELETE FROM sessions WHERE user_id = $1 AND expires_at < now() - $5::interval
), started AS (
    INSERT INTO sessions (user_id, user_agent, address, lifetime, expires_at)
    SELECT id, $3, $4, $6, now() + $6 FROM account RETURNING id
), issued AS (
    INSERT INTO refresh_tokens (hash, session_id) SELECT $2, id FROM started
)
SELECT started.id AS session_id, {", ".join(f"account.{name.strip()}" for name in _USER.split(","))}
FROM account, started
"""
_LOCK_SESSION = """
SELECT s.id, s.lifetime, s.ended_at IS NOT NULL OR s.expires_at <= now() AS over, u.is_active
FROM sessions AS s JOIN users AS u ON u.id = s.user_id
WHERE s.id = (SELECT session_id FROM refresh_tokens WHERE hash = $1)
FOR NO KEY UPDATE OF s
"""
_SPEND = "UPDATE refresh_tokens SET used_at = now() WHERE hash = $1 AND used_at IS NULL"
_ISSUE = "INSERT INTO refresh_tokens (hash, session_id) VALUES ($1, $2)"
_FORGET_TOKENS = """
DELETE FROM refresh_tokens WHERE session_id = $1 AND created_at < now() - $2::interval
"""
_EXTEND = f"""
WITH extended AS (
    UPDATE sessions SET last_active_at = now(), expires_at = now() + lifetime WHERE id = $1
    RETURNING user_id
)
SELECT {_USER} FROM users WHERE id = (SELECT user_id FROM extended)
"""
_END = """
UPDATE sessions SET ended_at = now(), ended_reason = $2 WHERE id = $1 AND ended_at IS NULL
RETURNING id
"""
_END_ALL = """
UPDATE sessions SET ended_at = now(), ended_reason = $2 WHERE user_id = $1 AND ended_at IS NULL
RETURNING id
"""
_STANDING = """
WITH seen AS (
    UPDATE sessions SET last_active_at = now()
    WHERE id = $1 AND ended_at IS NULL AND last_active_at < now() - $2::interval
)
SELECT s.user_id, s.ended_at IS NOT NULL AS ended, s.expires_at <= now() AS expired, u.is_active,
    u.role
FROM sessions AS s JOIN users AS u ON u.id = s.user_id WHERE s.id = $1
"""
_ENDED = """
SELECT given.id FROM unnest($1::uuid[]) AS given (id)
LEFT JOIN sessions AS s ON s.id = given.id LEFT JOIN users AS u ON u.id = s.user_id
WHERE s.id IS NULL OR s.ended_at IS NOT NULL OR NOT u.is_active
"""
_FAMILIAR = """
SELECT EXISTS (
    SELECT FROM sessions AS s JOIN users AS u ON u.id = s.user_id
    WHERE lower(u.email) = lower($1) AND s.address = $2
)
"""


class Credentials(msgspec.Struct, frozen=True):
    """What a sign-in is checked against. Without a hash there is no password to sign in with."""

    user_id: UUID
    password_hash: str | None


class Standing(msgspec.Struct, frozen=True):
    """Whether a session still speaks for its account.

    `ended`: by someone or something. `expired`: not refreshed in time.
    """

    user_id: UUID
    ended: bool
    expired: bool
    is_active: bool
    role: str


class Rotated(Enum):
    """What became of a refresh token that was handed in."""

    FRESH = "fresh"  # spent; its successor is in force
    UNKNOWN = "unknown"
    OVER = "over"  # its session had ended or run out
    DISABLED = "disabled"  # the account is
    REUSED = "reused"  # it was spent before, so the session has been ended


class Rotation(msgspec.Struct, frozen=True):
    """`session_id` and `user` are there with `FRESH`, `session_id` also with `REUSED`."""

    outcome: Rotated
    session_id: UUID | None = None
    user: User | None = None


class Accounts:
    """Users, sessions and refresh tokens in PostgreSQL. Of a refresh token it knows the hash."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def create(
        self,
        *,
        email: str,
        password_hash: str | None,
        first_name: str | None = None,
        last_name: str | None = None,
        username: str | None = None,
        role: str = "user",
        connection: Connection | None = None,
    ) -> User:
        """A new account with the default categories, made over `connection` where one is given.

        Raises:
            MemoError: `conflict`, its details naming `email` or `username`.
        """
        names, icons, colors = zip(*DEFAULT_CATEGORIES, strict=True)
        try:
            account = (email, username, password_hash, first_name, last_name, role)
            execute = connection or self._pool
            row = await execute.fetchrow(_CREATE, *account, names, icons, colors)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == "users_email":
                taken = {"email": "there is an account with this address; sign in instead"}
            else:
                taken = {"username": "is taken; choose another one"}
            raise MemoError(ErrorCode.CONFLICT, details=taken) from None
        assert row is not None  # an INSERT either returns its row or raises
        return _read_user(row)

    async def credentials(self, email: str) -> Credentials | None:
        """What a sign-in with this address (in any case) is checked against."""
        row = await self._pool.fetchrow(_CREDENTIALS, email)
        return None if row is None else Credentials(row["id"], row["password_hash"])

    async def replace_password_hash(self, user_id: UUID, old: str, new: str) -> None:
        """Keep `new`, unless the password was changed since `old` was read."""
        await self._pool.execute(_REPLACE_HASH, user_id, old, new)

    async def user(self, user_id: UUID) -> User | None:
        """The account as its owner sees it."""
        return await read_account(self._pool, user_id)

    async def existing(self, user_id: UUID) -> User:
        """The same, of an account that there has to be.

        Raises:
            MemoError: `not_found`: it has been deleted.
        """
        user = await self.user(user_id)
        if user is None:
            raise MemoError(ErrorCode.NOT_FOUND, "The account no longer exists.")
        return user

    async def users(self, limit: int) -> Sequence[User]:
        """At most `limit` accounts, oldest first."""
        query = f"SELECT {_USER} FROM users ORDER BY created_at, id LIMIT $1"
        return [_read_user(row) for row in await self._pool.fetch(query, limit)]

    async def users_of(self, user_ids: Sequence[UUID]) -> Sequence[User]:
        """The accounts with these ids that there are, in the same order."""
        query = f"""
            SELECT {_USER} FROM unnest($1::uuid[]) WITH ORDINALITY AS given (id, number)
            JOIN users USING (id) ORDER BY number
        """
        return [_read_user(row) for row in await self._pool.fetch(query, list(user_ids))]

    async def sign_in(
        self,
        user_id: UUID,
        refresh_hash: bytes,
        *,
        address: str | None,
        user_agent: str | None,
        lifetime: timedelta = REFRESH_LIFETIME,
    ) -> tuple[UUID, User] | None:
        """A new session and its account, or None when the account is disabled.

        `refresh_hash` is the SHA-256 of the session's first refresh token. Each refresh has the
        session last for `lifetime` from then on.
        """
        row = await self._pool.fetchrow(
            _SIGN_IN,
            user_id,
            refresh_hash,
            user_agent,
            address,
            _KEEP_EXPIRED,
            lifetime,
        )
        return None if row is None else (row["session_id"], _read_user(row))

    async def rotate(self, spent: bytes, fresh: bytes) -> Rotation:
        """Trade a refresh token for its successor; both are named by their SHA-256.

        The session's row lock puts everyone who comes with a token of this session in line, so
        of two who come with the same one, the second finds it spent.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            session = await connection.fetchrow(_LOCK_SESSION, spent)
            if session is None:
                return Rotation(Rotated.UNKNOWN)
            if not session["is_active"]:
                return Rotation(Rotated.DISABLED)
            if session["over"]:
                return Rotation(Rotated.OVER)
            session_id = session["id"]
            if await connection.execute(_SPEND, spent) != "UPDATE 1":
                await connection.execute(_END, session_id, "refresh token reused")
                return Rotation(Rotated.REUSED, session_id)
            await connection.execute(_FORGET_TOKENS, session_id, session["lifetime"])
            await connection.execute(_ISSUE, fresh, session_id)
            row = await connection.fetchrow(_EXTEND, session_id)
            assert row is not None  # locked above, and users go together with their sessions
            return Rotation(Rotated.FRESH, session_id, _read_user(row))

    async def session_of(self, refresh_hash: bytes) -> UUID | None:
        """The session whose refresh token, spent or not, has this hash."""
        query = "SELECT session_id FROM refresh_tokens WHERE hash = $1"
        session_id: UUID | None = await self._pool.fetchval(query, refresh_hash)
        return session_id

    async def end_session(self, session_id: UUID, reason: str) -> bool:
        """End a session. False when there is none, or it had ended before."""
        return await self._pool.fetchval(_END, session_id, reason) is not None

    async def standing(self, session_id: UUID) -> Standing | None:
        """Whether the session still speaks for its account; notes that it is in use."""
        row = await self._pool.fetchrow(_STANDING, session_id, _ACTIVITY_STEP)
        if row is None:
            return None
        return Standing(**row)

    async def ended(self, session_ids: Sequence[UUID]) -> Sequence[UUID]:
        """Those of the sessions that speak for nobody any more."""
        rows = await self._pool.fetch(_ENDED, list(session_ids))
        return [row["id"] for row in rows]

    async def roles(self, user_ids: Sequence[UUID]) -> Mapping[UUID, str]:
        """The role that each of the accounts has now."""
        query = "SELECT id, role FROM users WHERE id = ANY ($1::uuid[])"
        return {row["id"]: row["role"] for row in await self._pool.fetch(query, list(user_ids))}

    async def familiar(self, email: str, address: str) -> bool:
        """Whether the account has signed in from this address, as far back as is kept."""
        known: bool = await self._pool.fetchval(_FAMILIAR, email, address)
        return known

    async def set_active(self, email: str, active: bool) -> tuple[User, Sequence[UUID]] | None:
        """Enable or disable an account; disabling ends its sessions, whose ids are returned."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
                "UPDATE users SET is_active = $2, updated_at = now()"
                f" WHERE lower(email) = lower($1) RETURNING {_USER}",
                email,
                active,
            )
            if row is None:
                return None
            if active:
                return _read_user(row), []
            ended = await connection.fetch(_END_ALL, row["id"], "account disabled")
            return _read_user(row), [session["id"] for session in ended]

    async def set_role(self, email: str, role: str) -> User | None:
        """Give an account another role."""
        row = await self._pool.fetchrow(
            "UPDATE users SET role = $2, updated_at = now()"
            f" WHERE lower(email) = lower($1) RETURNING {_USER}",
            email,
            role,
        )
        return None if row is None else _read_user(row)


async def read_account(connection: Connection | asyncpg.Pool, user_id: UUID) -> User | None:
    """The account as its owner sees it."""
    row = await connection.fetchrow(f"SELECT {_USER} FROM users WHERE id = $1", user_id)
    return None if row is None else _read_user(row)


def _read_user(row: asyncpg.Record) -> User:
    last_login = row["last_login_at"]
    return User(
        id=row["id"],
        email=row["email"],
        username=row["username"],
        first_name=row["first_name"],
        last_name=row["last_name"],
        avatar_url=row["avatar_url"],
        phone_number=row["phone_number"],
        timezone=row["timezone"],
        language=row["language"],
        theme_preference=row["theme_preference"],
        role=row["role"],
        is_verified=row["is_verified"],
        is_active=row["is_active"],
        last_login_at=last_login and timestamp(last_login),
        created_at=timestamp(row["created_at"]),
        updated_at=timestamp(row["updated_at"]),
    )
