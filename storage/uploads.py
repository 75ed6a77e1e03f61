"""Uploads as rows: what has arrived of a file, who writes it, and what becomes of its bytes."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg

from protocol.errors import ErrorCode, MemoError, id_taken
from protocol.files import File
from protocol.records import Json
from storage.blobs import PART_BYTES, Blob
from storage.files import (
    FILE_COLUMNS,
    USED_BYTES,
    Told,
    check_writable,
    queue_up,
    read_file,
    told_of,
)
from storage.postgres import Connection

# For which a writer holds an upload without a sign of life. A client's retries have to outlast
# it: the writer may have been a node that was killed.
LEASE_SECONDS = 10.0

_COLUMNS = """
    u.id, u.user_id, u.storage_path, u.memory_id, u.message_id, u.filename, u.length, u.received,
    u.writer, b.part_bytes, b.parts, extract(epoch FROM u.expires_at)::float8 AS expires_at
"""
_TABLES = "uploads u JOIN blobs b ON b.path = u.storage_path"


class Intake(NamedTuple):
    """What is told of a file before its bytes. `length` None: as long as it turns out to be, about
    as `expected`."""

    file_id: UUID
    filename: str
    length: int | None
    memory_id: UUID | None = None
    message_id: UUID | None = None
    expected: int = 0

    @property
    def reserved(self) -> int:
        """The bytes that are taken for it at once."""
        return self.expected if self.length is None else self.length


class Upload(NamedTuple):
    """A file on its way: `blob` has what of it has arrived, its first `received` bytes."""

    account_id: UUID
    intake: Intake
    blob: Blob
    received: int
    expires_at: float
    writer: UUID | None

    @property
    def id(self) -> UUID:
        return self.intake.file_id

    @property
    def whole(self) -> bool:
        return self.received == self.intake.length


class Findings(NamedTuple):
    """What the bytes of a file turned out to be."""

    sha256: bytes
    filename: str
    file_type: str
    provider: str
    metadata: Json
    is_processed: bool


class Stored(NamedTuple):
    """A file, the path of its bytes, and whom it concerns."""

    file: File
    path: str
    told: Told


class UploadRows:
    """The tables uploads and blobs. `quota` is the bytes that the files of one account may take,
    those of uploads under way included."""

    def __init__(self, pool: asyncpg.Pool, quota: int) -> None:
        self._pool = pool
        self._quota = quota

    async def begin(
        self,
        account_id: UUID,
        intake: Intake,
        lifetime: float,
        *,
        writer: UUID | None = None,
    ) -> Upload | File:
        """A new upload with its bytes reserved, held by `writer`; or the one that is under this
        id already, or the file it became.

        Raises:
            MemoError: `conflict`: the id is taken, or was begun with another length; `gone`: the
                file was deleted; `quota_exceeded`; `not_found`, `forbidden`, `gone`: the memory.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            # What an account stores is weighed by one at a time.
            await queue_up(connection, account_id)
            known = await self._known(connection, account_id, intake)
            if known is not None:
                return known
            if intake.memory_id is not None:
                await check_writable(connection, intake.memory_id, account_id)
            await self._check_quota(connection, account_id, intake.reserved)
            blob_id = uuid4().hex
            path = f"{blob_id[:2]}/{blob_id}"
            await connection.execute(
                "INSERT INTO blobs (path, user_id, size, part_bytes) VALUES ($1, $2, $3, $4)",
                path,
                account_id,
                intake.reserved,
                PART_BYTES,
            )
            expires_at = await connection.fetchval(
                """
                INSERT INTO uploads (id, user_id, storage_path, memory_id, message_id, filename,
                    length, expires_at, writer, writer_until)
                VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8), $9,
                    now() + make_interval(secs => $10))
                ON CONFLICT (id) DO NOTHING
                RETURNING extract(epoch FROM expires_at)::float8
                """,
                intake.file_id,
                account_id,
                path,
                intake.memory_id,
                intake.message_id,
                intake.filename,
                intake.length,
                lifetime,
                writer,
                LEASE_SECONDS,
            )
            if expires_at is None:  # another account's, made at this moment
                raise id_taken()
        blob = Blob(path, 0, PART_BYTES, [])
        return Upload(account_id, intake, blob, 0, expires_at, writer)

    async def find(self, upload_id: UUID, account_id: UUID) -> Upload | File:
        """How far the upload has come, or the file it became.

        Raises:
            MemoError: `not_found`, also when it is another account's; `gone` when the file was
                deleted.
        """
        row = await self._pool.fetchrow(
            f"SELECT {_COLUMNS} FROM {_TABLES} WHERE u.id = $1 AND u.user_id = $2",
            upload_id,
            account_id,
        )
        if row is not None:
            return _read(row)
        async with self._pool.acquire() as connection:
            file = await _own_file(connection, upload_id, account_id)
            if file is not None:
                return file
            await _check_not_deleted(connection, upload_id, account_id)
        raise MemoError(
            ErrorCode.NOT_FOUND, "there is no such upload; it may have expired: begin again"
        )

    async def claim(self, upload_id: UUID, writer: UUID) -> Upload | None:
        """Have `writer` hold the upload. None when another one holds it, who is then told that it
        is wanted, or when it is gone."""
        row = await self._pool.fetchrow(
            f"""
            UPDATE uploads u SET writer = $2, writer_until = now() + make_interval(secs => $3),
                wanted = false
            FROM blobs b
            WHERE u.id = $1 AND b.path = u.storage_path
                AND (u.writer IS NULL OR u.writer_until < now())
            RETURNING {_COLUMNS}
            """,
            upload_id,
            writer,
            LEASE_SECONDS,
        )
        if row is not None:
            return _read(row)
        await self._pool.execute(
            "UPDATE uploads SET wanted = true WHERE id = $1 AND NOT wanted", upload_id
        )
        return None

    async def renew(self, upload_id: UUID, writer: UUID) -> bool:
        """Give a sign of life. Returns whether another writer waits.

        Raises:
            MemoError: `conflict`, when the upload is no longer this writer's.
        """
        wanted: bool | None = await self._pool.fetchval(
            """
            UPDATE uploads SET writer_until = now() + make_interval(secs => $3)
            WHERE id = $1 AND writer = $2 RETURNING wanted
            """,
            upload_id,
            writer,
            LEASE_SECONDS,
        )
        if wanted is None:
            raise _lost()
        return wanted

    async def record(
        self, upload: Upload, writer: UUID, parts: Sequence[str], received: int, lifetime: float
    ) -> None:
        """Note that the bytes up to `received` are in the store, as `parts`. What was not
        reserved is now.

        Raises:
            MemoError: `conflict`, when the upload is no longer this writer's; `quota_exceeded`.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            if upload.intake.length is None:
                await queue_up(connection, upload.account_id)
                grown = received - await self._size(connection, upload)
                if grown > 0:
                    await self._check_quota(connection, upload.account_id, grown)
            done = await connection.fetchval(
                """
                WITH held AS (
                    UPDATE uploads SET received = $4, writer_until = now()
                        + make_interval(secs => $5), expires_at = greatest(expires_at, now()
                        + make_interval(secs => $6))
                    WHERE id = $1 AND writer = $2 RETURNING storage_path, length
                )
                UPDATE blobs b SET parts = $3,
                    size = CASE WHEN h.length IS NULL THEN greatest(b.size, $4) ELSE b.size END
                FROM held h WHERE b.path = h.storage_path RETURNING true
                """,
                upload.id,
                writer,
                list(parts),
                received,
                LEASE_SECONDS,
                lifetime,
            )
            if not done:
                raise _lost()

    async def release(self, upload_id: UUID, writer: UUID) -> None:
        """Let others write the upload."""
        await self._pool.execute(
            "UPDATE uploads SET writer = NULL, wanted = false WHERE id = $1 AND writer = $2",
            upload_id,
            writer,
        )

    async def finish(
        self, upload: Upload, writer: UUID, findings: Findings, file_id: UUID | None = None
    ) -> Stored:
        """Make the upload a file, named `file_id` in the end if given. Bytes that the account has
        already are kept once. A memory that it may no longer write gets no file.

        Raises:
            MemoError: `conflict`, when the upload is no longer this writer's or the id is taken;
                `gone`, when the file of this id was deleted.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await queue_up(connection, upload.account_id)
            # Before the bytes, as who purges it.
            await connection.execute(
                "SELECT FROM memories WHERE id = $1 FOR KEY SHARE", upload.intake.memory_id
            )
            row = await connection.fetchrow(
                "DELETE FROM uploads WHERE id = $1 AND writer = $2 RETURNING received",
                upload.id,
                writer,
            )
            if row is None:
                raise _lost()
            if file_id is not None and file_id != upload.id:
                known = await self._known(
                    connection, upload.account_id, upload.intake._replace(file_id=file_id)
                )
                if isinstance(known, File):
                    return await _stored(connection, known, upload.blob.path)
                if known is not None:
                    raise id_taken()
            twin = await connection.fetchrow(
                "SELECT path FROM blobs WHERE user_id = $1 AND sha256 = $2 FOR UPDATE",
                upload.account_id,
                findings.sha256,
            )
            path = upload.blob.path if twin is None else twin["path"]
            await connection.execute(
                """
                UPDATE blobs SET sha256 = $2, size = $3, freed_at = NULL
                WHERE path = $1
                """,
                path,
                findings.sha256,
                row["received"],
            )
            made = await connection.fetchrow(
                f"""
                INSERT INTO files AS f (id, user_id, memory_id, message_id, filename,
                    original_filename, file_type, file_size, sha256, storage_path,
                    storage_provider, thumbnail_path, metadata, is_processed)
                SELECT $1, $2, w.memory_id, CASE WHEN w.memory_id IS NOT NULL THEN $4::uuid END,
                    $5, $6, $7, $8, $9, $10, $11, t.thumbnail_path, coalesce(t.metadata, $12),
                    coalesce(t.is_processed, $13)
                FROM (SELECT) AS one
                LEFT JOIN (
                    SELECT s.memory_id FROM memberships s JOIN documents d ON d.id = s.memory_id
                    WHERE s.memory_id = $3 AND s.user_id = $2 AND d.deleted_at IS NULL
                        AND s.role IN ('owner', 'editor')) AS w ON true
                LEFT JOIN (
                    SELECT thumbnail_path, metadata, is_processed FROM files
                    WHERE storage_path = $10 LIMIT 1) AS t ON true
                ON CONFLICT (id) DO NOTHING RETURNING {FILE_COLUMNS}
                """,
                file_id or upload.id,
                upload.account_id,
                upload.intake.memory_id,
                upload.intake.message_id,
                findings.filename,
                upload.intake.filename,
                findings.file_type,
                row["received"],
                findings.sha256,
                path,
                findings.provider,
                findings.metadata,
                findings.is_processed,
            )
            if made is None:
                raise id_taken()
            return await _stored(connection, read_file(made), path)

    async def drop_held(self, upload_id: UUID, writer: UUID) -> None:
        """End the upload that `writer` holds, if it still does."""
        await self._pool.execute(
            "DELETE FROM uploads WHERE id = $1 AND writer = $2", upload_id, writer
        )

    async def drop(self, upload_id: UUID, account_id: UUID) -> bool:
        """End an upload, also one that is being written. Returns whether there was one."""
        dropped = await self._pool.fetchval(
            "DELETE FROM uploads WHERE id = $1 AND user_id = $2 RETURNING true",
            upload_id,
            account_id,
        )
        return bool(dropped)

    # Sweep

    async def under_way(self) -> int:
        """How many uploads there are, of all nodes."""
        count: int = await self._pool.fetchval("SELECT count(*) FROM uploads")
        return count

    async def unfinished(self, limit: int) -> Sequence[Upload]:
        """Uploads that are all there, and were left before they became files."""
        rows = await self._pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM {_TABLES}
            WHERE u.received = u.length AND (u.writer IS NULL OR u.writer_until < now())
            LIMIT $1
            """,
            limit,
        )
        return [_read(row) for row in rows]

    async def expire(self, limit: int) -> int:
        """End uploads that nobody went on with. Returns how many."""
        rows = await self._pool.fetch(
            """
            DELETE FROM uploads WHERE id IN (
                SELECT id FROM uploads
                WHERE expires_at < now() AND (writer IS NULL OR writer_until < now())
                LIMIT $1 FOR UPDATE SKIP LOCKED
            ) RETURNING id
            """,
            limit,
        )
        return len(rows)

    async def doom(self, grace_seconds: float, limit: int) -> Sequence[str]:
        """The paths of bytes that nothing refers to, for so long that nobody reads them any more.
        From now on nothing will."""
        async with self._pool.acquire() as connection, connection.transaction():
            freed = await connection.fetch(
                """
                SELECT path FROM blobs WHERE freed_at < now() - make_interval(secs => $1)
                ORDER BY freed_at LIMIT $2 FOR UPDATE SKIP LOCKED
                """,
                grace_seconds,
                limit,
            )
            rows = await connection.fetch(
                """
                WITH used AS (
                    SELECT path FROM unnest($1::text[]) AS path
                    WHERE EXISTS (SELECT FROM files WHERE storage_path = path)
                        OR EXISTS (SELECT FROM uploads WHERE storage_path = path)
                ), kept AS (
                    UPDATE blobs SET freed_at = NULL WHERE path IN (SELECT path FROM used)
                )
                UPDATE blobs SET sha256 = NULL
                WHERE path = ANY ($1) AND path NOT IN (SELECT path FROM used) RETURNING path
                """,
                [row["path"] for row in freed],
            )
        return [row["path"] for row in rows]

    async def forget(self, path: str) -> None:
        """The bytes at `path` are no longer in the store."""
        await self._pool.execute("DELETE FROM blobs WHERE path = $1 AND sha256 IS NULL", path)

    async def _known(
        self, connection: Connection, account_id: UUID, intake: Intake
    ) -> Upload | File | None:
        """What is under the id already; raises as `begin`."""
        row = await connection.fetchrow(
            f"SELECT {_COLUMNS} FROM {_TABLES} WHERE u.id = $1", intake.file_id
        )
        if row is not None:
            if row["user_id"] != account_id:
                raise id_taken()
            if row["length"] != intake.length:
                raise MemoError(
                    ErrorCode.CONFLICT,
                    "an upload of this id was begun with another length; make a new id",
                    details={"id": "is taken"},
                )
            return _read(row)
        file = await _own_file(connection, intake.file_id, account_id)
        if file is not None:
            return file
        if await connection.fetchval("SELECT true FROM files WHERE id = $1", intake.file_id):
            raise id_taken()
        await _check_not_deleted(connection, intake.file_id, account_id)
        return None

    async def _size(self, connection: Connection, upload: Upload) -> int:
        size: int | None = await connection.fetchval(
            "SELECT size FROM blobs WHERE path = $1", upload.blob.path
        )
        return size or 0

    async def _check_quota(self, connection: Connection, account_id: UUID, more: int) -> None:
        used = await connection.fetchval(USED_BYTES, account_id)
        if used + more > self._quota:
            raise MemoError(
                ErrorCode.QUOTA_EXCEEDED,
                f"your files take {used} of {self._quota} bytes, and this one needs {more} more: "
                "delete some first",
                details={"bytes": used, "quota": self._quota, "needed": more},
            )


def _read(row: asyncpg.Record) -> Upload:
    intake = Intake(row["id"], row["filename"], row["length"], row["memory_id"], row["message_id"])
    blob = Blob(row["storage_path"], row["received"], row["part_bytes"], row["parts"])
    return Upload(row["user_id"], intake, blob, row["received"], row["expires_at"], row["writer"])


async def _stored(connection: Connection, file: File, path: str) -> Stored:
    return Stored(file, path, await told_of(connection, file.user_id, file.memory_id))


async def _own_file(connection: Connection, file_id: UUID, account_id: UUID) -> File | None:
    row = await connection.fetchrow(
        f"SELECT {FILE_COLUMNS} FROM files f WHERE f.id = $1 AND f.user_id = $2",
        file_id,
        account_id,
    )
    return read_file(row) if row is not None else None


async def _check_not_deleted(connection: Connection, file_id: UUID, account_id: UUID) -> None:
    deleted = await connection.fetchval(
        """
        SELECT true FROM tombstones WHERE user_id = $2 AND kind = 'file' AND record_id = $1
            AND NOT EXISTS (SELECT FROM files WHERE id = $1) -- else it is only out of sight
        """,
        file_id,
        account_id,
    )
    if deleted:
        raise MemoError(ErrorCode.GONE, "this file has been deleted")


def _lost() -> MemoError:
    return MemoError(
        ErrorCode.CONFLICT, "the upload has ended, or goes on elsewhere; ask where it stands"
    )
