"""Outgoing mail: messages that are on their way, kept where they survive a restart."""

from datetime import timedelta
from uuid import UUID

import asyncpg
import msgspec

from protocol.errors import ErrorCode, MemoError

MAX_PENDING = 10_000  # messages that wait; then further ones are refused
KEEP_FAILED = timedelta(days=30)

_ADD = """
INSERT INTO outgoing_mail (kind, recipient, content, user_id)
SELECT $1, $2, $3, $5
WHERE $4 > (
    SELECT count(*) FROM (SELECT FROM outgoing_mail WHERE failed_at IS NULL LIMIT $4) AS waiting
)
"""
# Whoever claims a message has it for the time of the lease. Of a sender that dies meanwhile it is
# taken over then.
_CLAIM = """
UPDATE outgoing_mail SET attempts = attempts + 1, next_attempt_at = now() + $1::interval
WHERE id = (
    SELECT id FROM outgoing_mail WHERE failed_at IS NULL AND next_attempt_at <= now()
    ORDER BY next_attempt_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id, kind, recipient, content, user_id, attempts
"""
_AGAIN = "UPDATE outgoing_mail SET next_attempt_at = now() + $2::interval, error = $3 WHERE id = $1"
_FAILED = "UPDATE outgoing_mail SET failed_at = now(), content = NULL, error = $2 WHERE id = $1"
_FORGET = "DELETE FROM outgoing_mail WHERE failed_at < now() - $1::interval"


class Outgoing(msgspec.Struct, frozen=True):
    """A message to send: what kind it is, to whom, what its text is made of (sealed), who asked
    for it, and which attempt this is, from 1."""

    id: int
    kind: str
    recipient: str
    content: bytes
    user_id: UUID | None
    attempts: int


class OutgoingMail:
    """The table of messages on their way."""

    def __init__(self, pool: asyncpg.Pool, max_pending: int = MAX_PENDING) -> None:
        self._pool = pool
        self._max_pending = max_pending

    async def add(
        self, kind: str, recipient: str, content: bytes, user_id: UUID | None = None
    ) -> None:
        """Keep a message to be sent. It goes with the account of `user_id`.

        Raises:
            MemoError: `busy` when too many wait already.
        """
        message = (kind, recipient, content, self._max_pending, user_id)
        status = await self._pool.execute(_ADD, *message)
        if status != "INSERT 0 1":
            raise MemoError(
                ErrorCode.BUSY, "Too much mail waits to be sent; try again later.", retry_after=60
            )

    async def claim(self, lease: timedelta) -> Outgoing | None:
        """The message that has been due longest, which nobody else gets within `lease`."""
        row = await self._pool.fetchrow(_CLAIM, lease)
        return None if row is None else Outgoing(**row)

    async def sent(self, mail_id: int) -> None:
        """Forget a message that is sent."""
        await self._pool.execute("DELETE FROM outgoing_mail WHERE id = $1", mail_id)

    async def postpone(self, mail_id: int, pause: timedelta, error: str) -> None:
        """Have a message claimed again after `pause`."""
        await self._pool.execute(_AGAIN, mail_id, pause, error)

    async def fail(self, mail_id: int, error: str) -> None:
        """Give a message up. What it said is forgotten; that it failed is kept for a month."""
        await self._pool.execute(_FAILED, mail_id, error)
        await self._pool.execute(_FORGET, KEEP_FAILED)
