"""Guesses: how often an account's password or code was tried of late."""

from datetime import timedelta
from typing import Literal
from uuid import UUID

import asyncpg

from protocol.errors import ErrorCode, MemoError

MAX_GUESSES = 5
WINDOW = timedelta(minutes=15)

What = Literal["password", "code"]

_COUNT = """
INSERT INTO guesses AS g (user_id, what, count, since) VALUES ($1, $2, 1, now())
ON CONFLICT (user_id, what) DO UPDATE SET
    count = CASE WHEN g.since <= now() - $3::interval THEN 1 ELSE least(g.count + 1, 1000) END,
    since = CASE WHEN g.since <= now() - $3::interval THEN now() ELSE g.since END
RETURNING count, extract(epoch FROM since + $3::interval - now())::float8 AS left
"""


class Guesses:
    """Counts guesses in the database: over nodes and restarts."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def count(self, user_id: UUID, what: What) -> None:
        """Count one more guess, before it is looked at: of many at once only a few are.

        Raises:
            MemoError: `rate_limited` when there were too many wrong ones in a quarter of an hour.
        """
        row = await self._pool.fetchrow(_COUNT, user_id, what, WINDOW)
        assert row is not None  # an upsert returns its row
        if row["count"] > MAX_GUESSES:
            raise MemoError(
                ErrorCode.RATE_LIMITED,
                f"The {what} was wrong too often; wait before you try again.",
                retry_after=max(1.0, row["left"]),
            )

    async def right(self, user_id: UUID, what: What) -> None:
        """Forget the wrong guesses: the last one was right."""
        await self._pool.execute(
            "DELETE FROM guesses WHERE user_id = $1 AND what = $2", user_id, what
        )
