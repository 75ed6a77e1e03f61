"""Files as rows: who may see them, where their bytes are, what the feed tells of them."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple
from uuid import UUID

import asyncpg
from msgspec import UNSET, UnsetType

from protocol.errors import ErrorCode, MemoError
from protocol.files import File, FilePage, FileUsage, ListFiles
from protocol.log import WRITERS
from protocol.records import Json, Pagination, timestamp
from storage.blobs import Blob
from storage.postgres import Connection

FILE_COLUMNS = """
    f.id, f.user_id, f.memory_id, f.message_id, f.filename, f.original_filename, f.file_type,
    f.file_size, f.sha256, f.thumbnail_path, f.metadata, f.is_processed, f.created_at
"""

# An account ($2) sees its own files, and those of the memories it is a member of.
_SEEN = """
    (f.user_id = $2 OR EXISTS (
        SELECT FROM memberships s JOIN documents d ON d.id = s.memory_id
        WHERE s.memory_id = f.memory_id AND s.user_id = $2 AND d.deleted_at IS NULL))
"""

# It sees a file also as the picture of somebody whom it shares a memory with.
_SHOWN = f"""
    ({_SEEN} OR EXISTS (
        SELECT FROM users u
        JOIN memberships theirs ON theirs.user_id = u.id
        JOIN memberships own ON own.memory_id = theirs.memory_id AND own.user_id = $2
        JOIN documents d ON d.id = own.memory_id
        WHERE u.id = f.user_id AND u.avatar_url = '/api/files/' || f.id::text
            AND d.deleted_at IS NULL))
"""

# Blobs of an account ($1) that count: bytes that nothing refers to any more do not.
USED_BYTES = """
    SELECT coalesce(sum(b.size), 0)::bigint FROM blobs b
    WHERE b.user_id = $1 AND (b.freed_at IS NULL
        OR EXISTS (SELECT FROM files f WHERE f.storage_path = b.path)
        OR EXISTS (SELECT FROM uploads u WHERE u.storage_path = b.path))
