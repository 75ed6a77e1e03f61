"""Exports as rows: who waits for an archive, which node makes it, and where its bytes are."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg

from protocol.errors import ErrorCode, MemoError, id_taken
from protocol.exports import ExportStatus
from protocol.files import File
from storage.blobs import PART_BYTES, Blob
from storage.files import FILE_COLUMNS, queue_up, read_file

KEEP_SECONDS = 7 * 86400.0
PAUSE_SECONDS = 600.0  # between two archives of one account
MAX_KEPT = 3  # of one account: a further one takes the place of the oldest
MAX_ATTEMPTS = 3
LEASE_SECONDS = 120.0

_COLUMNS = "id, status, size, created_at, expires_at"


class ExportRow(NamedTuple):
    """An archive, made or to be made."""

    id: UUID
    status: ExportStatus
    size: int | None
    created_at: datetime
    expires_at: datetime


class Claimed(NamedTuple):
    """An archive to be made now, at `path`. `last` says that it is not tried again."""

    id: UUID
    account_id: UUID
    path: str
    last: bool


class ExportRows:
    """The table exports."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, account_id: UUID, export_id: UUID) -> ExportRow:
        """An archive to be made; the one of this id, or that is being made, if there is one.

        Raises:
            MemoError: `conflict` when the id is another account's, `rate_limited` when one was
                made a moment ago.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await queue_up(connection, account_id)
            row = await connection.fetchrow(
                f"""
                SELECT {_COLUMNS}, user_id FROM exports
                WHERE id = $1 OR (user_id = $2 AND status = 'preparing')
                ORDER BY id = $1 DESC LIMIT 1
                """,
                export_id,
                account_id,
            )
            if row is not None:
                if row["user_id"] != account_id:
                    raise id_taken()
                return ExportRow(*row[:5])
            young = await connection.fetchval(
                """
                SELECT extract(epoch FROM now() - max(created_at))::float8 FROM exports
                WHERE user_id = $1 AND status = 'ready'
                """,
                account_id,
            )
            if young is not None and young < PAUSE_SECONDS:
                raise MemoError(
                    ErrorCode.RATE_LIMITED,
                    "An archive was made a moment ago; take that one, or wait.",
                    retry_after=PAUSE_SECONDS - young,
                )
            await connection.execute(
                """
                DELETE FROM exports WHERE id IN (
                    SELECT id FROM exports WHERE user_id = $1 ORDER BY created_at DESC OFFSET $2)
                """,
                account_id,
                MAX_KEPT - 1,
            )
            made = await connection.fetchrow(
                f"""
                INSERT INTO exports (id, user_id, expires_at)
                VALUES ($1, $2, now() + make_interval(secs => $3))
                ON CONFLICT (id) DO NOTHING RETURNING {_COLUMNS}
                """,
                export_id,
                account_id,
                KEEP_SECONDS,
            )
            if made is None:  # another account's, made at this moment
                raise id_taken()
            return ExportRow(*made)

    async def of(self, account_id: UUID) -> Sequence[ExportRow]:
        """The account's archives, the newest first."""
        rows = await self._pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM exports WHERE user_id = $1 AND expires_at > now()
            ORDER BY created_at DESC, id
            """,
            account_id,
        )
        return [ExportRow(*row) for row in rows]

    async def content(self, export_id: UUID, account_id: UUID) -> tuple[Blob, bytes, datetime]:
        """The bytes of an archive, their SHA-256 and when it was asked for.

        Raises:
            MemoError: `not_found`, also when it is another account's, or not ready.
        """
        row = await self._pool.fetchrow(
            """
            SELECT b.path, b.size, b.part_bytes, b.parts, b.sha256, e.created_at
            FROM exports e JOIN blobs b ON b.path = e.storage_path
            WHERE e.id = $1 AND e.user_id = $2 AND e.status = 'ready' AND e.expires_at > now()
                AND EXISTS (SELECT FROM users WHERE id = $2 AND is_active)
            """,
            export_id,
            account_id,
        )
        if row is None:
            raise MemoError(ErrorCode.NOT_FOUND, "there is no such archive, or none of yours")
        return Blob(*row[:4]), row["sha256"], row["created_at"]

    # Making them

    async def claim(self) -> Claimed | None:
        """The archive that has waited longest, to be made by the caller at a place of its own.
        What another node left of it is let go."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
                """
                SELECT id, user_id, storage_path, attempts FROM exports
                WHERE status = 'preparing' AND (claimed_until IS NULL OR claimed_until < now())
                ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
                """
            )
            if row is None:
                return None
            blob_id = uuid4().hex
            path = f"{blob_id[:2]}/{blob_id}"
            await connection.execute(
                "UPDATE blobs SET freed_at = now() WHERE path = $1", row["storage_path"]
            )
            await connection.execute(
                "INSERT INTO blobs (path, size, part_bytes) VALUES ($1, 0, $2)", path, PART_BYTES
            )
            await connection.execute(
                """
                UPDATE exports SET storage_path = $2, attempts = attempts + 1,
                    claimed_until = now() + make_interval(secs => $3)
                WHERE id = $1
                """,
                row["id"],
                path,
                LEASE_SECONDS,
            )
        return Claimed(row["id"], row["user_id"], path, row["attempts"] + 1 >= MAX_ATTEMPTS)

    async def renew(self, claimed: Claimed) -> bool:
        """Give a sign of life. False when the archive is another's to make now, or nobody wants
        it any more."""
        held = await self._pool.fetchval(
            """
            UPDATE exports SET claimed_until = now() + make_interval(secs => $3)
            WHERE id = $1 AND storage_path = $2 AND status = 'preparing' RETURNING true
            """,
            claimed.id,
            claimed.path,
            LEASE_SECONDS,
        )
        return bool(held)

    async def finish(self, claimed: Claimed, size: int, parts: Sequence[str], sha: bytes) -> bool:
        """Have the archive be there. False when it was no longer wanted."""
        async with self._pool.acquire() as connection, connection.transaction():
            done = await connection.fetchval(
                """
                UPDATE exports SET status = 'ready', size = $3, claimed_until = NULL,
                    expires_at = now() + make_interval(secs => $4)
                WHERE id = $1 AND storage_path = $2 AND status = 'preparing' RETURNING true
                """,
                claimed.id,
                claimed.path,
                size,
                KEEP_SECONDS,
            )
            await connection.execute(
                """
                UPDATE blobs SET size = $2, parts = $3, sha256 = $4,
                    freed_at = CASE WHEN $5 THEN NULL ELSE now() END
                WHERE path = $1
                """,
                claimed.path,
                size,
                list(parts),
                sha,
                bool(done),
            )
        return bool(done)

    async def give_up(self, claimed: Claimed) -> None:
        """The archive was not made: it waits for the next try, or has failed after the last."""
        await self._pool.execute(
            """
            UPDATE exports SET claimed_until = now() + make_interval(secs => 10),
                status = CASE WHEN $3 THEN 'failed' ELSE status END
            WHERE id = $1 AND storage_path = $2
            """,
            claimed.id,
            claimed.path,
            claimed.last,
        )

    async def expire(self) -> int:
        """Remove the archives whose time is over. Returns how many."""
        rows = await self._pool.fetch("DELETE FROM exports WHERE expires_at < now() RETURNING id")
        return len(rows)

    # What goes into them

    async def memories(self, account_id: UUID) -> Sequence[UUID]:
        """The memories that the account is a member of, but for those in the trash."""
        rows = await self._pool.fetch(
            """
            SELECT ms.memory_id FROM memberships ms JOIN documents d ON d.id = ms.memory_id
            WHERE ms.user_id = $1 AND d.deleted_at IS NULL ORDER BY ms.memory_id
            """,
            account_id,
        )
        return [row[0] for row in rows]

    async def is_behind(self, memory_id: UUID) -> bool:
        """Whether a memory's document has what its rows have not."""
        return bool(
            await self._pool.fetchval(
                "SELECT head > projected_offset FROM documents WHERE id = $1", memory_id
            )
        )

    async def loose_files(self, account_id: UUID) -> Sequence[File]:
        """The account's files that are in none of these memories: in no memory at all, or in one
        that it may read no more. What is in its own trash goes with the trash."""
        rows = await self._pool.fetch(
            f"""
            SELECT {FILE_COLUMNS} FROM files f LEFT JOIN memories m ON m.id = f.memory_id
            WHERE f.user_id = $1 AND m.user_id IS DISTINCT FROM $1 AND NOT EXISTS (
                SELECT FROM memberships s JOIN documents d ON d.id = s.memory_id
                WHERE s.memory_id = f.memory_id AND s.user_id = $1 AND d.deleted_at IS NULL)
            ORDER BY f.created_at, f.id
            """,
            account_id,
        )
        return [read_file(row) for row in rows]
