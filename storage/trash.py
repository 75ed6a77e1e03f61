"""The trash as rows: memories that are marked deleted, and what is left of those that are purged.

Deleting marks a document, restoring takes the mark away; nothing else changes, so that a memory
comes back as it was. Purging removes every row of it and leaves tombstones, for as long as the
feed keeps those.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

import asyncpg

from protocol.errors import ErrorCode, MemoError
from protocol.trash import Fate
from storage import outage
from storage.postgres import Connection, past_deadlocks

TRASH_SECONDS = 30 * 86400.0
PURGE_BATCH = 20  # memories that are purged in one transaction

# What holds a document's log has no foreign key to it. Snapshots go first: who trims the log holds
# its snapshot, so that what trimming leaves is there to be removed behind it.
_LOG = (
    "document_snapshots",
    "document_authors",
    "document_updates",
    "document_clients",
    "document_reservations",
)

# In the order of ids, as the commit locks them. A memory that is there already is left alone. The
# memberships as well: triggers write rows of lists for each, as they do for who marks a memory.
_MARK = """
WITH held AS (
    SELECT d.id, d.deleted_at, d.projected_offset < d.head AS behind
    FROM documents d JOIN memberships s ON s.memory_id = d.id
    WHERE d.id = ANY ($2) AND d.owner_id = $1 ORDER BY d.id, s.user_id FOR NO KEY UPDATE
), mine AS (
    SELECT DISTINCT id, deleted_at, behind FROM held
), changed AS (
    UPDATE documents d SET deleted_at = {mark}, changed_xid = pg_current_xact_id()
    FROM mine WHERE d.id = mine.id AND mine.deleted_at IS {before}
), shown AS (
    -- Others' files are seen no longer than their memory.
    SELECT f.id FROM files f JOIN mine ON mine.id = f.memory_id AND mine.deleted_at IS {before}
    WHERE EXISTS (
        SELECT FROM memberships s WHERE s.memory_id = f.memory_id AND s.user_id <> f.user_id)
    ORDER BY f.id FOR NO KEY UPDATE OF f
), told AS (
    UPDATE files f SET changed_xid = pg_current_xact_id() FROM shown WHERE f.id = shown.id
)
SELECT id, behind, coalesce(deleted_at, now()) AS moment, CASE WHEN deleted_at IS {before} THEN
    ARRAY(SELECT user_id FROM memberships WHERE memory_id = mine.id) END AS followers
