"""Second factors: the secret that an account's codes are made with, and its recovery codes."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec

# A secret that was confirmed is not replaced by one that was not.
_PROPOSE = """
INSERT INTO two_factor AS t (user_id, secret) VALUES ($1, $2)
ON CONFLICT (user_id) DO UPDATE SET secret = $2, last_step = 0, created_at = now()
WHERE t.confirmed_at IS NULL
RETURNING user_id
"""
_CONFIRM = """
UPDATE two_factor SET confirmed_at = now(), last_step = $3
WHERE user_id = $1 AND secret = $2 AND confirmed_at IS NULL
RETURNING user_id
"""
_USE_STEP = """
UPDATE two_factor SET last_step = $2 WHERE user_id = $1 AND last_step < $2 RETURNING user_id
"""
_USE_RECOVERY_CODE = """
UPDATE recovery_codes SET used_at = now() WHERE user_id = $1 AND hash = $2 AND used_at IS NULL
RETURNING user_id
"""


class SecondFactor(msgspec.Struct, frozen=True):
    """An account's secret, sealed. It is asked for once it is `confirmed`."""

    secret: bytes
    confirmed: bool


class SecondFactors:
    """The tables of second factors."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def of(self, user_id: UUID) -> SecondFactor | None:
        """The account's second factor, confirmed or not."""
        query = "SELECT secret, confirmed_at FROM two_factor WHERE user_id = $1"
        row = await self._pool.fetchrow(query, user_id)
        if row is None:
            return None
        return SecondFactor(row["secret"], confirmed=row["confirmed_at"] is not None)

    async def propose(self, user_id: UUID, secret: bytes) -> bool:
        """Keep a secret to be confirmed. False when one is confirmed already."""
        return await self._pool.fetchval(_PROPOSE, user_id, secret) is not None

    async def confirm(
        self, user_id: UUID, secret: bytes, step: int, recovery: Sequence[bytes]
    ) -> bool:
        """Have this very secret asked for from now on, its code of `step` being used, with these
        hashes of recovery codes. False when it is no longer the one to confirm."""
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(_CONFIRM, user_id, secret, step) is None:
                return False
            await connection.execute("DELETE FROM recovery_codes WHERE user_id = $1", user_id)
            await connection.execute(
                "INSERT INTO recovery_codes (user_id, hash) SELECT $1, unnest($2::bytea[])",
                user_id,
                list(recovery),
            )
            return True

    async def use_step(self, user_id: UUID, step: int) -> bool:
        """Take the code of a time step as used. False when it, or a later one, was used before."""
        return await self._pool.fetchval(_USE_STEP, user_id, step) is not None

    async def use_recovery_code(self, user_id: UUID, code_hash: bytes) -> bool:
        """Use up a recovery code. False when there is no such one, or it was used before."""
        return await self._pool.fetchval(_USE_RECOVERY_CODE, user_id, code_hash) is not None

    async def reseal(self, user_id: UUID, old: bytes, new: bytes) -> None:
        """Keep the same secret in another form."""
        query = "UPDATE two_factor SET secret = $3 WHERE user_id = $1 AND secret = $2"
        await self._pool.execute(query, user_id, old, new)

    async def recovery_codes_left(self, user_id: UUID) -> int:
        """How many recovery codes were not used yet."""
        query = "SELECT count(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL"
        left: int = await self._pool.fetchval(query, user_id)
        return left

    async def remove(self, user_id: UUID) -> bool:
        """Ask for no second factor any more. False when none was asked for."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("DELETE FROM recovery_codes WHERE user_id = $1", user_id)
            query = "DELETE FROM two_factor WHERE user_id = $1 RETURNING confirmed_at"
            return await connection.fetchval(query, user_id) is not None
