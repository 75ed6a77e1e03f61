"""The keys that sign tokens, kept where every node of the installation finds them."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import asyncpg
import msgspec

# Any number that no other advisory lock of this database uses.
_LOCK = 7_305_811_942

_CURRENT = """
SELECT id, private_pem FROM signing_keys WHERE retired_at IS NULL ORDER BY created_at DESC, id
"""
_ALL = "SELECT id, private_pem FROM signing_keys ORDER BY id"
_REWRITE = "UPDATE signing_keys SET private_pem = $2 WHERE id = $1"
_INSERT = "INSERT INTO signing_keys (id, private_pem) VALUES ($1, $2)"
_RETIRE = """
UPDATE signing_keys AS old SET retired_at = now()
WHERE old.retired_at IS NULL AND EXISTS (
    SELECT FROM signing_keys AS newer
    WHERE newer.created_at > old.created_at AND newer.created_at <= now() - $1::interval
)
"""


class SigningKey(msgspec.Struct, frozen=True):
    """A private key, PEM-encoded; or as it is kept, which may be sealed. `id` is what tokens name
    it by."""

    id: str
    private_pem: str

    def __repr__(self) -> str:
        """Leaves the key out, for whatever prints or logs it."""
        return f"SigningKey(id={self.id!r})"


class SigningKeys:
    """The table of signing keys. The newest one signs; all that are not retired verify."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def ensure(self, make: Callable[[], SigningKey]) -> Sequence[SigningKey]:
        """The keys that are not retired, newest first; when there is none, one from `make`.

        Nodes that start at the same moment get the same key.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            keys = _read(await connection.fetch(_CURRENT))
            if not keys:
                keys = [make()]
                await connection.execute(_INSERT, keys[0].id, keys[0].private_pem)
            return keys

    async def current(self) -> Sequence[SigningKey]:
        """The keys that are not retired, newest first."""
        return _read(await self._pool.fetch(_CURRENT))

    async def rotate(self, key: SigningKey, keep: timedelta) -> None:
        """Sign with `key` from now on, and retire those that were replaced `keep` ago or more.

        `keep` is the life of the longest token, so that none dies early. Zero retires every other
        key at once, for when one of them has leaked.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute(_INSERT, key.id, key.private_pem)
            await connection.execute(_RETIRE, keep)

    async def rewrite(self, change: Callable[[SigningKey], SigningKey]) -> None:
        """Have `change` say of each key, retired ones too, how it is kept from now on."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            for key in _read(await connection.fetch(_ALL)):
                changed = change(key)
                if changed != key:
                    await connection.execute(_REWRITE, key.id, changed.private_pem)


def _read(rows: Sequence[asyncpg.Record]) -> Sequence[SigningKey]:
    return [SigningKey(row["id"], row["private_pem"]) for row in rows]