FROM mine
"""
_DELETE = _MARK.format(mark="now()", before="NULL")
_RESTORE = _MARK.format(mark="NULL", before="NOT NULL")

# The memories as well, so that nobody becomes a member while they go; and the memberships of each
# before the next, as deleting does: what is held is never before what is waited for.
_LOCK_OWN = """
SELECT DISTINCT id FROM (
    SELECT d.id FROM documents d JOIN memories m ON m.id = d.id
        JOIN memberships s ON s.memory_id = d.id
    WHERE d.id = ANY ($1) AND d.deleted_at IS NOT NULL AND d.owner_id = $2
    ORDER BY d.id, s.user_id FOR UPDATE
) AS held
"""
_LOCK_EXPIRED = """
SELECT d.id FROM documents d JOIN memories m ON m.id = d.id
WHERE d.id = ANY ($1) AND d.deleted_at < now() - make_interval(secs => $2)
ORDER BY d.id FOR UPDATE SKIP LOCKED
"""
# What goes with them and others may hold: each kind in one order, before anything goes.
_ROWS = (
    """
    SELECT FROM memberships WHERE memory_id = ANY ($1) ORDER BY memory_id, user_id FOR UPDATE
    """,
    "SELECT FROM files WHERE memory_id = ANY ($1) ORDER BY id FOR UPDATE",
    "SELECT FROM uploads WHERE memory_id = ANY ($1) ORDER BY id FOR UPDATE",
    """
    SELECT FROM blobs WHERE path IN (
        SELECT storage_path FROM files WHERE memory_id = ANY ($1)
        UNION ALL
        SELECT storage_path FROM uploads WHERE memory_id = ANY ($1))
    ORDER BY path FOR NO KEY UPDATE
    """,
)
_FOLLOWERS = """
SELECT memory_id, user_id FROM memberships WHERE memory_id = ANY ($1)
UNION
SELECT memory_id, user_id FROM files WHERE memory_id = ANY ($1)
"""
_BURY = """
INSERT INTO tombstones (user_id, kind, record_id)
SELECT user_id, 'memory', memory_id FROM memberships WHERE memory_id = ANY ($1)
UNION ALL (
    SELECT user_id, 'file', id FROM files WHERE memory_id = ANY ($1)
    UNION
    SELECT s.user_id, 'file', f.id FROM files f JOIN memberships s USING (memory_id)
    WHERE memory_id = ANY ($1)
)
ON CONFLICT (user_id, kind, record_id) DO UPDATE
SET created_at = now(), changed_xid = pg_current_xact_id()
"""
_EXPIRED = """
SELECT id FROM documents WHERE deleted_at < now() - make_interval(secs => $1)
ORDER BY deleted_at LIMIT $2
"""
_STANDING = """
SELECT i.id, s.role, CASE WHEN d.id IS NULL THEN t.created_at END AS purged_at
FROM unnest($2::uuid[]) AS i (id)
    LEFT JOIN documents d ON d.id = i.id
    LEFT JOIN memberships s ON s.memory_id = i.id AND s.user_id = $1
    LEFT JOIN tombstones t ON t.user_id = $1 AND t.kind = 'memory' AND t.record_id = i.id
"""


class TrashRows:
    """Marks, unmarks and purges documents. All are the caller's own memories, and each call
    answers for each of its ids, which may be up to a few hundred. Repeating a call answers as
    the first time."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def delete(self, account_id: UUID, ids: Sequence[UUID]) -> list[Fate]:
        """Mark memories deleted. One that has been purged since counts as deleted.

        Errors: `not_found` when the account is no member, `forbidden` when it is not the owner.
        """
        done = await self._mark(_DELETE, account_id, ids)
        rest = await self._standing(account_id, ids, done)

        def fate(memory_id: UUID) -> Fate:
            standing = rest[memory_id]
            if standing["purged_at"] is not None:
                return Fate(memory_id, moment=standing["purged_at"])
            return Fate(memory_id, _refusal(standing, "only the owner may delete a memory"))

        return [done.get(each) or fate(each) for each in ids]

    async def restore(self, account_id: UUID, ids: Sequence[UUID]) -> list[Fate]:
        """Take memories out of the trash.

        Errors: as `delete`, and `gone` when the memory has been purged.
        """
        done = await self._mark(_RESTORE, account_id, ids)
        rest = await self._standing(account_id, ids, done)

        def fate(memory_id: UUID) -> Fate:
            standing = rest[memory_id]
            if standing["purged_at"] is not None:
                gone = MemoError(ErrorCode.GONE, "this memory has been deleted for good")
                return Fate(memory_id, gone)
            return Fate(memory_id, _refusal(standing, "only the owner may restore a memory"))

        return [done.get(each) or fate(each) for each in ids]

    async def purge(self, account_id: UUID, ids: Sequence[UUID]) -> list[Fate]:
        """Remove memories that are in the trash, for good.

        Errors: as `delete`, and `conflict` when the memory is not in the trash.
        """
        done: dict[UUID, Fate] = {}
        for start in range(0, len(ids), PURGE_BATCH):
            batch = ids[start : start + PURGE_BATCH]
            done |= await past_deadlocks(partial(self._purge, account_id, batch))
        rest = await self._standing(account_id, ids, done)

        def fate(memory_id: UUID) -> Fate:
            standing = rest[memory_id]
            if standing["purged_at"] is not None:
                return Fate(memory_id, moment=standing["purged_at"])
            if standing["role"] == "owner":
                living = MemoError(
                    ErrorCode.CONFLICT,
                    "this memory is not in the trash; delete it first",
                    details={"id": "is not in the trash"},
                )
                return Fate(memory_id, living)
            return Fate(memory_id, _refusal(standing, "only the owner may purge a memory"))

        return [done.get(each) or fate(each) for each in ids]

    async def _purge(self, account_id: UUID, batch: Sequence[UUID]) -> dict[UUID, Fate]:
        async with self._pool.acquire() as connection, connection.transaction():
            return await _remove(connection, _LOCK_OWN, batch, account_id)

    async def expired(self, older_than_seconds: float, limit: int) -> Sequence[UUID]:
        """Memories that were deleted so long ago, the oldest first."""
        with outage.reported():
            rows = await self._pool.fetch(_EXPIRED, older_than_seconds, limit)
        return [row[0] for row in rows]

    async def purge_expired(
        self, memory_id: UUID, older_than_seconds: float
    ) -> Sequence[UUID] | None:
        """Purge a memory that was deleted so long ago. Returns its followers; None when it was
        restored, or another node is at it or was before."""
        with outage.reported():
            async with self._pool.acquire() as connection, connection.transaction():
                done = await _remove(connection, _LOCK_EXPIRED, [memory_id], older_than_seconds)
        return done[memory_id].followers if memory_id in done else None

    async def _mark(
        self, statement: str, account_id: UUID, ids: Sequence[UUID]
    ) -> dict[UUID, Fate]:
        rows = await self._pool.fetch(statement, account_id, ids)
        return {
            row["id"]: Fate(
                row["id"],
                moment=row["moment"],
                followers=row["followers"] or (),
                behind=row["behind"],
            )
            for row in rows
        }

    async def _standing(
        self, account_id: UUID, ids: Sequence[UUID], done: Mapping[UUID, Fate]
    ) -> dict[UUID, asyncpg.Record]:
        """What the account has to do with those that were not done."""
        rest = [each for each in ids if each not in done]
        if not rest:
            return {}
        rows = await self._pool.fetch(_STANDING, account_id, rest)
        return {row["id"]: row for row in rows}


