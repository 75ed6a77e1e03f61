"""The end of an account: what is its own goes, and what it wrote with others is nobody's.

The rows of a log have no foreign key, so what names the account there is found here. A Yjs client
id of the account becomes `NOBODY`'s rather than the server's: nobody writes with it again, and what
the document claims of its messages stays unbelieved.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from protocol.log import NOBODY
from storage.postgres import Connection
from storage.trash import purge_locked

REMOVAL_SECONDS = 300.0  # for one statement: an account may have very many memories
ATTEMPTS = 5

# With each document the memberships that go, before the next: see `storage.trash`.
_LOCK = """
SELECT DISTINCT id, own FROM (
    SELECT d.id, d.owner_id = $1 AS own FROM documents d JOIN memberships s ON s.memory_id = d.id
    WHERE d.owner_id = $1 OR s.user_id = $1
    ORDER BY d.id, s.user_id FOR UPDATE
) AS held
"""
_OTHERS = "SELECT memory_id, user_id FROM memberships WHERE memory_id = ANY ($1) AND user_id <> $2"
_SHOWN = """
SELECT DISTINCT s.user_id FROM files f JOIN memberships s USING (memory_id)
WHERE f.user_id = $1 AND s.user_id <> $1
"""

# Who trims a log holds its snapshot, and copies from the log who wrote it.
_HOLD_TRIMMING = """
SELECT FROM document_snapshots WHERE document_id = ANY ($1) ORDER BY document_id FOR UPDATE
"""
_UNNAME = (
    "UPDATE document_updates SET account_id = NULL, device_id = NULL WHERE account_id = $1",
    "UPDATE document_authors SET account_id = NULL, device_id = NULL WHERE account_id = $1",
    f"UPDATE document_clients SET account_id = '{NOBODY}' WHERE account_id = $1",
    """
    UPDATE document_versions SET authors = (
        SELECT coalesce(jsonb_agg(a ORDER BY number), '[]')
        FROM jsonb_array_elements(authors) WITH ORDINALITY AS each (a, number)
        WHERE a ->> 'userId' <> $1::uuid::text
    )
    WHERE authors @> jsonb_build_array(jsonb_build_object('userId', $1::uuid::text))
    """,
)
_FORGET_ADDRESS = (
    "DELETE FROM invitations WHERE lower(email) = lower($1)",
    "DELETE FROM outgoing_mail WHERE lower(recipient) = lower($1)",
)
_TOUCH = "UPDATE documents SET changed_xid = pg_current_xact_id() WHERE id = ANY ($1)"


class Departed(NamedTuple):
    """What went with an account: `purged` are its memories, each with the accounts that followed
    it, `left` those of others that it was a member of, with their other members, `showed` the
    accounts that saw its files."""

    purged: Mapping[UUID, Sequence[UUID]]
    left: Mapping[UUID, Sequence[UUID]]
    showed: Sequence[UUID]
    sessions: Sequence[UUID]


class Departures:
    """Deletes accounts."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def remove(self, account_id: UUID) -> Departed | None:
        """Delete an account with all that is its own, in one transaction. None when there is no
        such account."""
        attempt = 1
        while True:
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    await connection.execute(
                        f"SET LOCAL statement_timeout = {int(REMOVAL_SECONDS * 1000)}"
                    )
                    return await _remove(connection, account_id)
            except asyncpg.DeadlockDetectedError:
                # Somebody else held a memory and made the account its member.
                if attempt == ATTEMPTS:
                    raise
                attempt += 1


async def _remove(connection: Connection, account_id: UUID) -> Departed | None:
    # First of all: nothing that refers to the account is made from here on.
    email = await connection.fetchval(
        "SELECT email FROM users WHERE id = $1 FOR UPDATE", account_id
    )
    if email is None:
        return None
    locked = await connection.fetch(_LOCK, account_id, timeout=REMOVAL_SECONDS)
    own = [row["id"] for row in locked if row["own"]]
    left: dict[UUID, list[UUID]] = {row["id"]: [] for row in locked if not row["own"]}
    for memory_id, member in await connection.fetch(_OTHERS, list(left), account_id):
        left[memory_id].append(member)
    sessions = await connection.fetch("SELECT id FROM sessions WHERE user_id = $1", account_id)
    showed = await connection.fetch(_SHOWN, account_id)
    purged = await purge_locked(connection, own, timeout=REMOVAL_SECONDS)

    await connection.execute(_HOLD_TRIMMING, list(left))
    for statement in _UNNAME:
        await connection.execute(statement, account_id, timeout=REMOVAL_SECONDS)
    for statement in _FORGET_ADDRESS:
        await connection.execute(statement, email)
    await connection.execute(_TOUCH, list(left))
    # Everything else refers to the account: it goes with it, or is nobody's then.
    await connection.execute("DELETE FROM users WHERE id = $1", account_id, timeout=REMOVAL_SECONDS)
    return Departed(
        {each: [who for who in told if who != account_id] for each, told in purged.items()},
        left,
        [row["user_id"] for row in showed],
        [row["id"] for row in sessions],
    )
