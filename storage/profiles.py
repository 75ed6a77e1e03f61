"""What an account tells of itself."""

from collections.abc import Mapping
from uuid import UUID

import asyncpg

from protocol.errors import ErrorCode, MemoError

_COLUMNS = frozenset(
    {
        "first_name",
        "last_name",
        "username",
        "avatar_url",
        "phone_number",
        "timezone",
        "language",
        "theme_preference",
    }
)


class Profiles:
    """The columns of `users` that are their owner's to change."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def update(self, user_id: UUID, fields: Mapping[str, str | None]) -> bool:
        """Set these columns. Whether that changed anything.

        Raises:
            MemoError: `conflict`, its details naming `username`.
        """
        assert fields.keys() <= _COLUMNS
        if not fields:
            return False
        columns = [f"{name} = ${number}" for number, name in enumerate(fields, 2)]
        differs = [f"{name} IS DISTINCT FROM ${number}" for number, name in enumerate(fields, 2)]
        query = (
            f"UPDATE users SET {', '.join(columns)}, updated_at = now()"
            f" WHERE id = $1 AND ({' OR '.join(differs)}) RETURNING id"
        )
        try:
            return await self._pool.fetchval(query, user_id, *fields.values()) is not None
        except asyncpg.UniqueViolationError:
            raise MemoError(
                ErrorCode.CONFLICT, details={"username": "is taken; choose another one"}
            ) from None

    async def owns_file(self, user_id: UUID, file_id: UUID) -> bool:
        """Whether the file is there, and the account's."""
        query = "SELECT EXISTS (SELECT FROM files WHERE id = $1 AND user_id = $2)"
        owns: bool = await self._pool.fetchval(query, file_id, user_id)
        return owns