async def _remove(
    connection: Connection, lock: str, ids: Sequence[UUID], condition: UUID | float
) -> dict[UUID, Fate]:
    """Purge those of the memories that `lock` finds, within a transaction."""
    held = [row[0] for row in await connection.fetch(lock, ids, condition)]
    if not held:
        return {}
    moment: datetime = await connection.fetchval("SELECT now()")
    return {
        memory_id: Fate(memory_id, moment=moment, followers=told)
        for memory_id, told in (await purge_locked(connection, held)).items()
    }


async def purge_locked(
    connection: Connection, held: Sequence[UUID], timeout: float | None = None
) -> dict[UUID, list[UUID]]:
    """Purge memories whose documents the transaction has locked. Returns the accounts that
    followed each. `timeout` is of one statement, in seconds, if not the usual one."""
    for rows in _ROWS:
        await connection.execute(rows, held, timeout=timeout)
    followers: dict[UUID, list[UUID]] = {memory_id: [] for memory_id in held}
    for memory_id, account_id in await connection.fetch(_FOLLOWERS, held, timeout=timeout):
        followers[memory_id].append(account_id)
    for table in _LOG:
        statement = f"DELETE FROM {table} WHERE document_id = ANY ($1)"
        await connection.execute(statement, held, timeout=timeout)
    await connection.execute(_BURY, held, timeout=timeout)
    # Everything else refers to the memory, and goes with it.
    await connection.execute("DELETE FROM memories WHERE id = ANY ($1)", held, timeout=timeout)
    return followers


def _refusal(standing: asyncpg.Record, forbidden: str) -> MemoError:
    """Why an account may not do with a memory what its owner may."""
    if standing["role"] is None:
        return MemoError(ErrorCode.NOT_FOUND, "there is no such memory, or none you may see")
    return MemoError(ErrorCode.FORBIDDEN, forbidden)
