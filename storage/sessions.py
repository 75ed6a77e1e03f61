"""An account's sessions, as its owner sees and ends them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

SHOWN = 200  # sessions at most, the ones used last

_LIVE = "ended_at IS NULL AND expires_at > now()"
_OF = f"""
SELECT id, user_agent, address, created_at, last_active_at, expires_at FROM sessions
WHERE user_id = $1 AND {_LIVE} ORDER BY last_active_at DESC, id LIMIT $2
"""
_END_ONE = """
WITH found AS (SELECT id FROM sessions WHERE id = $2 AND user_id = $1), ended AS (
    UPDATE sessions SET ended_at = now(), ended_reason = $3
    WHERE id = (SELECT id FROM found) AND ended_at IS NULL
)
SELECT id FROM found
"""
_END_OTHERS = """
UPDATE sessions SET ended_at = now(), ended_reason = $3
WHERE user_id = $1 AND id <> $2 AND ended_at IS NULL RETURNING id
"""
_REASON = "signed out from another device"


class SessionRow(msgspec.Struct, frozen=True):
    """One signed-in device."""

    id: UUID
    user_agent: str | None
    address: str | None
    created_at: datetime
    last_active_at: datetime
    expires_at: datetime


class SessionRows:
    """The table of sessions."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def of(self, user_id: UUID) -> Sequence[SessionRow]:
        """The account's sessions that live, the one used last first."""
        return [SessionRow(**row) for row in await self._pool.fetch(_OF, user_id, SHOWN)]

    async def end(self, user_id: UUID, session_id: UUID) -> bool:
        """End one session of the account. False when it has none with this id; again is
        harmless."""
        return await self._pool.fetchval(_END_ONE, user_id, session_id, _REASON) is not None

    async def end_others(self, user_id: UUID, kept: UUID) -> Sequence[UUID]:
        """End all sessions of the account but one; returns those that ended now."""
        rows = await self._pool.fetch(_END_OTHERS, user_id, kept, _REASON)
        return [row["id"] for row in rows]
