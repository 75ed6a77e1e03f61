"""All accounts of an installation, and how much there is on it."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec

_MATCHES = """
$1::text IS NULL OR email ILIKE $1 OR username ILIKE $1
    OR concat_ws(' ', first_name, last_name) ILIKE $1
"""
_PAGE = f"SELECT id FROM users WHERE {_MATCHES} ORDER BY created_at DESC, id LIMIT $2 OFFSET $3"
_COUNT = f"SELECT count(*) FROM users WHERE {_MATCHES}"
_SET_ROLE = """
WITH changed AS (
    UPDATE users SET role = $2, updated_at = now() WHERE id = $1 AND role <> $2
)
SELECT EXISTS (SELECT FROM users WHERE id = $1)
"""
_SET_ACTIVE = """
WITH changed AS (
    UPDATE users SET is_active = $2, updated_at = now() WHERE id = $1 AND is_active <> $2
)
SELECT EXISTS (SELECT FROM users WHERE id = $1)
"""
_END_ALL = """
UPDATE sessions SET ended_at = now(), ended_reason = 'account disabled'
WHERE user_id = $1 AND ended_at IS NULL RETURNING id
"""
# Every edit that a document was given has its number in `head`, so nobody counts the log. Of
# many messages the planner's estimate will do.
_STATS = """
SELECT
    (SELECT count(*) FROM users) AS users,
    (SELECT count(*) FROM users WHERE NOT is_active) AS disabled_users,
    (SELECT count(*) FROM sessions WHERE ended_at IS NULL AND expires_at > now())
        AS active_sessions,
    (SELECT count(*) FROM documents WHERE deleted_at IS NULL) AS memories,
    (SELECT coalesce(sum(head), 0)::bigint FROM documents WHERE deleted_at IS NULL) AS updates,
    CASE WHEN (SELECT reltuples FROM pg_class WHERE oid = 'messages'::regclass) > 100000
        THEN (SELECT reltuples::bigint FROM pg_class WHERE oid = 'messages'::regclass)
        ELSE (SELECT count(*) FROM messages WHERE deleted_at IS NULL) END AS messages,
    (SELECT count(*) FROM files) AS files,
    (SELECT coalesce(sum(file_size), 0)::bigint FROM (
        SELECT DISTINCT user_id, sha256, file_size FROM files
    ) AS kept) AS file_bytes,
    pg_database_size(current_database()) AS database_bytes
"""


class Counts(msgspec.Struct, frozen=True):
    """How much there is. Sizes are in bytes."""

    users: int
    disabled_users: int
    active_sessions: int
    memories: int
    updates: int
    messages: int
    files: int
    file_bytes: int
    database_bytes: int


class Installation:
    """What an admin sees and changes."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def page(self, search: str | None, page: int, limit: int) -> tuple[Sequence[UUID], int]:
        """One page of the accounts that match, newest first, and how many match in all."""
        pattern = None
        if search is not None:
            # PostgreSQL keeps no NUL, so nothing has one.
            plain = search.replace("\x00", "\ufffd").replace("\\", r"\\")
            pattern = "%" + plain.replace("%", r"\%").replace("_", r"\_") + "%"
        rows = await self._pool.fetch(_PAGE, pattern, limit, (page - 1) * limit)
        total: int = await self._pool.fetchval(_COUNT, pattern)
        return [row["id"] for row in rows], total

    async def set_role(self, user_id: UUID, role: str) -> bool:
        """Give an account another role. False when there is none; again is harmless."""
        found: bool = await self._pool.fetchval(_SET_ROLE, user_id, role)
        return found

    async def set_active(self, user_id: UUID, active: bool) -> Sequence[UUID] | None:
        """Enable or disable an account; disabling ends its sessions, whose ids are returned.
        None when there is none."""
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(_SET_ACTIVE, user_id, active):
                return None
            ended = [] if active else await connection.fetch(_END_ALL, user_id)
            return [row["id"] for row in ended]

    async def counts(self) -> Counts:
        """How much there is now."""
        row = await self._pool.fetchrow(_STATS)
        assert row is not None  # it has one row whatever there is
        return Counts(**row)