"""


class Content(NamedTuple):
    """A file and where its bytes are."""

    file: File
    blob: Blob
    thumbnail: str | None


# Whom a change of files concerns: accounts, by the memory through which they see it.
Told = Mapping[UUID | None, Sequence[UUID]]


class Updated(NamedTuple):
    """A file as it is now, and whom that concerns."""

    file: File
    told: Told


class Deleted(NamedTuple):
    """When a file was deleted, and whom that concerns."""

    at: str
    told: Told


def read_file(row: asyncpg.Record) -> File:
    """A row of `FILE_COLUMNS` as the file it describes."""
    return File(
        id=row["id"],
        user_id=row["user_id"],
        memory_id=row["memory_id"],
        message_id=row["message_id"],
        filename=row["filename"],
        original_filename=row["original_filename"],
        file_type=row["file_type"],
        file_size=row["file_size"],
        sha256=row["sha256"].hex(),
        has_thumbnail=row["thumbnail_path"] is not None,
        metadata=row["metadata"],
        is_processed=row["is_processed"],
        created_at=timestamp(row["created_at"]),
    )


async def read_files(
    connection: Connection, account_id: UUID, ids: Sequence[UUID]
) -> dict[UUID, File]:
    """Those of the files with one of the `ids` that the account may see."""
    rows = await connection.fetch(
        f"SELECT {FILE_COLUMNS} FROM files f WHERE f.id = ANY ($1) AND {_SEEN}", ids, account_id
    )
    return {row["id"]: read_file(row) for row in rows}


async def told_of(connection: Connection, account_id: UUID, *memories: UUID | None) -> Told:
    """Whom a change of a file of the account's concerns: those who see it in the first of the
    memories, itself included, and those who saw it in another one only."""
    rows = await connection.fetch(
        "SELECT memory_id, user_id FROM memberships WHERE memory_id = ANY ($1)",
        [memory_id for memory_id in memories if memory_id is not None],
    )
    told: dict[UUID | None, list[UUID]] = {}
    known: set[UUID] = set()
    for memory_id in dict.fromkeys(memories):
        members = {row["user_id"] for row in rows if row["memory_id"] == memory_id}
        told[memory_id] = sorted((members if told else members | {account_id}) - known)
        known |= members
    return told


async def queue_up(connection: Connection, account_id: UUID) -> None:
    """Wait for who else changes what the account stores, until the end of the transaction."""
    await connection.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", account_id)


async def check_writable(
    connection: Connection | asyncpg.Pool, memory_id: UUID, account_id: UUID
) -> None:
    """Make sure that the account may put files into the memory.

    Raises:
        MemoError: `not_found`, also when the account is no member; `gone`; `forbidden`.
    """
    row = await connection.fetchrow(
        """
        SELECT s.role, d.deleted_at
        FROM memories m JOIN documents d USING (id) JOIN memberships s ON s.memory_id = m.id
        WHERE m.id = $1 AND s.user_id = $2
        FOR KEY SHARE OF m -- it is not purged before the caller's transaction ends
        """,
        memory_id,
        account_id,
    )
    if row is None:
        raise MemoError(
            ErrorCode.NOT_FOUND,
            "there is no such memory, or none you may see",
            details={"memoryId": "is none of your memories"},
        )
    if row["deleted_at"] is not None:
        raise MemoError(
            ErrorCode.GONE, "this memory has been deleted", details={"memoryId": "is deleted"}
        )
    if row["role"] not in WRITERS:
        raise MemoError(
            ErrorCode.FORBIDDEN,
            "you may read this memory, not write in it",
            details={"memoryId": "you may not write in it"},
        )


class FileRows:
    """The table files. `quota` is the bytes that the files of one account may take."""

    def __init__(self, pool: asyncpg.Pool, quota: int) -> None:
        self._pool = pool
        self.quota = quota

    async def get(self, file_id: UUID, account_id: UUID) -> File:
        """Raises:
        MemoError: `not_found`, also when the account may not see it.
        """
        row = await self._pool.fetchrow(
            f"SELECT {FILE_COLUMNS} FROM files f WHERE f.id = $1 AND {_SHOWN}", file_id, account_id
        )
        if row is None:
            raise _not_found()
        return read_file(row)

    async def content(self, file_id: UUID, account_id: UUID) -> Content:
        """A file and its bytes, for an account that is not disabled.

        Raises:
            MemoError: `not_found`, also when the account may not see it; `gone` when the bytes
                are lost.
        """
        row = await self._pool.fetchrow(
            f"""
            SELECT {FILE_COLUMNS}, b.path, b.size, b.part_bytes, b.parts
            FROM files f LEFT JOIN blobs b ON b.path = f.storage_path
            WHERE f.id = $1 AND {_SHOWN}
                AND EXISTS (SELECT FROM users a WHERE a.id = $2 AND a.is_active)
            """,
            file_id,
            account_id,
        )
        if row is None:
            raise _not_found()
        if row["path"] is None:
            raise MemoError(ErrorCode.GONE, "the bytes of this file are lost")
        blob = Blob(row["path"], row["size"], row["part_bytes"], row["parts"])
        return Content(read_file(row), blob, row["thumbnail_path"])

    async def list(self, account_id: UUID, query: ListFiles) -> FilePage:
        """A page of the account's own files, or of those of one memory.

        Raises:
            MemoError: `not_found`, `gone`: the memory.
        """
        if query.memory_id is None:
            where, whose = "f.user_id = $1", account_id
        else:
            await self._check_readable(query.memory_id, account_id)
            where, whose = "f.memory_id = $1", query.memory_id
        rows = await self._pool.fetch(
            f"""
            SELECT {FILE_COLUMNS} FROM files f WHERE {where}
            ORDER BY f.created_at DESC, f.id LIMIT $2 OFFSET $3
            """,
            whose,
            query.limit,
            (query.page - 1) * query.limit,
        )
        total = await self._pool.fetchval(f"SELECT count(*) FROM files f WHERE {where}", whose)
        return FilePage(
            files=[read_file(row) for row in rows],
            pagination=Pagination(
                page=query.page,
                limit=query.limit,
                total=total,
                total_pages=ceil(total / query.limit),
            ),
        )

    async def update(
        self,
        file_id: UUID,
        account_id: UUID,
        *,
        filename: str | UnsetType = UNSET,
        memory_id: UUID | None | UnsetType = UNSET,
    ) -> Updated:
        """Rename a file, or put it elsewhere; in another memory it belongs to no message, and the
        message that it is taken from does not have it back by still listing it.

        Raises:
            MemoError: `not_found`; `forbidden`: it is somebody else's, or the memory is one the
                account may only read; `gone`: the memory.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await queue_up(connection, account_id)
            place = await self._place(connection, file_id, account_id)
            await hold(connection, place, memory_id or None)
            if memory_id:
                await check_writable(connection, memory_id, account_id)
            row = await connection.fetchrow(
                f"""
                UPDATE files f SET filename = coalesce($3, f.filename),
                    memory_id = CASE WHEN $4 THEN $5 ELSE f.memory_id END,
                    message_id = CASE WHEN $4 AND $5 IS DISTINCT FROM f.memory_id THEN NULL
                        ELSE f.message_id END,
                    withdrawn_from = CASE
                        WHEN $4 AND $5 IS DISTINCT FROM f.memory_id AND f.message_id IS NOT NULL
                        THEN array_remove(f.withdrawn_from, f.message_id) || f.message_id
                        ELSE f.withdrawn_from END,
                    changed_xid = pg_current_xact_id()
                WHERE f.id = $1 AND f.user_id = $2 RETURNING {FILE_COLUMNS}
                """,
                file_id,
                account_id,
                None if filename is UNSET else filename,
                memory_id is not UNSET,
                None if memory_id is UNSET else memory_id,
            )
            if row is None:
                raise _not_found()
            file = read_file(row)
            return Updated(file, await told_of(connection, account_id, file.memory_id, place))

    async def delete(self, file_id: UUID, account_id: UUID) -> Deleted:
        """Delete a file. The bytes go when nothing refers to them.

        Raises:
            MemoError: `not_found`; `forbidden` when it is somebody else's.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await queue_up(connection, account_id)
            # At a repeat too: the first word may have been lost.
            told: Told = {None: [account_id]}
            if await connection.fetchval("SELECT true FROM files WHERE id = $1", file_id):
                place = await self._place(connection, file_id, account_id)
                await hold(connection, place)
                told = await told_of(connection, account_id, place)
                # A trigger leaves the tombstones, as also when a file goes with its memory.
                await connection.execute("DELETE FROM files WHERE id = $1", file_id)
            deleted = await connection.fetchval(
                """
                SELECT created_at FROM tombstones
                WHERE user_id = $2 AND kind = 'file' AND record_id = $1
                """,
                file_id,
                account_id,
            )
            if deleted is None:
                raise _not_found()
        return Deleted(timestamp(deleted), told)

    async def usage(self, account_id: UUID) -> FileUsage:
        """What the account's files take."""
        used = await self._pool.fetchval(USED_BYTES, account_id)
        count = await self._pool.fetchval(
            "SELECT count(*) FROM files WHERE user_id = $1", account_id
        )
        return FileUsage(bytes=used, quota=self.quota, count=count)

    async def unprocessed(self, older_than_seconds: float, limit: int) -> Sequence[str]:
        """The paths of bytes that should have been looked at by now."""
        rows = await self._pool.fetch(
            """
            SELECT DISTINCT storage_path FROM files
            WHERE NOT is_processed AND created_at < now() - make_interval(secs => $1) LIMIT $2
            """,
            older_than_seconds,
            limit,
        )
        return [row[0] for row in rows]

    async def blob(self, path: str) -> Blob | None:
        """The bytes at a path, if they are whole."""
        row = await self._pool.fetchrow(
            """
            SELECT path, size, part_bytes, parts FROM blobs
            WHERE path = $1 AND sha256 IS NOT NULL
            """,
            path,
        )
        return Blob(*row) if row is not None else None

    async def bytes_of(self, file_id: UUID) -> Blob | None:
        """The bytes of a file, if they are there."""
        row = await self._pool.fetchrow(
            """
            SELECT b.path, b.size, b.part_bytes, b.parts
            FROM files f JOIN blobs b ON b.path = f.storage_path
            WHERE f.id = $1 AND b.sha256 IS NOT NULL
            """,
            file_id,
        )
        return None if row is None else Blob(*row)

    async def processed(self, path: str, metadata: Json, thumbnail: str | None) -> Told:
        """Note what was found in the bytes at `path`. Returns whom it concerns: nobody if all of
        its files had it already, and then the thumbnail is not wanted."""
        rows = await self._pool.fetch(
            """
            WITH found AS (
                -- In the order of ids, as whoever else changes several files.
                SELECT id FROM files WHERE storage_path = $1 AND NOT is_processed
                ORDER BY id FOR NO KEY UPDATE
            ), done AS (
                UPDATE files f SET metadata = metadata || $2, thumbnail_path = $3,
                    is_processed = true, changed_xid = pg_current_xact_id()
                FROM found WHERE f.id = found.id RETURNING f.user_id, f.memory_id
            )
            SELECT memory_id, user_id FROM done
            UNION
            SELECT s.memory_id, s.user_id FROM done JOIN memberships s USING (memory_id)
            """,
            path,
            metadata,
            thumbnail,
        )
        told: dict[UUID | None, list[UUID]] = {}
        for row in rows:
            told.setdefault(row["memory_id"], []).append(row["user_id"])
        return told

    async def _check_readable(self, memory_id: UUID, account_id: UUID) -> None:
        row = await self._pool.fetchrow(
            """
            SELECT d.deleted_at FROM memberships s JOIN documents d ON d.id = s.memory_id
            WHERE s.memory_id = $1 AND s.user_id = $2
            """,
            memory_id,
            account_id,
        )
        if row is None:
            raise MemoError(ErrorCode.NOT_FOUND, "there is no such memory, or none you may see")
        if row["deleted_at"] is not None:
            raise MemoError(ErrorCode.GONE, "this memory has been deleted")

    async def _place(self, connection: Connection, file_id: UUID, account_id: UUID) -> UUID | None:
        """The memory that a file of the account's is in.

        Raises:
            MemoError: `not_found`; `forbidden` when it is somebody else's.
        """
        row = await connection.fetchrow(
            f"SELECT f.user_id, f.memory_id FROM files f WHERE f.id = $1 AND {_SEEN}",
            file_id,
            account_id,
        )
        if row is None:
            raise _not_found()
        if row["user_id"] != account_id:
            raise MemoError(ErrorCode.FORBIDDEN, "this file is another member's")
        place: UUID | None = row["memory_id"]
        return place


async def hold(connection: Connection, *memories: UUID | None) -> None:
    """Have nobody join or leave the memories until the end of the transaction, so that it is known
    whose devices are to forget a file. Whoever else changes several files holds them too."""
    await connection.execute(
        "SELECT FROM documents WHERE id = ANY ($1) ORDER BY id FOR SHARE",
        [memory_id for memory_id in memories if memory_id is not None],
    )


def _not_found() -> MemoError:
    return MemoError(ErrorCode.NOT_FOUND, "there is no such file, or none you may see")
